#include "reports/cost.hpp"

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

device::ClusterSpec cluster() { return cluster_of(800, 50); }

reports::CostAssumptions assumptions() {
  return {price(2, "USD/GPU/h"), price(1.25, "1", Grade::fitted),
          price(0.1, "USD/kWh", Grade::fitted), std::nullopt};
}

reports::RunFigures run() { return run_of(5000); }

}  // namespace

TEST_CASE("independent relative errors add in quadrature", "[cost]") {
  const Estimate a{10, 8, 13, "h", Grade::fitted};
  const Estimate b{2, 1, 4, "USD/h", Grade::assumed};
  const Estimate c = reports::product(a, b, "USD");
  CHECK(c.value == 20);
  CHECK_THAT(c.upper, WithinRel(20 * std::exp(std::hypot(std::log(1.3), std::log(2))), kTight));
  CHECK_THAT(c.lower, WithinRel(20 * std::exp(-std::hypot(std::log(1.25), std::log(2))), kTight));
  CHECK(c.grade == Grade::assumed);
  CHECK(c.unit == "USD");
  const Estimate by_exact = reports::product(a, exact(3, "1"), "h");
  CHECK_THAT(by_exact.lower, WithinRel(24.0, kTight));
  CHECK_THAT(by_exact.upper, WithinRel(39.0, kTight));
}

TEST_CASE("rent is GPU-hours times the rate", "[cost]") {
  core::Result result;
  reports::add_cost(result, run(), assumptions(), cluster());
  // 3,600 steps of 10 s on 16 GPUs
  CHECK_THAT(result.find("gpu_hours")->value, WithinRel(160.0, kTight));
  CHECK_THAT(result.find("dollars")->value, WithinRel(320.0, kTight));
  CHECK(result.find("dollars")->grade == Grade::assumed);
}

TEST_CASE("energy is GPUs, nodes and network times PUE", "[cost]") {
  core::Result result;
  reports::add_cost(result, run(), assumptions(), cluster());
  // a step: 16 x 5 kJ + 2 x 800 W x 10 s + 16 x 50 W x 10 s = 104 kJ, x 1.25 = 130 kJ
  const double megawatt_hours = 130e3 * 3600 / 3.6e9;
  CHECK_THAT(result.find("energy_megawatt_hours")->value, WithinRel(megawatt_hours, kTight));
  CHECK_THAT(result.find("electricity_dollars")->value, WithinRel(megawatt_hours * 100, kTight));
  CHECK_THAT(result.find("megawatt_hours_per_trillion_tokens")->value,
             WithinRel(megawatt_hours / 3.6e9 * 1e12, kTight));
  CHECK_THAT(result.find("gpu_power")->value, WithinRel(500.0, kTight));
  CHECK(result.find("energy_megawatt_hours")->lower < megawatt_hours);
  CHECK(result.find("energy_megawatt_hours")->upper > megawatt_hours);
}

TEST_CASE("without the run's length only a step is priced", "[cost]") {
  core::Result result;
  reports::RunFigures figures = run();
  figures.tokens = 0;
  reports::add_cost(result, figures, assumptions(), cluster());
  CHECK(result.find("gpu_hours") == nullptr);
  REQUIRE(result.cost.size() == 2);
  CHECK_THAT(result.cost[1].amount.value, WithinRel(160.0 / 3600 * 2, kTight));
  CHECK(result.find("megawatt_hours_per_trillion_tokens") != nullptr);
}

TEST_CASE("a million tokens cost the hour of a GPU over its tokens", "[cost]") {
  core::Result result;
  // 2 USD an hour over 1,000 tokens/s: 3.6 M tokens
  reports::add_token_cost(result, tokens(), assumptions(), cluster());
  CHECK_THAT(result.find("dollars_per_million_tokens")->value, WithinRel(2 / 3.6, kTight));
  CHECK(result.find("dollars_per_million_tokens")->grade == Grade::assumed);
  // 400 W + 800 W over eight GPUs + 50 W of network, times 1.25
  CHECK_THAT(result.find("joules_per_token")->value, WithinRel(550 * 1.25 / 1000, kTight));
  CHECK_THAT(result.find("gpu_power")->value, WithinRel(400.0, kTight));
}

TEST_CASE("a quotient's errors add in quadrature, its bounds changing sides", "[cost]") {
  const Estimate a{10, 8, 13, "USD", Grade::fitted};
  const Estimate b{2, 1, 4, "h", Grade::assumed};
  const Estimate c = reports::ratio(a, b, "USD/h");
  CHECK_THAT(c.value, WithinRel(5.0, kTight));
  CHECK_THAT(c.upper, WithinRel(5 * std::exp(std::hypot(std::log(1.3), std::log(2))), kTight));
  CHECK_THAT(c.lower, WithinRel(5 * std::exp(-std::hypot(std::log(1.25), std::log(2))), kTight));
}
