#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/serving/inference.hpp"
#include "models/serving/iteration_costs.hpp"
#include "models/serving/iteration_plan.hpp"
#include "models/streams/ensemble.hpp"

namespace tessera::serving {

/// The job's iterations under one variation of the costs.
struct IterationRun {
  std::vector<streams::ChunkRun> chunks;  ///< One a plan.
  core::Time host{};                      ///< Of all iterations.
  core::Time time{};                      ///< Of all iterations, `host` included.

  /// Stretches that do not overlap and sum to `time`: kernels by group; exchanges and collectives
  /// by name as far as no kernel ran; "host".
  std::map<std::string, core::Time> stretches;
};

/// A job made ready to run: passes lowered, kernels and exchanges timed.
class IterationModel {
 public:
  /// Throws core::Refusal; `job`, `kernels` and `network` outlive the model.
  IterationModel(const InferenceJob& job, gpu::KernelTimer& kernels,
                 streams::NetworkTimer& network);

  [[nodiscard]] IterationRun run(const streams::Variation& variation = {}) const;

  [[nodiscard]] const std::vector<IterationPlan>& plans() const { return plans_; }
  [[nodiscard]] const workload::RoutedLoad& load() const { return plans_.front().load; }
  [[nodiscard]] const IterationCosts& costs() const { return costs_; }
  /// InferenceJob::unexplained.
  [[nodiscard]] double unexplained() const { return job_.unexplained; }

 private:
  const InferenceJob& job_;
  IterationCosts costs_;
  std::vector<IterationPlan> plans_;
};

/// Bytes of all weights that the iterations read, on this GPU, the embedding table's left out.
[[nodiscard]] double weight_bytes(const IterationModel& model);

using IterationEnsemble = streams::Ensemble<IterationRun>;
/// What servers of the engine leave unexplained counts as an error of the iterations' time by
/// itself, independent of the kernels'.
[[nodiscard]] IterationEnsemble run_ensemble(const IterationModel& model);

}  // namespace tessera::serving
