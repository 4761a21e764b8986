#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "sim/core/data_root.hpp"

namespace tessera::style_test {

struct Line {
  int number;
  std::string text;
};

inline std::vector<Line> lines_of(const std::filesystem::path& file) {
  std::vector<Line> lines;
  std::ifstream stream(file);
  for (std::string text; std::getline(stream, text);)
    lines.push_back({static_cast<int>(lines.size()) + 1, text});
  return lines;
}

/// Files below a folder of the source tree with one of the extensions, sorted.
inline std::vector<std::filesystem::path> files_below(const std::string& folder,
                                                      const std::vector<std::string>& extensions) {
  std::vector<std::filesystem::path> files;
  const std::filesystem::path root = core::data_root() / folder;
  if (!std::filesystem::exists(root)) return files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string extension = entry.path().extension().string();
    if (entry.is_regular_file() &&
        std::find(extensions.begin(), extensions.end(), extension) != extensions.end())
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// "models/gpu/hbm.cpp": as people name a file.
inline std::string shown(const std::filesystem::path& file) {
  return file.lexically_relative(core::data_root()).generic_string();
}

}  // namespace tessera::style_test
