#pragma once

#include <vector>

#include "models/training/rank_grid.hpp"
#include "models/training/schedule.hpp"
#include "models/training/training.hpp"
#include "models/workload/parallel_split.hpp"
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
  /// Replicas of the whole pipeline that read different sequences.
  [[nodiscard]] int data() const { return grid_.degrees().data; }
  /// Of one pipeline and step, both directions together.
  [[nodiscard]] int micro_batches() const { return micro_batches_; }
  /// Stages that `rank` holds.
  [[nodiscard]] std::vector<int> stages_of(int rank) const { return placement().stages_of(rank); }

  /// Groups of any GPU.
  [[nodiscard]] const RankGrid& grid() const { return grid_; }
  /// GPU of the cluster for a pipeline rank and a place in it.
  [[nodiscard]] int gpu(int rank, int member) const { return grid_.gpu(rank, member); }
  /// How layers are cut.
  [[nodiscard]] workload::ParallelSplit split() const;
  /// One expert-parallel group of `rank`, by expert rank.
  [[nodiscard]] std::vector<int> expert_group(int rank) const {
    return grid_.expert_group(rank, 0);
  }
  /// All GPUs that hold the same share of `stage`'s parameters outside of routed experts.
  [[nodiscard]] std::vector<int> dense_group(int stage) const;
  /// All GPUs that hold the experts of expert rank 0 of `stage`.
  [[nodiscard]] std::vector<int> routed_group(int stage) const;

  /// Ranks that split what one GPU of `dense_group` (`routed_group`) holds; 1 without sharding.
  [[nodiscard]] int dense_shards(int stage) const;
  [[nodiscard]] int routed_shards(int stage) const;

  /// Parameters of one part that one GPU holds: split over tensor ranks, experts over expert and
  /// expert-tensor ranks. A head whose table is the embedding's has only its norm.
  [[nodiscard]] workload::ParameterCount parameters(int stage, const StageEntry& entry) const;
  /// Of a whole stage, with the tables that its MTP modules need and no other part has.
  [[nodiscard]] workload::ParameterCount parameters(int stage) const;
  /// Part of them that one GPU updates.
  [[nodiscard]] workload::ParameterCount updated(int stage) const;
  /// Elements of a table that embedding and head share although they are on different pipeline
  /// ranks, so that its gradients are summed over both; 0 when there is none.
  [[nodiscard]] double tied_elements() const;

 private:
  void check() const;
  void check_stages() const;
  [[nodiscard]] std::vector<int> holders(int stage) const { return placement().holders(stage); }
  /// Whether the GPUs that hold `stage` also hold a part of this kind.
  [[nodiscard]] bool beside(int stage, StageEntry::Kind kind) const;

  const TrainingJob& job_;
  RankGrid grid_;
  std::vector<Stage> stages_;
  int ranks_, micro_batches_ = 0;
  Schedule schedule_;
};

}  // namespace tessera::training
