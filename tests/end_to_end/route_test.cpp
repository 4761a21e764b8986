#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {
namespace {

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

const std::string kSkewed = "route deepseek_v3 --ranks 32 --routing r1_translation ";
const std::string kBalanced = kSkewed + "--set placement=eplb --set redundant_experts=32 ";

TEST_CASE("route shows what the balancer makes of the published skew", "[route]") {
  const Outcome shown = run_tessera(kBalanced + "--format json");
  REQUIRE(shown.exit_code == 0);
  const auto placements = nlohmann::json::parse(shown.output)["placements"];
  REQUIRE(placements.size() == 2);
  const auto &before = placements[0], &after = placements[1];
  CHECK(before["by_expert"]["mean"].get<double>() == Approx(128));
  CHECK(before["by_expert"]["standard_deviation"].get<double>() == Approx(164.1).epsilon(1e-3));
  CHECK(before["by_rank"]["standard_deviation"].get<double>() == Approx(491.6).epsilon(1e-3));
  // Published: 1.564, of which the moments leave the tail to the draw.
  CHECK(before["by_rank"]["imbalance"].get<double>() == Approx(1.564).epsilon(0.1));
  CHECK(after["by_rank"]["mean"].get<double>() == Approx(1024));
  CHECK(after["by_rank"]["imbalance"].get<double>() < 0.12);
  CHECK(after["layers"].size() == 58);
}

TEST_CASE("routed rows add up in the table of slots", "[route]") {
  const Outcome shown = run_tessera(kBalanced + "--set layers=2 --tokens 100 --format csv");
  REQUIRE(shown.exit_code == 0);
  std::istringstream lines(shown.output);
  std::string line;
  std::getline(lines, line);
  CHECK(line == "placement,layer,rank,slot,expert,rows");
  long rows = 0, count = 0;
  while (std::getline(lines, line)) {
    rows += std::stol(line.substr(line.rfind(',') + 1));
    ++count;
  }
  CHECK(count == 2 * (256 + 288));
  CHECK(rows == 4L * 100 * 32 * 8);
}

TEST_CASE("on a cluster route tells a layer's time and the links' bytes", "[route]") {
  const Outcome shown = run_tessera(kBalanced +
                                    "--set layers=4 --set node_limit=4 --cluster "
                                    "h800_2048_multiplane --format json");
  REQUIRE(shown.exit_code == 0);
  const auto placements = nlohmann::json::parse(shown.output)["placements"];
  const auto before = placements[0]["cost"], after = placements[1]["cost"];
  CHECK(after["seconds"].get<double>() < before["seconds"].get<double>());
  const auto rdma = before["dispatch_links"]["rdma"];
  CHECK(rdma["busiest_bytes"].get<double>() > 1.5 * rdma["mean_bytes"].get<double>());
}

TEST_CASE("mistakes of a route are told apart from refusals", "[route]") {
  const Outcome unknown = run_tessera("route deepseek_v3 --ranks 32 --set kind=zipf");
  CHECK(unknown.exit_code == 2);
  CHECK(unknown.errors ==
        "--set:1:6: error: kind: found 'zipf'; expected one of uniform, power_law, recorded or "
        "published\n");
  const Outcome twice =
      run_tessera("route deepseek_v3 --ranks 32 --ranks-per-node 4 --cluster h800_2048_multiplane");
  CHECK(twice.exit_code == 2);
  CHECK_THAT(twice.errors, ContainsSubstring("--ranks-per-node"));
  const Outcome nowhere = run_tessera("route deepseek_v3 --ranks 32 --exchange normal");
  CHECK(nowhere.exit_code == 2);
  CHECK_THAT(nowhere.errors, ContainsSubstring("--cluster"));
  const Outcome uneven = run_tessera("route deepseek_v3 --ranks 48");
  CHECK(uneven.exit_code == 1);
  CHECK_THAT(uneven.errors, ContainsSubstring("256 experts cannot be split evenly over 48"));
  const Outcome dense = run_tessera("route llama3.1_8b --ranks 8");
  CHECK(dense.exit_code == 1);
  CHECK_THAT(dense.errors, ContainsSubstring("has no experts to route to"));
}

}  // namespace
}  // namespace tessera::end_to_end
