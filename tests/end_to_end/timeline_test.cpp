#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;

constexpr const char* kKernel = "kernel gemm --device h100_sxm M=512 N=1024 K=512 dtype=bf16 ";

}  // namespace

TEST_CASE("a kernel's timeline is drawn, and written where asked", "[timeline]") {
  std::string name = std::filesystem::temp_directory_path() / "tessera_timeline_XXXXXX";
  REQUIRE(mkdtemp(name.data()) != nullptr);
  const std::filesystem::path folder = name;
  const Outcome outcome = run_tessera(std::string{kKernel} + "--timeline --out " + folder.string());
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.output, ContainsSubstring("tensor pipe") && ContainsSubstring("HBM") &&
                                 ContainsSubstring("waiting for "));
  std::ifstream table(folder / "timeline.csv");
  std::string line;
  std::getline(table, line);
  CHECK(line == "track,unit,part,first_cycle,share");
  std::getline(table, line);
  CHECK(line.starts_with("tensor pipe,of its cycles,0,0,"));
  CHECK(std::filesystem::file_size(folder / "timeline.html") > 10'000);
  std::filesystem::remove_all(folder);
}

TEST_CASE("options of a timeline that say nothing are refused", "[timeline]") {
  const std::pair<std::string, std::string> mistakes[] = {
      {"--out nowhere", "--out needs --batch or --timeline"},
      {"--timeline --format json", "--timeline with --format json needs --out"},
      {"--timeline --batch a.csv --out b.csv", "--timeline is for one kernel"}};
  for (const auto& [options, message] : mistakes) {
    const Outcome outcome = run_tessera(kKernel + options);
    CHECK(outcome.exit_code == 2);
    CHECK_THAT(outcome.errors, ContainsSubstring(message));
    CHECK(outcome.output.empty());
  }
  const Outcome closed = run_tessera(std::string{kKernel} + "--timeline --fidelity analytical");
  CHECK(closed.exit_code == 1);
  CHECK_THAT(closed.errors, ContainsSubstring("a timeline needs fidelity cycle"));
}

}  // namespace tessera::end_to_end
