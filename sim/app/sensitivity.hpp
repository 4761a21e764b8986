#pragma once

#include "sim/app/training_run.hpp"

namespace tessera::app {

/// Repeats the job with each choice that its publication leaves open made differently, one at a
/// time, and adds what that does to the step time: layers per stage, placement of the MTP module,
/// placement of expert-parallel groups, overlap of the gradient reduction, NIC efficiency. An
/// alternative that the model refuses is a warning. Requires: `result` has `step_time`;
/// `network` is the scenario's.
void add_sensitivity(core::Result& result, const Scenario& scenario, KernelSource& kernels,
                     streams::NetworkTimer& network, const RunOptions& options,
                     RunStatistics& statistics);

}  // namespace tessera::app
