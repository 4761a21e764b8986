#pragma once

#include <string>
#include <vector>

#include "models/serving/iteration_model.hpp"
#include "sim/core/result.hpp"

/// Rows of a core::Result from iterations that have run.
namespace tessera::serving {

/// One row a stretch, longest first; rank "0".
[[nodiscard]] std::vector<core::PhaseRow> phase_rows(const IterationEnsemble& ensemble);
[[nodiscard]] std::vector<core::KernelRow> kernel_rows(const IterationModel& model, int device_sms);
[[nodiscard]] std::vector<core::NetworkRow> network_rows(const IterationModel& model,
                                                         const IterationRun& run);
/// Time by what bounds it, longest first: of kernels their binding resource, "network" while only
/// transfers run, "host"; rank "0", the resource after core::kBoundBy. They sum to the iteration as
/// phase_rows() do.
[[nodiscard]] std::vector<core::PhaseRow> binding_rows(const IterationModel& model,
                                                       const IterationEnsemble& ensemble);
/// Of one GPU over the job's iterations: energy of kernels above idle, and idle power throughout.
[[nodiscard]] double joules_per_gpu(const IterationModel& model, const IterationRun& run,
                                    core::Watts idle);
/// Both streams over the first iteration's first layers, as many as fit `kShownNodes` nodes.
[[nodiscard]] core::Timeline iteration_timeline(const IterationModel& model,
                                                const IterationRun& run);

}  // namespace tessera::serving
