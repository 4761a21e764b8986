#include "models/workload/power_law_draw.hpp"

#include <catch2/catch_test_macros.hpp>
#include <numeric>

using namespace tessera::workload;

namespace {

std::int64_t total(const std::vector<std::int64_t>& rows) {
  return std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
}

}  // namespace

TEST_CASE("one rank holds every row of a draw, at most the tokens for an expert", "[routing]") {
  const auto ranks =
      draw_heaviest_ranks({.tokens = 300, .top_k = 8, .experts = 64, .alpha = 1.2}, 20);
  for (const HeaviestRank& rank : ranks) {
    CHECK(total(rank.rows) == 300 * 8);
    CHECK(rank.rows.front() <= 300);
    CHECK(rank.rows.back() >= 0);
    CHECK(rank.tokens == 300);
  }
}

TEST_CASE("the heaviest rank has more than its share, and no more tokens than there are",
          "[routing]") {
  const auto ranks = draw_heaviest_ranks(
      {.tokens = 512, .top_k = 8, .experts = 256, .ranks = 16, .alpha = 1.01}, 20);
  for (const HeaviestRank& rank : ranks) {
    CHECK(rank.rows.size() == 16);
    CHECK(total(rank.rows) > 512 * 8 / 16);
    CHECK(rank.tokens <= 512);
    CHECK(rank.tokens >= rank.rows.front());
    CHECK(rank.tokens <= total(rank.rows));
  }
}

TEST_CASE("a draw depends on its number alone", "[routing]") {
  const PowerLawDraw draw{.tokens = 100, .top_k = 4, .experts = 32, .ranks = 4, .alpha = 1.2};
  const auto few = draw_heaviest_ranks(draw, 3);
  const auto many = draw_heaviest_ranks(draw, 5);
  for (std::size_t i = 0; i < few.size(); ++i) CHECK(few[i].rows == many[i].rows);
}

TEST_CASE("a steeper law loads fewer experts more evenly than a balancer does", "[routing]") {
  PowerLawDraw draw{.tokens = 2048, .top_k = 8, .experts = 256, .ranks = 32, .alpha = 1.2};
  const HeaviestRank skewed = mean_of(draw_heaviest_ranks(draw, 16));
  draw.slots = 288;
  const HeaviestRank balanced = mean_of(draw_heaviest_ranks(draw, 16));
  CHECK(skewed.rows.size() == 8);
  CHECK(balanced.rows.size() == 9);
  CHECK(total(balanced.rows) < total(skewed.rows));
  CHECK(total(balanced.rows) >= 2048 * 8 / 32);
}

TEST_CASE("few tokens reach as many experts as they choose", "[routing]") {
  const auto ranks =
      draw_heaviest_ranks({.tokens = 2, .top_k = 4, .experts = 128, .alpha = 1.01}, 10);
  for (const HeaviestRank& rank : ranks) {
    CHECK(total(rank.rows) == 8);
    CHECK(rank.rows.front() <= 2);
  }
}

TEST_CASE("what rounding leaves over goes to the most loaded expert or to every rank",
          "[routing]") {
  // 8 rows over 256 experts round to none each.
  PowerLawDraw draw{.tokens = 1, .top_k = 8, .experts = 256, .ranks = 16, .alpha = 1.01};
  CHECK(total(draw_heaviest_ranks(draw, 1).front().rows) == 1);
  draw.rest_to_most_loaded = true;
  CHECK(total(draw_heaviest_ranks(draw, 1).front().rows) == 8);
}

TEST_CASE("the mean of order statistics keeps the mean total", "[routing]") {
  const std::vector<HeaviestRank> ranks = {{.rows = {3, 1, 0}, .tokens = 3},
                                           {.rows = {4, 2, 0}, .tokens = 5}};
  const HeaviestRank mean = mean_of(ranks);
  CHECK(mean.rows == std::vector<std::int64_t>{4, 1, 0});  // 3.5 and 1.5: 5 in all
  CHECK(mean.tokens == 4);
}

TEST_CASE("balanced tokens take neighbouring experts in turn", "[routing]") {
  // Stride 4: token t takes t and t + 4.
  CHECK(balanced_rows(8, 2, 8, 1) == std::vector<std::int64_t>(8, 2));
  CHECK(balanced_rows(5, 2, 8, 2) == std::vector<std::int64_t>{2, 1, 1, 1});
  // Fewer tokens than the stride are spread over it: 0 and 4, 2 and 6.
  CHECK(balanced_rows(2, 2, 8, 1) == std::vector<std::int64_t>{1, 0, 1, 0, 1, 0, 1, 0});
  CHECK(total(balanced_rows(1000, 6, 60, 1)) == 6000);
}
