#pragma once

#include <vector>

#include "models/training/schedule.hpp"
#include "models/training/training.hpp"
#include "models/workload/parameters.hpp"

namespace tessera::training {

/// Stages of the job's schedule on its pipeline ranks.
[[nodiscard]] StagePlacement placement_of(const TrainingJob& job);

/// Who holds and computes what: the job's parallelism, checked, with its schedule and groups.
class Layout {
 public:
  /// Throws core::Refusal (illegal_combination, outside_model).
  explicit Layout(const TrainingJob& job);

  [[nodiscard]] const std::vector<Stage>& stages() const { return stages_; }
  /// Which pipeline rank holds which stages.
  [[nodiscard]] const StagePlacement& placement() const { return schedule_.placement; }
  [[nodiscard]] const Schedule& schedule() const { return schedule_; }
  /// What `rank` runs, in order.
  [[nodiscard]] const Program& program(int rank) const {
    return schedule_.programs[static_cast<std::size_t>(rank)];
  }
  /// Pipeline ranks.
  [[nodiscard]] int ranks() const { return ranks_; }
  /// Replicas of the whole pipeline.
  [[nodiscard]] int data() const { return data_; }
  /// Of one pipeline and step, both directions together.
  [[nodiscard]] int micro_batches() const { return micro_batches_; }
  /// Stages that `rank` holds.
  [[nodiscard]] std::vector<int> stages_of(int rank) const { return placement().stages_of(rank); }

  /// GPU of the cluster for a pipeline rank and a data-parallel rank.
  [[nodiscard]] int gpu(int rank, int data_rank) const;
  /// One expert-parallel group of `rank`, by expert rank.
  [[nodiscard]] std::vector<int> expert_group(int rank) const;
  /// All GPUs that hold `stage`'s parameters that every data-parallel rank has.
  [[nodiscard]] std::vector<int> dense_group(int stage) const;
  /// All GPUs that hold the experts of expert rank 0 of `stage`.
  [[nodiscard]] std::vector<int> routed_group(int stage) const;

  /// Parameters of a stage that one GPU holds: experts are split over the expert ranks.
  [[nodiscard]] workload::ParameterCount parameters(int stage) const;
  /// Part of them that one GPU updates.
  [[nodiscard]] workload::ParameterCount updated(int stage) const;

 private:
  void check() const;
  void check_stages() const;
  [[nodiscard]] std::vector<int> holders(int stage) const { return placement().holders(stage); }

  const TrainingJob& job_;
  std::vector<Stage> stages_;
  int ranks_, data_ = 1, micro_batches_ = 0;
  Schedule schedule_;
};

}  // namespace tessera::training
