#include "sim/app/output_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "sim/core/diagnostics.hpp"

namespace tessera::app {

void write_output_file(const std::string& path, const std::string& text,
                       const std::string& option) {
  namespace fs = std::filesystem;
  const auto fail = [&](const std::string& why) {
    throw core::ConfigError({option, 0, 0}, fmt::format("found '{}', {}", path, why));
  };
  std::error_code error;
  if (fs::is_directory(path, error)) fail("which is a folder; expected a file");
  const fs::path partial = fmt::format("{}.partial.{}", path, getpid());
  {
    std::ofstream file(partial, std::ios::binary);
    file << text;
    file.flush();
    if (!file) {
      file.close();
      fs::remove(partial, error);
      fail("which cannot be written");
    }
  }
  fs::rename(partial, path, error);
  if (!error) return;
  std::error_code ignored;
  fs::remove(partial, ignored);
  fail("which cannot be written");
}

}  // namespace tessera::app
