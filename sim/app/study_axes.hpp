#pragma once

#include <filesystem>
#include <vector>

#include "sim/core/config.hpp"

namespace tessera::app {

struct Study;

/// Reads a study's `axes` into its dimensions and axes. `files` are those that went into the
/// document, the outermost first. Mistakes go to the document of `root`.
void read_axes(const core::ConfigNode& root, const std::vector<std::filesystem::path>& files,
               Study& study);

/// A value on one line as YAML: "8", "[norm, mlp]", "{kind: uniform}".
[[nodiscard]] std::string flow_text(const core::YamlNode& node);

}  // namespace tessera::app
