#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/end_to_end/tessera_program.hpp"

/// Did results move? Whole outputs, byte for byte. `TESSERA_UPDATE_GOLDEN=1 build/tests_golden`
/// writes them anew; what changed is then read in the diff before it is committed.
namespace tessera::golden {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& file) {
  std::ifstream stream{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{stream}, {}};
}

void check(const std::string& arguments, const std::string& name) {
  const end_to_end::Outcome outcome = end_to_end::run_tessera(arguments);
  INFO("tessera " << arguments << outcome.errors);
  REQUIRE(outcome.exit_code == 0);
  const fs::path file = fs::path{TESSERA_SOURCE_DIR} / "tests" / "golden" / "expected" / name;
  if (std::getenv("TESSERA_UPDATE_GOLDEN") != nullptr)
    std::ofstream{file, std::ios::binary} << outcome.output;
  INFO("meant? then TESSERA_UPDATE_GOLDEN=1 build/tests_golden, and read the diff of " << file);
  CHECK(outcome.output == read(file));
}

}  // namespace

TEST_CASE("a GEMM, cycle by cycle", "[golden]") {
  check("kernel gemm --device h100_sxm M=2048 N=2048 K=2048 dtype=bf16 --counters --format json",
        "gemm_h100_cycle.json");
}

TEST_CASE("a block-scaled GEMM in closed form", "[golden]") {
  check(
      "kernel gemm --device b200_sxm M=4096 N=7168 K=2048 dtype=fp8_block --fidelity analytical "
      "--format json",
      "gemm_b200_analytical.json");
}

TEST_CASE("causal attention, cycle by cycle", "[golden]") {
  check("kernel attention --device h100_sxm q=2048 heads=16 dim=128 causal=1 --format json",
        "attention_h100_cycle.json");
}

TEST_CASE("a device that extends two others, with its origins", "[golden]") {
  check("show device h20_141gb --resolved", "device_h20_141gb.yaml");
}

}  // namespace tessera::golden
