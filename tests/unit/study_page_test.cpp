#include "reports/study_page.hpp"

#include <catch2/catch_test_macros.hpp>

using tessera::reports::pareto_front;

TEST_CASE("a Pareto front holds what nothing beats in both", "[study_page]") {
  //                    0       1       2 beaten by 1  3 none          4
  CHECK(pareto_front({{{1, 9}}, {{5, 5}}, {{4, 4}}, std::nullopt, {{9, 1}}}) ==
        std::vector<std::size_t>{0, 1, 4});
}

TEST_CASE("equal in one, better in the other is better", "[study_page]") {
  CHECK(pareto_front({{{5, 5}}, {{5, 6}}}) == std::vector<std::size_t>{1});
  CHECK(pareto_front({{{5, 5}}, {{6, 5}}}) == std::vector<std::size_t>{1});
  CHECK(pareto_front({{{5, 5}}, {{5, 5}}}) == std::vector<std::size_t>{0});  // the first of equals
  CHECK(pareto_front({}).empty());
  CHECK(pareto_front({std::nullopt}).empty());
}
