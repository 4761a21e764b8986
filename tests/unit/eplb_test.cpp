#include "models/workload/eplb.hpp"

#include <catch2/catch_test_macros.hpp>
#include <set>

#include "models/workload/expert_skew.hpp"
#include "models/workload/load_spread.hpp"

namespace tessera::workload {
namespace {

/// Loads of ranks when an expert's load is shared evenly by its replicas.
std::vector<double> rank_loads(const ExpertPlacement& placement, const std::vector<double>& loads) {
  const auto slots = placement.slots_of_experts(static_cast<std::int64_t>(loads.size()));
  std::vector<double> ranks(static_cast<std::size_t>(placement.ranks), 0);
  for (std::size_t e = 0; e < loads.size(); ++e)
    for (const std::int64_t slot : slots[e])
      ranks[static_cast<std::size_t>(placement.rank_of(slot))] +=
          loads[e] / static_cast<double>(slots[e].size());
  return ranks;
}

/// Experts that have two replicas on one rank.
int doubled(const ExpertPlacement& placement) {
  std::set<std::pair<std::int64_t, int>> seen;
  int count = 0;
  for (std::int64_t slot = 0; slot < placement.slots(); ++slot)
    if (!seen.emplace(placement.rank_of(slot),
                      placement.expert_of_slot[static_cast<std::size_t>(slot)])
             .second)
      ++count;
  return count;
}

}  // namespace

// The example of github.com/deepseek-ai/EPLB, README.md: two layers of 12 experts, 16 slots, 4
// groups, 2 nodes, 8 GPUs.
TEST_CASE("the balancer gives the placement of its published example", "[eplb]") {
  const BalancerShape shape{.slots = 16, .groups = 4, .nodes = 2, .ranks = 8};
  CHECK(
      balance_experts({90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86}, shape).expert_of_slot ==
      std::vector<int>{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1});
  CHECK(balance_experts({20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}, shape)
            .expert_of_slot == std::vector<int>{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1});
}

TEST_CASE("where nodes do not divide the groups the balancer works globally", "[eplb]") {
  // Three nodes, two groups: as one group on one node. Expert 0 has half of the load and gets both
  // further slots; heaviest first, each slot goes to the lightest rank.
  const ExpertPlacement placement =
      balance_experts({60, 20, 10, 30}, {.slots = 6, .groups = 2, .nodes = 3, .ranks = 3});
  // Replicas: expert 0 twice (30 each), then of 30 and 30 the first again: three times (20 each).
  // Sorted: expert 3 (30), 0, 0, 0 (20), 1 (20), 2 (10).
  CHECK(placement.expert_of_slot == std::vector<int>{3, 2, 0, 0, 1, 0});
}

TEST_CASE("balanced placements hold every expert, few replicas together, and beat linear ones",
          "[eplb]") {
  const PublishedSkew skew{.standard_deviation = 1.28};
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    std::mt19937_64 generator(seed);
    const std::vector<double> loads = draw_expert_loads(256, 32, skew, generator);
    const double linear = spread_of(rank_loads(linear_placement(256, 32), loads)).imbalance;
    for (const std::int64_t redundant : {0, 32, 64}) {
      for (const std::int64_t nodes : {1, 4, 32}) {  // 8 groups on 32 nodes: global
        const ExpertPlacement placement = balance_experts(
            loads, {.slots = 256 + redundant, .groups = 8, .nodes = nodes, .ranks = 32});
        REQUIRE(placement.slots() == 256 + redundant);
        for (const auto& slots : placement.slots_of_experts(256)) CHECK_FALSE(slots.empty());
        // Packing by load parts replicas but for the last, light slots of a pack, as published.
        CHECK(doubled(placement) <= redundant / 5);
        CHECK(spread_of(rank_loads(placement, loads)).imbalance < linear);
      }
    }
  }
}

TEST_CASE("equal loads stay balanced with replicas", "[eplb]") {
  const std::vector<double> loads(256, 128.0);
  const ExpertPlacement placement =
      balance_experts(loads, {.slots = 288, .groups = 8, .nodes = 4, .ranks = 32});
  CHECK(spread_of(rank_loads(placement, loads)).imbalance < 1e-9);
}

}  // namespace tessera::workload
