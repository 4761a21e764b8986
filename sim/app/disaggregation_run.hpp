#pragma once

#include "sim/app/disaggregation_scenario.hpp"
#include "sim/app/training_run.hpp"
#include "sim/core/result.hpp"

namespace tessera::app {

/// Simulates both pools and puts them together. A refusal of either, or of the model, comes back as
/// a result with `refused`.
[[nodiscard]] core::Result run_disaggregation(const DisaggregationScenario& scenario,
                                              const RunOptions& options, RunStatistics& statistics);

}  // namespace tessera::app
