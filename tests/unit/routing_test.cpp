#include "models/workload/routing.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <memory>
#include <numeric>
#include <string>

#include "models/workload/load_spread.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using Catch::Approx;

MixtureOfExperts v3() {
  return {.experts = 256,
          .shared_experts = 1,
          .top_k = 8,
          .intermediate = 2048,
          .groups = 8,
          .group_limit = 4};
}

std::int64_t total(const RoutedLoad& load) {
  return std::accumulate(load.rows.begin(), load.rows.end(), std::int64_t{0});
}

TEST_CASE("uniform routing gives every expert its expected rows", "[routing]") {
  const RoutedLoad load = route(v3(), {.node_limit = 4}, 4096, 64, 8);
  for (const std::int64_t rows : load.rows) CHECK(rows == 8192);
  CHECK(load.skew == 1.0);
  CHECK(load.experts_per_rank == 4);
  CHECK(load.nodes_per_token <= 4.0);
  CHECK(load.nodes_per_token > 3.5);
  CHECK(load.ranks_per_token <= 8.0);
}

TEST_CASE("without a node limit places follow the hypergeometric mean", "[routing]") {
  const RoutedLoad load = route(v3(), {}, 4096, 64, 8);
  // 1 - C(224, 8) / C(256, 8) of eight nodes, 1 - C(252, 8) / C(256, 8) of 64 ranks.
  double none_on_node = 1, none_on_rank = 1;
  for (int i = 0; i < 8; ++i) {
    none_on_node *= (224.0 - i) / (256.0 - i);
    none_on_rank *= (252.0 - i) / (256.0 - i);
  }
  CHECK(load.nodes_per_token == Approx(8 * (1 - none_on_node)).epsilon(0.01));
  CHECK(load.ranks_per_token == Approx(64 * (1 - none_on_rank)).epsilon(0.01));
}

TEST_CASE("a power law conserves rows, is skewed, and depends on the seed alone", "[routing]") {
  const RoutingSpec spec{
      .kind = RoutingSpec::Kind::power_law, .alpha = 1.01, .seed = 7, .node_limit = 4};
  const RoutedLoad a = route(v3(), spec, 4096, 64, 8);
  const RoutedLoad b = route(v3(), spec, 4096, 64, 8);
  CHECK(a.rows == b.rows);
  CHECK(total(a) == 4096LL * 64 * 8);
  CHECK(a.skew > 1.2);
  CHECK(a.total_on(a.hottest_rank) == Approx(a.skew * 32768).epsilon(1e-6));
  RoutingSpec other = spec;
  other.seed = 8;
  CHECK(route(v3(), other, 4096, 64, 8).rows != a.rows);
}

RoutingSpec r1_published() {
  // NVIDIA, TensorRT-LLM tech blog 4, table 1: DeepSeek-R1 on 32 ranks.
  return {.kind = RoutingSpec::Kind::published,
          .skew = {.standard_deviation = 164.1 / 128,
                   .rank_standard_deviation = 491.6 / 1024,
                   .experts_per_rank = 8}};
}

TEST_CASE("published skew is unequal by rank as published, and EPLB evens it out", "[routing]") {
  RoutingSpec spec = r1_published();
  const auto mean_imbalance = [&] {
    double by_rank = 0;
    for (const SlotLoad& load : route_layers(v3(), spec, 128, 32, 8, 58))
      by_rank += spread_of(load.rank_rows()).imbalance / 58;
    return by_rank;
  };
  CHECK(mean_imbalance() == Approx(1.564).epsilon(0.1));
  spec.placement = RoutingSpec::Placement::eplb;
  spec.redundant_experts = 32;
  const double foreseen = mean_imbalance();
  spec.placement_window = 100 * 4096;
  const double windowed = mean_imbalance();
  spec.placement_window = 0;
  spec.placement_seed = 77;
  CHECK(foreseen < windowed);
  CHECK(windowed < 0.2);
  CHECK(mean_imbalance() > 0.5);  // of other traffic it knows nothing
}

