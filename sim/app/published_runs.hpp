#pragma once

#include <string>
#include <vector>

namespace tessera::app {

/// One published training result and the scenario that stands for it.
struct PublishedRun {
  std::string id;
  std::string source;
  std::string recipe;  ///< Scenario that says what the row does not: of workloads/published, or of
                       ///< workloads/scenarios.
  std::string architecture;
  std::string device;
  int gpus = 0;
  std::vector<std::string> set;         ///< "path=value" on top of the recipe.
  std::vector<std::string> not_stated;  ///< recompute, sharding: the recipe's documented default.
  double tokens_per_gpu = 0;            ///< Published tokens per second and GPU.
  double repeat_spread = 0;  ///< By how much repeats of the row in its source differ, relative.
  std::string note;
};

/// Reads workloads/published/training_results.csv, or a file of that form. Throws core::ConfigError
/// with file and line.
[[nodiscard]] std::vector<PublishedRun> read_published_runs(const std::string& path);

/// Where the rows that ship lie.
[[nodiscard]] std::string shipped_training_results();

}  // namespace tessera::app
