#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>

#include "sim/app/scenario.hpp"
#include "sim/app/scenario_cost.hpp"
#include "tests/config/mistakes.hpp"

namespace tessera::config_test {
namespace {

using Catch::Matchers::WithinRel;

constexpr const char* kScenario = "deepseek_v3_pretrain_h800";

app::Scenario read(const std::vector<std::string>& set) {
  return app::read_scenario(kScenario, {.set = set});
}

std::string mistakes(const std::vector<std::string>& set) {
  return messages_of([&] { static_cast<void>(read(set)); });
}

TEST_CASE("GPUs are rented unless the scenario says that they are owned", "[config][cost]") {
  CHECK_FALSE(read({}).cost.ownership.has_value());
  const app::Scenario owned = read({"cost.kind=ownership"});
  REQUIRE(owned.cost.ownership.has_value());
  const reports::OwnershipAssumptions& o = *owned.cost.ownership;
  CHECK(o.server.value.value == 33800);
  CHECK(o.electricity.value.value == owned.cost.electricity.value.value);
  CHECK(o.pue.value.value == owned.cost.pue.value.value);
  // 700 W, 4.6 kW over eight GPUs, 100 W of switches
  CHECK_THAT(o.provisioned_kilowatts, WithinRel(1.375, 1e-12));
}

TEST_CASE("what the scenario states of owning replaces the price list", "[config][cost]") {
  const app::Scenario owned =
      read({"cost.kind=ownership", "cost.server=30000 USD/GPU", "cost.years=4",
            "cost.utilisation=0.6", "cost.colocation=150 USD/kW/month", "cost.pue=1.3"});
  const reports::OwnershipAssumptions& o = *owned.cost.ownership;
  CHECK(o.server.value.value == 30000);
  CHECK(o.years.value.upper == 4);
  CHECK(o.utilisation.value.lower == 0.6);
  CHECK(o.colocation.value.value == 150);
  CHECK(o.pue.value.value == 1.3);
  // On another cluster a stated server price does not hold.
  const app::Scenario other =
      app::read_scenario(kScenario, {.set = {"cost.kind=ownership", "cost.server=30000 USD/GPU"},
                                     .other_cluster = "h20_2048_multiplane"});
  CHECK(other.cost.ownership->server.value.value == 19200);
}

TEST_CASE("mistakes in the cost of owning are told", "[config][cost]") {
  CHECK(mistakes({"cost.kind=leasing"}) ==
        "--set:1:11: error: cost.kind: found 'leasing'; expected one of rental or ownership");
  CHECK(
      mistakes({"cost.years=5"}) ==
      "--set:1:12: error: cost.years: found beside rented GPUs; expected kind: ownership with it");
  CHECK(mistakes({"cost.kind=ownership", "cost.utilisation=1.2"}) ==
        "--set:2:18: error: cost.utilisation: found '1.2'; expected a number in [0.01, 1]");
  CHECK(mistakes({"cost.kind=ownership", "cost.server=30000"})
            .starts_with("--set:2:13: error: cost.server: found '30000'"));
}

}  // namespace
}  // namespace tessera::config_test
