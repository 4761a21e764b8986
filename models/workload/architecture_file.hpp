#pragma once

#include <string>

#include "models/workload/architecture.hpp"
#include "sim/core/config.hpp"

namespace tessera::workload {

/// Folder of architecture files below the data root.
inline constexpr const char* kArchitectureFolder = "workloads/architectures";

/// Reads an architecture; mistakes are reported through `node`'s document. Values must not be used
/// before the document's finish().
[[nodiscard]] Architecture read_architecture(const core::ConfigNode& node, std::string name);

/// Loads workloads/architectures/NAME.yaml or a path. Throws core::ConfigError, and core::Refusal
/// (outside_model) for a video transformer.
[[nodiscard]] Architecture load_architecture(const std::string& path_or_name,
                                             core::LoadOptions options = {});

}  // namespace tessera::workload
