#include "models/workload/expert_skew.hpp"

#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/workload/expert_gate.hpp"
#include "models/workload/load_spread.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using Catch::Approx;

std::vector<double> by_rank(const std::vector<double>& loads, std::size_t each) {
  std::vector<double> ranks(loads.size() / each, 0);
  for (std::size_t e = 0; e < loads.size(); ++e) ranks[e / each] += loads[e];
  return ranks;
}

}  // namespace

TEST_CASE("drawn loads have the stated moments", "[skew]") {
  const PublishedSkew skew{.standard_deviation = 164.1 / 128,
                           .rank_standard_deviation = 491.6 / 1024,
                           .experts_per_rank = 8};
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 generator(seed);
    const std::vector<double> loads = draw_expert_loads(256, 32, skew, generator);
    const LoadSpread experts = spread_of(loads), ranks = spread_of(by_rank(loads, 8));
    CHECK(experts.mean == Approx(1));
    CHECK(experts.standard_deviation == Approx(164.1 / 128).epsilon(1e-6));
    CHECK(ranks.standard_deviation / ranks.mean == Approx(491.6 / 1024).epsilon(1e-4));
    CHECK(*std::min_element(loads.begin(), loads.end()) > 0);
    CHECK(*std::max_element(loads.begin(), loads.end()) <= 32);
  }
}

TEST_CASE("independent experts give ranks of their root", "[skew]") {
  double sum = 0;
  constexpr int kDraws = 200;
  for (int seed = 1; seed <= kDraws; ++seed) {
    std::mt19937_64 generator(static_cast<std::uint64_t>(seed));
    const auto loads = draw_expert_loads(256, 32, {.standard_deviation = 0.5}, generator);
    const LoadSpread ranks = spread_of(by_rank(loads, 8));
    sum += ranks.standard_deviation / ranks.mean;
  }
  // 0.5 / sqrt(8), with the correction for 8 of 256 without replacement.
  CHECK(sum / kDraws == Approx(0.5 / std::sqrt(8.0) * std::sqrt(248.0 / 255)).epsilon(0.03));
}

TEST_CASE("spreads that no draw can have are refused", "[skew]") {
  std::mt19937_64 generator(1);
  // One expert with everything: standard deviation sqrt(255) of the mean.
  CHECK_THROWS_AS(draw_expert_loads(256, 32, {.standard_deviation = 16}, generator), core::Refusal);
  CHECK_THROWS_AS(
      draw_expert_loads(
          256, 32,
          {.standard_deviation = 0.5, .rank_standard_deviation = 0.6, .experts_per_rank = 8},
          generator),
      core::Refusal);
}

TEST_CASE("a gate for given rows chooses experts as often, with and without a limit", "[skew]") {
  std::mt19937_64 generator(3);
  const auto loads = draw_expert_loads(256, 32, {.standard_deviation = 1.28}, generator);
  const std::vector<std::int64_t> rows = apportion(loads, 32768);
  for (const std::int64_t limit : {8, 4}) {
    ExpertGate gate = gate_for_rows({.top_k = 8, .groups = 8, .group_limit = limit}, rows, 1);
    std::vector<double> met(256, 0);
    std::mt19937_64 tokens(5);
    for (const int e : gate.choose(tokens, 20000))
      met[static_cast<std::size_t>(e)] += 4096.0 / 20000;
    double off = 0;
    for (std::size_t e = 0; e < rows.size(); ++e)
      off += std::abs(met[e] - static_cast<double>(rows[e]));
    // Samples alone are off by 3 % to 4 % of all rows; what a gate must not be is systematically
    // so.
    CHECK(off / 32768 < (limit == 8 ? 0.05 : 0.09));
    const auto hottest =
        static_cast<std::size_t>(std::max_element(rows.begin(), rows.end()) - rows.begin());
    CHECK(met[hottest] == Approx(static_cast<double>(rows[hottest])).epsilon(0.1));
  }
}

}  // namespace tessera::workload
