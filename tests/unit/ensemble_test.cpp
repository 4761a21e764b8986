#include "models/streams/ensemble.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <iterator>

namespace tessera::streams {
namespace {

using Catch::Approx;

TEST_CASE("errors of families add in quadrature, above and below apart", "[ensemble]") {
  // Two families: one down by 1 and up by 2, one that only makes it longer, by 3 at most and 4.
  const core::Estimate estimate = estimate_of(10, {9, 12, 13, 14}, "s", core::Grade::fitted);
  CHECK(estimate.value == 10);
  CHECK(estimate.lower == 9);
  CHECK(estimate.upper == Approx(10 + std::sqrt(2.0 * 2 + 4 * 4)));
  CHECK(estimate_of(1, {-5, 2}, "s", core::Grade::fitted).lower == 0);
}

TEST_CASE("each family is moved to both of its ends", "[ensemble]") {
  const auto one_of_each = [](const Variation& variation) {
    double sum = 0;
    for (const Family family : kFamilies)
      sum += static_cast<double>(
          TimeRange{core::Time{10}, core::Time{9}, core::Time{12}, family}.at(variation).value());
    return sum;
  };
  const Ensemble<double> ensemble = vary<double>(one_of_each);
  const double all = 10.0 * std::size(kFamilies);
  CHECK(ensemble.nominal == all);
  REQUIRE(ensemble.varied.size() == 2 * std::size(kFamilies));
  for (std::size_t i = 0; i < ensemble.varied.size(); ++i)
    CHECK(ensemble.varied[i] == (i % 2 == 0 ? all - 1 : all + 2));
}

TEST_CASE("how far GPUs differ moves only what the slowest one sets", "[ensemble]") {
  TimeRange time{core::Time{10}, core::Time{9}, core::Time{12}, Family::gemm};
  CHECK(time.at({Variation::Side::upper, Family::parts}) == core::Time{10});
  time.parts = {core::Time{8}, core::Time{15}};
  CHECK(time.at({}) == core::Time{10});
  CHECK(time.at({Variation::Side::lower, Family::parts}) == core::Time{8});
  CHECK(time.at({Variation::Side::upper, Family::parts}) == core::Time{15});
  CHECK(time.at({Variation::Side::upper, Family::gemm}) == core::Time{12});
}

}  // namespace
}  // namespace tessera::streams
