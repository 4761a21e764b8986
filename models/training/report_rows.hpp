#pragma once

#include <vector>

#include "models/streams/ensemble.hpp"
#include "models/training/memory.hpp"
#include "models/training/step_model.hpp"
#include "models/training/training.hpp"
#include "sim/core/result.hpp"

/// Rows of a core::Result from a step that has run.
namespace tessera::training {

using StepEnsemble = streams::Ensemble<StepRun>;
[[nodiscard]] StepEnsemble run_ensemble(StepModel& model);

/// How often one rank runs each node of its plans in a step.
struct NodeUse {
  const Node* node;
  int rank;
  double calls;
};
/// The rank whose instructions take longest.
[[nodiscard]] int busiest_rank(const StepRun& run);
/// Nodes of all instructions of a rank, in order of first use.
[[nodiscard]] std::vector<NodeUse> node_uses(StepModel& model, int rank);

[[nodiscard]] std::vector<core::PhaseRow> phase_rows(const StepEnsemble& ensemble);
/// Of the fullest rank.
[[nodiscard]] std::vector<core::MemoryFormatRow> memory_format_rows(
    const std::vector<RankMemory>& memory);
[[nodiscard]] std::vector<core::MemoryRow> memory_rows(const TrainingJob& job,
                                                       const std::vector<RankMemory>& memory);
[[nodiscard]] std::vector<core::KernelRow> kernel_rows(StepModel& model, int rank, int device_sms);
[[nodiscard]] std::vector<core::NetworkRow> network_rows(StepModel& model, const StepRun& run,
                                                         int rank);
/// Mean over ranks: energy of kernels above idle, and idle power for the whole step.
[[nodiscard]] double joules_per_gpu(StepModel& model, const StepRun& run, core::Watts idle);

/// One process a pipeline rank with its instructions, bubbles and optimizer phase; exchanges of a
/// few instructions in the middle of the step; and one process that shows the kernels of one
/// instruction of each kind on one rank.
[[nodiscard]] core::Timeline step_timeline(StepModel& model, const StepRun& run);

}  // namespace tessera::training
