#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sim/core/config.hpp"

namespace tessera::core::detail {

/// What the handles of one document share.
struct ConfigState {
  std::string name;
  std::string file;
  std::vector<std::filesystem::path> files;
  YamlNode root;
  std::vector<Override> kept;  ///< Overrides that belong to documents which this one names.
  std::vector<Diagnostic> mistakes;
};

}  // namespace tessera::core::detail
