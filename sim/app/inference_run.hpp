#pragma once

#include "sim/app/scenario.hpp"
#include "sim/app/training_run.hpp"
#include "sim/core/result.hpp"

namespace tessera::app {

/// The whole answer to a prefill or decode scenario. A refusal of the model comes back as a result
/// with `refused`.
[[nodiscard]] core::Result run_inference(const Scenario& scenario, KernelSource& kernels,
                                         const RunOptions& options, RunStatistics& statistics);

}  // namespace tessera::app
