#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/hf_config.hpp"

namespace tessera::app {

/// Parameters, FLOPs of training and cache bytes a token, as comments of a YAML file.
[[nodiscard]] std::string architecture_summary(const workload::Architecture& architecture);

/// The same as values: parameters in elements, FLOPs and bytes a token.
[[nodiscard]] nlohmann::ordered_json architecture_counts(
    const workload::Architecture& architecture);

/// The same for a description of either kind, by name or path.
struct ArchitectureText {
  std::string summary;
  nlohmann::ordered_json counts;
};
[[nodiscard]] ArchitectureText describe_architecture(const std::string& name,
                                                     const std::vector<std::string>& set);

/// The file of an imported architecture, with where it came from and what was not used.
[[nodiscard]] std::string imported_architecture_text(const workload::HfImport& import,
                                                     const std::string& file);

}  // namespace tessera::app
