#include "models/training/goodput.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

using Catch::Approx;
using core::Seconds;

/// 10,000 parts that fail once in 20,000 h: a failure every 2 h.
ReliabilitySpec failing() {
  ReliabilitySpec spec;
  spec.components = {{"part", 10'000, Seconds{20'000 * 3600.0}}};
  spec.restart = Seconds{300};
  spec.write = Seconds{30};
  spec.rule = CheckpointInterval::fixed;
  spec.interval = Seconds{900};
  spec.spares = 1'000'000;
  spec.runs = 400;
  return spec;
}

/// 30 days of steps of 10 s.
TrainingRun month() {
  constexpr double kSteps = 30 * 86400 / 10;
  return {kSteps, {10, 10, 10, "s", core::Grade::measured}, 8192};
}

double work() { return month().steps * month().step.value; }

TEST_CASE("without failures a run is its steps, and with checkpoints their writing", "[goodput]") {
  ReliabilitySpec spec = failing();
  spec.components.clear();
  spec.runs = 3;
  spec.rule = CheckpointInterval::daly;
  spec.interval = {};
  const Goodput plain = simulate_goodput(spec, month());
  CHECK(plain.total_days.median == Approx(30).epsilon(1e-12));
  CHECK(plain.total_days.p05 == Approx(plain.total_days.p95).epsilon(1e-12));
  CHECK(plain.effective.median == Approx(1).epsilon(1e-12));
  spec.rule = CheckpointInterval::fixed;
  spec.interval = Seconds{900};
  // 2880 intervals of 900 s; none is written after the last.
  CHECK(simulate_goodput(spec, month()).mean.writing == Approx(2879 * 30.0));
}

TEST_CASE("exponential failures take the time that Daly derived", "[goodput]") {
  for (const double interval : {300.0, 900.0, 2700.0}) {
    for (const double restart : {60.0, 300.0, 1800.0}) {
      ReliabilitySpec spec = failing();
      spec.interval = Seconds{interval};
      spec.detection = Seconds{restart / 4};
      spec.restart = Seconds{restart * 3 / 4};
      const Goodput goodput = simulate_goodput(spec, month());
      const double expected = daly_expected_time(Seconds{work()}, spec.interval, spec.write,
                                                 Seconds{restart}, goodput.mtbf)
                                  .value();
      INFO("interval " << interval << " restart " << restart);
      CHECK(goodput.mtbf.value() == Approx(7200));
      CHECK(goodput.mean.total == Approx(expected).epsilon(0.01));
    }
  }
}

TEST_CASE("the parts of a run sum to it", "[goodput]") {
  ReliabilitySpec spec = failing();
  spec.spares = 2;
  spec.repair = Seconds{6 * 3600};
  spec.straggler_spread = 0.01;
  for (int i = 0; i < 20; ++i) {
    const GoodputRun run = simulate_run(spec, month(), spec.interval, i);
    CHECK(run.useful + run.rework + run.writing + run.down + run.waiting ==
          Approx(run.total).epsilon(1e-9));
    CHECK(run.waiting > 0);
    CHECK(run.effective == Approx(run.useful / run.total).epsilon(1e-9));
  }
}

TEST_CASE("the interval found in simulation costs no more than Young's or Daly's", "[goodput]") {
  ReliabilitySpec spec = failing();
  spec.rule = CheckpointInterval::simulate;
  const Goodput found = simulate_goodput(spec, month());
  CHECK(found.young.value() == Approx(std::sqrt(2 * 30 * 7200.0)));
  CHECK(found.daly.value() == Approx(638).epsilon(0.01));
  CHECK(found.simulated.value() > 0.5 * found.daly.value());
  CHECK(found.simulated.value() < 2 * found.daly.value());
  for (const Seconds other : {found.young, found.daly}) {
    ReliabilitySpec fixed = spec;
    fixed.rule = CheckpointInterval::fixed;
    fixed.interval = other;
    CHECK(found.mean.total <= 1.001 * simulate_goodput(fixed, month()).mean.total);
  }
}

TEST_CASE("stragglers wait for the largest of as many normal speeds", "[goodput]") {
  ReliabilitySpec spec = failing();
  spec.components.clear();
  spec.rule = CheckpointInterval::daly;
  spec.interval = {};
  spec.straggler_spread = 0.02;
  TrainingRun run = month();
  // Expected maxima of n standard normal values: 1.5388 for 10, 2.5076 for 100, 3.2414 for 1000
  // (H. L. Harter, Biometrika 48, 1961, table 1).
  for (const auto& [gpus, largest] :
       {std::pair{10, 1.5388}, std::pair{100, 2.5076}, std::pair{1000, 3.2414}}) {
    run.gpus = gpus;
    spec.runs = 4000;
    const Goodput goodput = simulate_goodput(spec, run);
    CHECK(goodput.mean.total / work() == Approx(1 + 0.02 * largest).epsilon(0.001));
  }
}

TEST_CASE("components interrupt by their rates, and the step's interval widens days", "[goodput]") {
  ReliabilitySpec spec = failing();
  spec.components.push_back({"switch", 100, Seconds{2000 * 3600.0}});
  spec.window = Seconds{10 * 86400};
  TrainingRun run = month();
  const Goodput narrow = simulate_goodput(spec, run);
  CHECK(narrow.by_component[0] == Approx(120).epsilon(0.02));  // 240 h at one in 2 h
  CHECK(narrow.by_component[1] == Approx(12).epsilon(0.06));   // and one in 20 h
  CHECK(narrow.interruptions.p05 < 132);
  CHECK(narrow.interruptions.p95 > 132);
  run.step.lower = 9;
  run.step.upper = 11;
  const Goodput wide = simulate_goodput(spec, run);
  CHECK(wide.total_days.p95 / wide.total_days.median == Approx(1.1).epsilon(0.02));
  CHECK(wide.total_days.p05 / wide.total_days.median == Approx(0.9).epsilon(0.02));
}

TEST_CASE("equal seeds give equal runs, and a job that never restarts is refused", "[goodput]") {
  ReliabilitySpec spec = failing();
  const GoodputRun a = simulate_run(spec, month(), spec.interval, 7);
  CHECK(a.total == simulate_run(spec, month(), spec.interval, 7).total);
  CHECK(a.total != simulate_run(spec, month(), spec.interval, 8).total);
  spec.seed = 2;
  CHECK(a.total != simulate_run(spec, month(), spec.interval, 7).total);
  spec.restart = Seconds{40 * 7200};
  CHECK_THROWS_AS(simulate_goodput(spec, month()), core::Refusal);
}

}  // namespace
}  // namespace tessera::training
