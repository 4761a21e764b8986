#include "sim/app/output_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

namespace fs = std::filesystem;

/// A file beside `path`, that becomes it once it is whole.
class PartialFile {
 public:
  PartialFile(const std::string& path, const std::string& option)
      : path_(path),
        option_(option),
        partial_(fmt::format("{}.partial.{}", path, getpid())),
        file_(partial_, std::ios::binary) {
    std::error_code error;
    if (fs::is_directory(path_, error)) fail("which is a folder; expected a file");
    if (!file_) fail("which cannot be written");
  }
  ~PartialFile() {
    std::error_code ignored;
    fs::remove(partial_, ignored);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  void become_whole(const std::string& text) {
    file_ << text;
    file_.close();
    if (!file_) fail("which cannot be written");
    std::error_code error;
    fs::rename(partial_, path_, error);
    if (error) fail("which cannot be written");
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    std::error_code ignored;
    fs::remove(partial_, ignored);
    throw core::ConfigError({option_, 0, 0}, fmt::format("found '{}', {}", path_.string(), why));
  }

  fs::path path_;
  std::string option_;
  fs::path partial_;
  std::ofstream file_;
};

}  // namespace

void check_output_file(const std::string& path, const std::string& option) {
  const PartialFile file{path, option};
}

void write_output_file(const std::string& path, const std::string& text,
                       const std::string& option) {
  PartialFile{path, option}.become_whole(text);
}

}  // namespace tessera::app
