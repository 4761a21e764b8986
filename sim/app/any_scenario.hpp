#pragma once

#include <string>
#include <variant>
#include <vector>

#include "sim/app/disaggregation_scenario.hpp"
#include "sim/app/scenario.hpp"
#include "sim/app/training_run.hpp"
#include "sim/core/result.hpp"

/// What can be run and swept, whatever its job.
namespace tessera::app {

inline constexpr const char* kDisaggregation = "disaggregation";

using AnyScenario = std::variant<Scenario, DisaggregationScenario>;

/// Reads a scenario by its job. Throws as read_scenario and read_disaggregation.
[[nodiscard]] AnyScenario read_any_scenario(const std::string& path_or_name,
                                            const ScenarioOptions& options = {});

/// The scenario itself, or those of its pools.
[[nodiscard]] std::vector<const Scenario*> parts_of(const AnyScenario& scenario);

/// "training", "decode", "disaggregation", ...
[[nodiscard]] std::string job_of(const AnyScenario& scenario);

[[nodiscard]] core::Result run_any_scenario(const AnyScenario& scenario, const RunOptions& options,
                                            RunStatistics& statistics);

}  // namespace tessera::app
