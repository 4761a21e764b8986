#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/serving/disaggregation.hpp"
#include "sim/app/scenario.hpp"

namespace tessera::app {

/// Two pools of GPUs, one a prefill scenario's and one a decode scenario's, and requests that pass
/// from one to the other.
struct DisaggregationScenario {
  std::string name;
  std::string title;
  Scenario prefill;  ///< Of `prompt` tokens.
  Scenario decode;   ///< At the mean context of a request under way: prompt and half of the output.
  std::int64_t prompt = 1;  ///< Tokens, cached ones included.
  std::int64_t output = 2;  ///< Tokens; the first one comes with the prefill.
  serving::TransferOverlap transfer = serving::TransferOverlap::layer_wise;
  /// GPUs of both pools together; nothing: a decode instance and what keeps it busy.
  std::optional<std::int64_t> gpus;
  std::string resolved;  ///< JSON of every value with its origin.

  /// GPUs of the pools' clusters, which may be one.
  [[nodiscard]] serving::PoolRoom room() const;
};

/// Whether a scenario's job is `disaggregation`. Throws core::ConfigError where it cannot be read.
[[nodiscard]] bool is_disaggregation(const std::string& path_or_name,
                                     const ScenarioOptions& options);

/// Reads such a scenario with both that it names. Throws core::ConfigError with all mistakes, and
/// core::Refusal (outside_model) for jobs that Tessera does not simulate. Requires: no other
/// cluster and no quotes among the options.
[[nodiscard]] DisaggregationScenario read_disaggregation(const std::string& path_or_name,
                                                         const ScenarioOptions& options);

}  // namespace tessera::app
