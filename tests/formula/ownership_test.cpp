#include "reports/ownership.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>

#include "tests/formula/cost_inputs.hpp"

using namespace tessera;
using namespace tessera::cost_test;
using Catch::Matchers::WithinRel;
using core::Estimate;
using core::Grade;

namespace {

constexpr double kByHand = 1e-5;  ///< Figures written down to six digits.

/// 32,400 USD of server and 7,600 of network: 40,000 in all, over five years at 10 %.
reports::OwnershipAssumptions assumptions() {
  return {.server = price(32400, "USD/GPU"),
          .network_share = price(0.19),
          .years = price(5),
          .cost_of_capital = price(0.1),
          .utilisation = price(0.8),
          .idle_power = price(0.25),
          .colocation = price(146, "USD/kW/month"),
          .pue = price(1.25),
          .electricity = price(0.08, "USD/kWh"),
          .provisioned_kilowatts = 1.5};
}

}  // namespace

TEST_CASE("annuities are those of a table", "[ownership]") {
  // Any table of capital recovery factors has 0.263797, 0.282012 and 0.264237 for yearly payments;
  // twelve a year at the rate that compounds to the same are less by 12 m / rate.
  CHECK_THAT(reports::annuity(0.10, 5), WithinRel(0.263797 * 0.9568969, kByHand));
  CHECK_THAT(reports::annuity(0.05, 4), WithinRel(0.282012 * 0.9777897, kByHand));
  CHECK_THAT(reports::annuity(0.15, 6), WithinRel(0.264237 * 0.9371934, kByHand));
  CHECK(reports::annuity(0, 5) == 0.2);
  CHECK_THAT(reports::annuity(1e-9, 5), WithinRel(0.2, 1e-6));  // the limit of no interest
  // Payments discounted bring back what was paid.
  double worth = 0;
  for (int month = 1; month <= 60; ++month)
    worth += reports::annuity(0.1, 5) / 12 / std::pow(1.1, month / 12.);
  CHECK_THAT(worth, WithinRel(1.0, kTight));
}

TEST_CASE("an owned hour is capital, space and electricity over useful hours", "[ownership]") {
  const reports::GpuHour hour = reports::owned_hour(assumptions());
  REQUIRE(hour.parts.size() == 5);
  const double useful = 8760 * 0.8;
  CHECK_THAT(hour.parts[0].amount.value, WithinRel(32400 / 5. / useful, kTight));
  CHECK_THAT(hour.parts[1].amount.value, WithinRel(7600 / 5. / useful, kTight));
  CHECK_THAT(hour.parts[2].amount.value, WithinRel(40000 * (0.2524270 - 0.2) / useful, kByHand));
  CHECK_THAT(hour.parts[3].amount.value, WithinRel(146 * 1.5 / 730 / 0.8, kTight));
  // 0.15 USD an hour at work, and a quarter of it in one idle hour for every four at work
  CHECK_THAT(hour.parts[4].amount.value, WithinRel(0.15 * (1 + 0.25 * 0.25), kTight));
  CHECK_THAT(hour.total.value, WithinRel(1.440793 + 0.375 + 0.159375, kByHand));
  CHECK_THAT(hour.total.lower, WithinRel(hour.total.value, kTight));  // exact inputs
  CHECK(hour.total.grade == Grade::assumed);
}

TEST_CASE("electricity follows what is drawn, space what is provisioned", "[ownership]") {
  const reports::GpuHour half =
      reports::owned_hour(assumptions(), Estimate{750, 750, 750, "W", Grade::fitted});
  const reports::GpuHour all = reports::owned_hour(assumptions());
  CHECK_THAT(half.parts[4].amount.value, WithinRel(all.parts[4].amount.value / 2, kTight));
  CHECK_THAT(half.parts[3].amount.value, WithinRel(all.parts[3].amount.value, kTight));
}

