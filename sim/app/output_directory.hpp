#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>

namespace tessera::app {

/// The folder of --out: it appears whole or not at all, whenever the program is ended.
class OutputDirectory {
 public:
  /// `files` are the names that a result may have. Throws ConfigError when `path` exists and is not
  /// a folder, holds anything but earlier results, or its parent is missing or cannot be written.
  OutputDirectory(const std::filesystem::path& path, const std::set<std::string>& files);

  /// Calls `write` with a fresh folder beside the final one and moves it there, in the place of
  /// earlier results.
  void commit(const std::function<void(const std::filesystem::path&)>& write) const;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace tessera::app
