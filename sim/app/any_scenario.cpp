#include "sim/app/any_scenario.hpp"

#include "models/serving/inference.hpp"
#include "sim/app/disaggregation_run.hpp"

namespace tessera::app {

AnyScenario read_any_scenario(const std::string& path_or_name, const ScenarioOptions& options) {
  if (is_disaggregation(path_or_name, options)) return read_disaggregation(path_or_name, options);
  return read_scenario(path_or_name, options);
}

std::vector<const Scenario*> parts_of(const AnyScenario& scenario) {
  if (const auto* one = std::get_if<Scenario>(&scenario)) return {one};
  const auto& pools = std::get<DisaggregationScenario>(scenario);
  return {&pools.prefill, &pools.decode};
}

std::string job_of(const AnyScenario& scenario) {
  const auto* one = std::get_if<Scenario>(&scenario);
  if (one == nullptr) return kDisaggregation;
  return one->trains() ? "training" : serving::to_string(one->inference().phase);
}

core::Result run_any_scenario(const AnyScenario& scenario, const RunOptions& options,
                              RunStatistics& statistics) {
  if (const auto* pools = std::get_if<DisaggregationScenario>(&scenario))
    return run_disaggregation(*pools, options, statistics);
  return run_scenario(std::get<Scenario>(scenario), options, statistics);
}

}  // namespace tessera::app
