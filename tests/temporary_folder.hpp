#pragma once

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace tessera::testing {

/// A folder of its own that goes, with what is in it, when this does.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tessera_XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path at(const std::string& name) const { return path_ / name; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream{at(name), std::ios::binary} << text;
  }
  /// A message as it reads where file names begin in this folder.
  [[nodiscard]] std::string without_path(std::string text) const {
    const std::string prefix = path_.string() + "/";
    for (std::size_t at = 0; (at = text.find(prefix)) != std::string::npos;)
      text.erase(at, prefix.size());
    return text;
  }

 private:
  std::filesystem::path path_;
};

/// All bytes of a file; none when it is not there.
inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// A base scenario that answers in closed form at once.
inline constexpr const char* kSmallTraining = R"(job: training
architecture: qwen3_30b_a3b
cluster: h100_sxm_16
precision: {recipe: fp8}
batch: {sequences: 64, sequence_length: 4096, micro_batch: 1}
parallelism: {pipeline: 2, expert: 8, data: {sharding: zero1}}
schedule: {kind: 1f1b}
routing: {kind: uniform}
cost: {prices: prices.yaml}
)";

}  // namespace tessera::testing