TEST_CASE("rows are kept however experts are placed", "[routing]") {
  for (const auto kind :
       {RoutingSpec::Kind::uniform, RoutingSpec::Kind::power_law, RoutingSpec::Kind::published}) {
    for (const std::int64_t limit : {0, 4}) {
      RoutingSpec spec = r1_published();
      spec.kind = kind;
      spec.node_limit = limit;
      spec.placement = RoutingSpec::Placement::eplb;
      spec.redundant_experts = 32;
      const RoutedLoad load = route(v3(), spec, 100, 32, 8);
      CHECK(total(load) == 100LL * 32 * 8);
      CHECK(std::accumulate(load.expert_rows.begin(), load.expert_rows.end(), std::int64_t{0}) ==
            100LL * 32 * 8);
      CHECK(load.rows.size() == 288);
      CHECK(load.experts_per_rank == 9);
      CHECK(load.ranks_per_token <= 8.0);
      CHECK(load.nodes_per_token <= 4.0);
      CHECK(load.rank_probability.size() == 32);
      CHECK(load.node_probability.size() == 4);
    }
  }
}

TEST_CASE("hierarchical placement keeps a limited token's groups on their nodes", "[routing]") {
  RoutingSpec spec = r1_published();
  spec.placement = RoutingSpec::Placement::eplb;
  spec.redundant_experts = 64;
  spec.node_limit = 4;
  // Eight nodes, a group each: four groups are four nodes.
  CHECK(route(v3(), spec, 128, 64, 8).nodes_per_token <= 4.0);
  // 16 nodes do not divide eight groups: replicas lie anywhere.
  CHECK(route(v3(), spec, 128, 64, 4).nodes_per_token > 4.0);
}

TEST_CASE("recorded choices keep which experts are chosen together", "[routing]") {
  MixtureOfExperts moe{.experts = 8, .top_k = 2, .intermediate = 1};
  RoutingSpec spec{.kind = RoutingSpec::Kind::recorded};
  // Two tokens on one rank each, one token on two: 4 / 3 ranks a token.
  spec.recorded = std::make_shared<RecordedRouting>(
      read_recorded_routing("e0,e1\n0,1\n6,7\n2,4\n", "r.csv", 8, 2));
  const RoutedLoad load = route(moe, spec, 3, 4, 2);
  CHECK(load.rows == std::vector<std::int64_t>{4, 4, 4, 0, 4, 0, 4, 4});
  CHECK(load.ranks_per_token == Approx(4.0 / 3));
  CHECK(load.nodes_per_token == Approx(4.0 / 3));
  CHECK(load.rank_probability[0] == Approx(1.0 / 3));
  CHECK(load.skew == Approx(8.0 / 6));
}

TEST_CASE("a limit on nodes holds for models without groups", "[routing]") {
  MixtureOfExperts moe{.experts = 128, .top_k = 8, .intermediate = 1};
  const RoutedLoad load = route(moe, {.node_limit = 2}, 128, 32, 8);
  CHECK(load.nodes_per_token <= 2.0);
  // An exchange that gates tokens by itself does not know of groups that are nodes.
  CHECK(load.placed);
  CHECK_FALSE(route(moe, {.node_limit = 4}, 128, 32, 8).placed);
  CHECK_FALSE(route(v3(), {.node_limit = 4}, 128, 32, 8).placed);
  // Three nodes, the last of two ranks, do not share 70 experts evenly.
  CHECK_THROWS_AS(
      route({.experts = 70, .top_k = 8, .intermediate = 1}, {.node_limit = 2}, 128, 10, 4),
      core::Refusal);
}

TEST_CASE("what cannot be routed is refused", "[routing]") {
  RoutingSpec odd{.placement = RoutingSpec::Placement::eplb, .redundant_experts = 31};
  CHECK_THROWS_AS(route(v3(), odd, 4096, 32, 8), core::Refusal);
  RoutingSpec hot{.kind = RoutingSpec::Kind::recorded};
  std::string all_on_one = "expert,count\n";
  for (int e = 0; e < 256; ++e) all_on_one += std::to_string(e) + (e == 3 ? ",1000\n" : ",1\n");
  hot.recorded =
      std::make_shared<RecordedRouting>(read_recorded_routing(all_on_one, "r.csv", 256, 8));
  CHECK_THROWS_AS(route(v3(), hot, 4096, 32, 8), core::Refusal);
  CHECK_THROWS_AS(route(v3(), {}, 4096, 48, 8), core::Refusal);
  MixtureOfExperts narrow = v3();
  narrow.groups = 64;  // groups of four experts, one allowed, eight wanted
  CHECK_THROWS_AS(route(narrow, {.node_limit = 1}, 4096, 64, 8), core::Refusal);
}

}  // namespace
}  // namespace tessera::workload
