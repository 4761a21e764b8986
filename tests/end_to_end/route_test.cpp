#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
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
  const auto placements = printed_json(kBalanced)["placements"];
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
  std::istringstream lines(printed(kBalanced + "--set layers=2 --tokens 100 --format csv"));
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
  const auto placements = printed_json(
      kBalanced + "--set layers=4 --set node_limit=4 --cluster h800_2048_multiplane")["placements"];
  const auto before = placements[0]["cost"], after = placements[1]["cost"];
  CHECK(after["seconds"].get<double>() < before["seconds"].get<double>());
  const auto rdma = before["dispatch_links"]["rdma"];
  CHECK(rdma["busiest_bytes"].get<double>() > 1.5 * rdma["mean_bytes"].get<double>());
}

TEST_CASE("ranks of a cluster fill its NVLink domains, whatever a node's usual size", "[route]") {
  const auto rack = printed_json(
      "route kimi_k2 --ranks 36 --set placement=eplb --set "
      "redundant_experts=12 --cluster gb200_7x36_nvl72");
  CHECK(rack["ranks_per_node"] == 36);
  CHECK(rack["placements"][0]["nodes_per_token"] == 1);
  CHECK_THAT(refusal_of("route deepseek_v3 --ranks 64 --cluster gb200_7x36_nvl72"),
             ContainsSubstring("64 ranks do not fill NVLink domains of 36 GPUs"));
}

TEST_CASE("experts are sent and multiplied in the type that is asked for", "[route]") {
  const std::string command = "route deepseek_v3 --ranks 64 --cluster ";
  CHECK_THAT(refusal_of(command + "a100_sxm_64"), ContainsSubstring("fp8_block"));
  printed(command + "a100_sxm_64 --type bf16");
  const auto bytes = [&](const std::string& type) {
    const auto json = printed_json(command + "h800_2048_multiplane --type " + type);
    return json["placements"][0]["cost"]["dispatch_links"]["rdma"]["mean_bytes"].get<double>();
  };
  // An element of one byte and a scale of four for 128 of them, against two bytes.
  CHECK(bytes("bf16") / bytes("fp8_block") == Approx(2 / (1 + 4.0 / 128)).epsilon(0.01));
}

TEST_CASE("mistakes of a route are told apart from refusals", "[route]") {
  CHECK(mistake_in("route deepseek_v3 --ranks 32 --set kind=zipf") ==
        "--set:1:6: error: kind: found 'zipf'; expected one of uniform, power_law, recorded or "
        "published\n");
  CHECK_THAT(mistake_in("route deepseek_v3 --ranks 32 --ranks-per-node 4 --cluster "
                        "h800_2048_multiplane"),
             ContainsSubstring("--ranks-per-node"));
  CHECK_THAT(mistake_in("route deepseek_v3 --ranks 32 --exchange normal"),
             ContainsSubstring("--cluster"));
  CHECK(mistake_in("route deepseek_v3 --ranks 12") ==
        "tessera: error: --ranks: found 12; expected a multiple of the 8 of --ranks-per-node\n");
  CHECK_THAT(refusal_of("route deepseek_v3 --ranks 48"),
             ContainsSubstring("256 experts cannot be split evenly over 48"));
  CHECK_THAT(refusal_of("route llama3.1_8b --ranks 8"),
             ContainsSubstring("has no experts to route to"));
}

TEST_CASE("options that what is printed would not show are refused", "[route]") {
  CHECK(mistake_in("route deepseek_v3 --ranks 32 --layers --format json") ==
        "tessera: error: --layers: found with --format json; expected table\n");
  CHECK_THAT(mistake_in("route deepseek_v3 --ranks 32 --experts --format csv"),
             ContainsSubstring("--experts: found with --format csv"));
  CHECK_THAT(mistake_in("route deepseek_v3 --ranks 32 --cluster h800_2048_multiplane --format csv"),
             ContainsSubstring("expected table or json"));
}

}  // namespace
}  // namespace tessera::end_to_end
