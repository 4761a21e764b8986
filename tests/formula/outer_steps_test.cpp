#include "models/training/outer_steps.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "tests/unit/fake_timers.hpp"

namespace tessera::training {
namespace {

using Catch::Approx;
using core::Seconds;

/// Four sites on 10 Gbit/s, 20 ms apart.
OuterStepSpec four_sites() {
  return {.sites = 4, .link = core::BytesPerSecond{1.25e9}, .latency = Seconds{0.02}};
}

TEST_CASE("sites exchange in a ring over their thin links", "[outer]") {
  // 2 x 3 / 4 of 5 GB at 1.25 GB/s, and 6 latencies.
  CHECK(ring_over_sites(5e9, four_sites()).value() == Approx(6 + 0.12));
  OuterStepSpec alone = four_sites();
  alone.sites = 1;
  CHECK(ring_over_sites(5e9, alone).value() == 0);
}

TEST_CASE("an outer step is spread over its inner steps, or hides behind them", "[outer]") {
  OuterStepSpec spec = four_sites();
  spec.inner_steps = 100;
  const core::BytesPerSecond hbm{2e12};
  const OuterStep exposed = outer_step(spec, 1e9, Seconds{2}, 8, hbm);
  CHECK(exposed.exchange.value() == Approx(1.5 * 4e9 / 1.25e9 + 0.12));
  CHECK(exposed.update.value() == Approx(24e9 / 8 / 2e12));
  CHECK(exposed.mean_step(Seconds{2}, 100).value() ==
        Approx(2 + (exposed.exchange.value() + exposed.update.value()) / 100));
  spec.overlapped = true;  // 4.92 s behind 200 s
  CHECK(outer_step(spec, 1e9, Seconds{2}, 8, hbm).exposed.value() ==
        Approx(exposed.update.value()));
  spec.inner_steps = 2;  // behind 4 s only
  CHECK(outer_step(spec, 1e9, Seconds{2}, 8, hbm).exposed.value() ==
        Approx(exposed.exchange.value() - 4 + exposed.update.value()));
  spec.exchange = core::DataType::bf16;
  CHECK(outer_step(spec, 1e9, Seconds{2}, 8, hbm).exchange.value() ==
        Approx(1.5 * 2e9 / 1.25e9 + 0.12));
}

TEST_CASE("the sites' quantities follow from a site's step", "[outer]") {
  const TrainingJob job = deepseek_job();
  OuterStepSpec spec = four_sites();
  spec.inner_steps = 50;
  core::Result result;
  const core::Estimate step{20, 18, 23, "s", core::Grade::fitted};
  const core::Estimate mean = add_outer_steps(result, spec, job, step);
  const double outer = result.find("outer_step_time")->value;
  CHECK(outer > 3000);  // 2.7 TB at 1.25 GB/s, one and a half times
  CHECK(mean.value == Approx(20 + outer / 50));
  CHECK(mean.lower == Approx(18 + outer / 50));
  CHECK(result.find("tokens_per_day_across_sites")->value ==
        Approx(4 * 15360.0 * 4096 / mean.value * 86400));
  CHECK(result.find("outer_communication_fraction")->value == Approx(1 - 20 / mean.value));
  CHECK(result.find("synchronous_step_time")->value > 20 + outer * 0.9);
}

}  // namespace
}  // namespace tessera::training
