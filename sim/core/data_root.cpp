#include "sim/core/data_root.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <optional>

#include "sim/core/diagnostics.hpp"

namespace tessera::core {
namespace {

namespace fs = std::filesystem;

bool holds_data(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_directory(folder / "hw_configs", ignored);
}

std::optional<fs::path> above_executable() {
  std::error_code error;
  fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (error) return std::nullopt;
  for (; folder != folder.root_path(); folder = folder.parent_path()) {
    if (holds_data(folder)) return folder;
    if (holds_data(folder / "share" / "tessera")) return folder / "share" / "tessera";
  }
  return std::nullopt;
}

}  // namespace

fs::path data_root() {
  if (const char* chosen = std::getenv("TESSERA_DATA"); chosen != nullptr && *chosen != '\0') {
    if (holds_data(chosen)) return fs::path(chosen).lexically_normal();
    throw ConfigError({"TESSERA_DATA", 0, 0},
                      fmt::format("found '{}'; expected a folder that holds hw_configs", chosen));
  }
  if (holds_data(TESSERA_SOURCE_DIR)) return TESSERA_SOURCE_DIR;
  if (const auto found = above_executable()) return *found;
  throw ConfigError({"tessera", 0, 0},
                    "found no hw_configs near the program; set TESSERA_DATA to the folder that "
                    "holds them");
}

}  // namespace tessera::core
