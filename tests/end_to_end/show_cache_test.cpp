#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <map>
#include <sstream>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Matchers::ContainsSubstring;

TEST_CASE("every language model has its batches on every device", "[show_cache]") {
  const auto json = printed_json("show cache all");
  std::map<std::string, int> devices;
  for (const auto& row : json["rows"]) {
    ++devices[row["architecture"].get<std::string>()];
    REQUIRE(row["largest_batch"].size() == 3);
    std::int64_t before = 1'000'000;
    for (const auto& at : row["largest_batch"]) {
      if (row.contains("longest_context")) {
        CHECK(at["sequences"].is_null());
        continue;
      }
      const auto sequences = at["sequences"].get<std::int64_t>();
      CHECK(sequences >= 1);
      CHECK(sequences < before);
      before = sequences;
    }
  }
  CHECK(devices.size() >= 40);
  for (const auto& [name, count] : devices) CHECK(count == 4);
  CHECK_FALSE(devices.contains("hunyuan_video"));
  CHECK(devices.contains("deepseek_v3"));
}

TEST_CASE("a model's cache is shown beside multi-head attention's", "[show_cache]") {
  const Outcome shown = run_tessera("show cache deepseek_v3");
  REQUIRE(shown.exit_code == 0);
  CHECK_THAT(shown.output, ContainsSubstring("576 values; multi-head attention with its 128 heads: "
                                             "40,960, 98.6 % less"));
  CHECK_THAT(shown.output, ContainsSubstring("in all, bf16: 70,272 bytes a token"));
  CHECK_THAT(shown.output, ContainsSubstring("656 bytes"));
}

TEST_CASE("a cache's table has a line a model, device and context", "[show_cache]") {
  const Outcome shown = run_tessera(
      "show cache llama3.1_70b --device h200_sxm --cache fp8 --context 4096,131072 --format csv");
  REQUIRE(shown.exit_code == 0);
  std::istringstream lines(shown.output);
  std::string line;
  REQUIRE(std::getline(lines, line));
  CHECK(line.starts_with("architecture,device,gpus,tensor,"));
  REQUIRE(std::getline(lines, line));
  CHECK(line.starts_with("llama3.1_70b,h200_sxm,1,1,1,1,1,1,fp8,327680,163840,163840,4096,"));
  REQUIRE(std::getline(lines, line));
  CHECK_FALSE(std::getline(lines, line));
}

TEST_CASE("caches of what has none, and formats that none has, are refused", "[show_cache]") {
  CHECK(run_tessera("show cache hunyuan_video").exit_code == 1);
  const Outcome drawn = run_tessera("show cache deepseek_v3 --format svg");
  CHECK(drawn.exit_code == 2);
  CHECK_THAT(drawn.errors, ContainsSubstring("--format: caches are text, csv or json"));
  CHECK(run_tessera("show cache deepseek_v3 --cache fp7").exit_code == 2);
}

}  // namespace
}  // namespace tessera::end_to_end