TEST_CASE("bounds are each input moved alone, in quadrature", "[ownership]") {
  reports::OwnershipAssumptions a = assumptions();
  a.electricity = price(0, "USD/kWh");
  a.colocation = price(0, "USD/kW/month");
  // The whole is proportional to the server's price, and to 1 / utilisation.
  a.server.value.lower = 32400 / 2.;
  a.server.value.upper = 32400 * 1.5;
  a.utilisation.value.lower = 0.4;
  a.utilisation.value.upper = 1;
  const Estimate total = reports::owned_hour(a).total;
  CHECK_THAT(std::log(total.upper / total.value),
             WithinRel(std::hypot(std::log(1.5), std::log(2)), kTight));
  CHECK_THAT(std::log(total.value / total.lower),
             WithinRel(std::hypot(std::log(2), std::log(1.25)), kTight));
}

TEST_CASE("buying breaks even where both cost the same", "[ownership]") {
  reports::OwnershipAssumptions a = assumptions();
  const reports::BreakEven even = reports::break_even(a, 2.5);
  // An hour stands for 1.152635 of capital and 0.3 of space; energy 0.15 at work, 0.0375 idle.
  REQUIRE(even.utilisation.has_value());
  CHECK_THAT(*even.utilisation, WithinRel((1.152635 + 0.3 + 0.0375) / (2.5 - 0.1125), kByHand));
  a.utilisation = price(*even.utilisation);
  CHECK_THAT(reports::owned_hour(a).total.value, WithinRel(2.5, kTight));
  // At that use the rent saved pays the purchase back in its five years, no sooner.
  a.utilisation = price(*even.utilisation * (1 + 1e-9));
  CHECK_THAT(reports::break_even(a, 2.5).months.value(), WithinRel(60.0, 1e-6));
  a.utilisation = price(*even.utilisation * (1 - 1e-6));
  CHECK_FALSE(reports::break_even(a, 2.5).months.has_value());
  // Two thirds of the power: energy is 0.1 at work and 0.025 idle.
  const Estimate kilowatt{1000, 1000, 1000, "W", Grade::fitted};
  CHECK_THAT(*reports::break_even(a, 2.5, kilowatt).utilisation,
             WithinRel((1.152635 + 0.3 + 0.025) / (2.5 - 0.075), kByHand));
}

TEST_CASE("months to break even pay the purchase back with interest", "[ownership]") {
  const reports::BreakEven even = reports::break_even(assumptions(), 2.5);
  // Saved a month: 730 x (2.5 x 0.8 - 0.3 - 0.15 x 0.8 - 0.0375 x 0.2) = 1147.925 USD
  REQUIRE(even.months.has_value());
  const double monthly = std::pow(1.1, 1 / 12.) - 1;
  const double worth = 1147.925 * (1 - std::pow(1 + monthly, -*even.months)) / monthly;
  CHECK_THAT(worth, WithinRel(40000.0, kTight));
  CHECK(*even.months > 40000 / 1147.925);  // interest takes longer
  reports::OwnershipAssumptions free = assumptions();
  free.cost_of_capital = price(0);
  CHECK_THAT(*reports::break_even(free, 2.5).months, WithinRel(40000 / 1147.925, kTight));
}

TEST_CASE("a rent below what owning costs never breaks even", "[ownership]") {
  const reports::BreakEven never = reports::break_even(assumptions(), 1.0);
  CHECK_FALSE(never.utilisation.has_value());
  CHECK_FALSE(never.months.has_value());
  // Cheaper to own at full use, but not at four fifths of it.
  const reports::BreakEven almost = reports::break_even(assumptions(), 1.8);
  CHECK(almost.utilisation.value() > 0.8);
  CHECK_FALSE(almost.months.has_value());
}

TEST_CASE("bills take the owned hour where GPUs are owned", "[ownership]") {
  const device::ClusterSpec cluster = cluster_of(4000, 100, 900);
  CHECK(reports::provisioned_kilowatts(cluster) == 1.5);
  const reports::CostAssumptions cost{price(9, "USD/GPU/h"), price(1.25), price(0.08, "USD/kWh"),
                                      assumptions()};
  core::Result result;
  // 400 W and 600 W of node and network: 1 kW
  reports::add_token_cost(result, tokens(), cost, cluster);
  const double hour = 1.440793 + 0.375 + 0.159375 / 1.5;
  CHECK_THAT(result.find("dollars_per_million_tokens")->value, WithinRel(hour / 3.6, kByHand));
  core::Result trained;
  reports::add_cost(trained, run_of(4000), cost, cluster);
  CHECK_THAT(trained.find("dollars")->value, WithinRel(160 * hour, kByHand));
}
