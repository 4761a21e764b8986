#include "models/workload/uniform_draw.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <numeric>

namespace tessera::workload {
namespace {

TEST_CASE("one rank gets every row, and as many experts as chance hits", "[uniform_draw]") {
  const auto draws = draw_uniform_ranks({.tokens = 8, .top_k = 8, .experts = 256}, 200);
  double hit = 0;
  for (const HeaviestRank& rank : draws) {
    CHECK(std::accumulate(rank.rows.begin(), rank.rows.end(), std::int64_t{0}) == 64);
    CHECK(rank.tokens == 8);
    for (const std::int64_t rows : rank.rows) hit += rows > 0 ? 1 : 0;
  }
  // 256 (1 - (1 - 8/256)^8) experts, expected.
  CHECK(hit / 200 == Catch::Approx(57.4).epsilon(0.02));
}

TEST_CASE("the heaviest of several ranks has more than its share", "[uniform_draw]") {
  const auto draws = draw_uniform_ranks({.tokens = 64, .top_k = 4, .experts = 64, .ranks = 8}, 50);
  for (const HeaviestRank& rank : draws)
    CHECK(std::accumulate(rank.rows.begin(), rank.rows.end(), std::int64_t{0}) >= 32);
  CHECK(draws.front().rows == draw_uniform_ranks({64, 4, 64, 8}, 1).front().rows);
}

TEST_CASE("a limit on groups keeps a token's experts together", "[uniform_draw]") {
  const UniformDraw free{.tokens = 4, .top_k = 8, .experts = 256, .ranks = 8, .groups = 8};
  UniformDraw limited = free;
  limited.group_limit = 1;
  const auto rows = [](const UniformDraw& draw) {
    double sum = 0;
    for (const HeaviestRank& rank : draw_uniform_ranks(draw, 400))
      sum +=
          static_cast<double>(std::accumulate(rank.rows.begin(), rank.rows.end(), std::int64_t{0}));
    return sum / 400;
  };
  // One group of eight a token, all its rows there: the fullest group holds one of four tokens in
  // 1,680 of 4,096 ways, two in 2,184, three in 224, all in 8.
  CHECK(rows(limited) ==
        Catch::Approx(8 * (1680 + 2 * 2184 + 3 * 224 + 4 * 8) / 4096.0).epsilon(0.03));
  CHECK(rows(free) < rows(limited));
  limited.group_limit = 8;
  CHECK(rows(limited) == rows(free));
}

}  // namespace
}  // namespace tessera::workload
