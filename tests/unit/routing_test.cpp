#include "models/workload/routing.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <numeric>

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

TEST_CASE("what cannot be routed is refused", "[routing]") {
  CHECK_THROWS_AS(route(v3(), {}, 4096, 48, 8), core::Refusal);
  MixtureOfExperts narrow = v3();
  narrow.groups = 64;  // groups of four experts, one allowed, eight wanted
  CHECK_THROWS_AS(route(narrow, {.node_limit = 1}, 4096, 64, 8), core::Refusal);
}

}  // namespace
}  // namespace tessera::workload
