#pragma once

#include <filesystem>

namespace tessera::core {

/// The folder that holds hw_configs/ and workloads/: $TESSERA_DATA when set, else the source tree
/// that the program was built from, else the nearest folder above the executable that has them.
/// Throws ConfigError when there is none.
[[nodiscard]] std::filesystem::path data_root();

}  // namespace tessera::core
