#include <sys/wait.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/core/data_root.hpp"

/// Builds the CUDA probes for every architecture and runs what of them needs no GPU.
namespace tessera::calibrate::probes {
namespace {

struct Ended {
  int exit_code;
  std::string output;  ///< Both streams.
};

Ended run(const std::string& command) {
  Ended ended{.exit_code = -1, .output = ""};
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> text{};
  while (std::fgets(text.data(), static_cast<int>(text.size()), pipe) != nullptr)
    ended.output += text.data();
  const int status = pclose(pipe);
  ended.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

/// Names of the probes that this build has, as CMake wrote them.
std::vector<std::string> probes() {
  std::vector<std::string> names;
  std::string all = TESSERA_PROBE_NAMES;
  while (!all.empty()) {
    const std::size_t end = all.find(',');
    names.push_back(all.substr(0, end));
    all = end == std::string::npos ? "" : all.substr(end + 1);
  }
  return names;
}

}  // namespace

TEST_CASE("probes build for all architectures and say what they would measure", "[probes][slow]") {
  if (probes().empty()) SKIP("no nvcc when this was configured");
  const std::string build = TESSERA_BUILD_DIR;
  const Ended built = run("cmake --build '" + build + "' --target probes");
  INFO(built.output);
  REQUIRE(built.exit_code == 0);
  const auto folder = std::filesystem::temp_directory_path() / "tessera_probe_programs_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (const std::string& name : probes()) {
    const std::string program = "'" + build + "/probes/probe_" + name + "'";
    INFO(program);
    const Ended help = run(program + " --help");
    CHECK(help.exit_code == 0);
    CHECK(help.output.find("--quick") != std::string::npos);
    CHECK(run(program + " --l2 hot").exit_code == 2);
    const Ended all = run(program + " --list");
    const Ended quick = run(program + " --list --quick");
    CHECK(all.exit_code == 0);
    CHECK_FALSE(quick.output.empty());
    CHECK(all.output.size() >= quick.output.size());
    if (std::filesystem::exists("/dev/nvidiactl")) continue;
    const Ended without_gpu = run(program + " --out '" + folder.string() + "'");
    CHECK(without_gpu.exit_code == 1);
    CHECK(without_gpu.output.find("probe_" + name + ": ") != std::string::npos);
  }
  CHECK(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

TEST_CASE("the probes' script says how it is called", "[probes]") {
  const std::string script = "'" + (core::data_root() / "calibrate/probes/run").string() + "'";
  const Ended help = run(script + " --help");
  CHECK(help.exit_code == 0);
  CHECK(help.output.find("--only") != std::string::npos);
  CHECK(run(script + " --out").exit_code == 2);
}

}  // namespace tessera::calibrate::probes
