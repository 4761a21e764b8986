#include "models/training/goodput.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <queue>
#include <random>

#include "models/streams/slowest_part.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

using core::Seconds;

constexpr double kSecondsPerDay = 86400;
/// Half of a 90 % interval in standard deviations of a normal distribution.
constexpr double kNinetyPercent = 1.6449;
/// A run that takes this many times its useful time makes no progress worth simulating.
constexpr double kHopeless = 1000;

/// Uniform and exponential draws that every standard library makes alike.
class Random {
 public:
  Random(std::uint64_t seed, int index) {
    std::seed_seq mixed{seed & 0xffffffffU, seed >> 32U, static_cast<std::uint64_t>(index)};
    generator_.seed(mixed);
  }
  /// In (0, 1).
  double uniform() { return (static_cast<double>(generator_() >> 11U) + 0.5) * 0x1.0p-53; }
  double exponential(double mean) { return -mean * std::log(uniform()); }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  std::mt19937_64 generator_;
};

/// The step of one run: the mean GPU's, and the slowest GPU's over it.
struct Pace {
  double step;
  double slowest;
};

Pace draw_pace(const ReliabilitySpec& spec, const TrainingRun& run, Random& random) {
  const double z = random.normal();
  const double side = z > 0 ? run.step.upper - run.step.value : run.step.value - run.step.lower;
  const double step = std::max(run.step.value + z * side / kNinetyPercent, run.step.value / 100);
  // The largest of n uniform values is u^(1/n); so its tail is 1 - u^(1/n).
  const double tail = -std::expm1(std::log(random.uniform()) / std::max(run.gpus, 1));
  const double slowest =
      spec.straggler_spread > 0
          ? 1 + spec.straggler_spread * std::max(0.0, streams::normal_upper(tail))
          : 1;
  return {step, slowest};
}

/// Follows one run from interruption to interruption; between them all is arithmetic.
class Simulator {
 public:
  Simulator(const ReliabilitySpec& spec, const TrainingRun& run, double interval, int index)
      : spec_(spec),
        random_(spec.seed, index),
        pace_(draw_pace(spec, run, random_)),
        interval_(interval),
        work_(run.steps * pace_.step * pace_.slowest),
        mtbf_(job_mtbf(spec).value()),
        spares_(spec.spares) {
    run_.interruptions.assign(spec.components.size(), 0);
    run_.useful = work_;
    run_.straggling = work_ * (1 - 1 / pace_.slowest);
  }

  GoodputRun simulate() {
    while (!train_until_failure()) {
      recover();
      if (now_ > kHopeless * work_) {
        throw core::Refusal(
            core::RefusalKind::outside_model,
            fmt::format("the job fails every {:.0f} s and makes no progress between restarts",
                        mtbf_));
      }
    }
    run_.total = now_;
    const double asked = spec_.window.value();
    run_.window = asked > 0 ? std::min(asked, now_) : now_;
    run_.effective = saved_at_window_ / run_.window;
    return std::move(run_);
  }

 private:
  [[nodiscard]] double window_end() const {
    return spec_.window.value() > 0 ? spec_.window.value()
                                    : std::numeric_limits<double>::infinity();
  }

  /// Trains until the next failure or the end; true at the end.
  bool train_until_failure() {
    const double lifetime =
        mtbf_ > 0 ? random_.exponential(mtbf_) : std::numeric_limits<double>::infinity();
    const double cycle = interval_ + spec_.write.value();
    const double left = work_ - saved_;
    // No checkpoint follows the last step.
    const double writes = interval_ > 0 ? std::ceil(left / interval_ * (1 - 1e-12)) - 1 : 0;
    const double finish = left + std::max(0.0, writes) * spec_.write.value();
    if (lifetime >= finish) {
      count_window(left, finish);
      run_.writing += finish - left;
      now_ += finish;
      return true;
    }
    const double cycles = interval_ > 0 ? std::floor(lifetime / cycle) : 0;
    count_window(cycles * interval_, lifetime);
    run_.writing += cycles * spec_.write.value();
    run_.rework += lifetime - cycles * cycle;
    saved_ += cycles * interval_;
    now_ += lifetime;
    return false;
  }

  /// Adds the useful time of a stretch of training that lies in the window: `useful` of it in
  /// `length`, evenly.
  void count_window(double useful, double length) {
    const double inside = std::clamp(window_end() - now_, 0.0, length);
    if (length > 0) saved_at_window_ += useful * inside / length;
  }

  /// Notices the failure, finds nodes, starts again; failures meanwhile begin this anew.
  void recover() {
    const double downtime = spec_.detection.value() + spec_.restart.value();
    for (bool failed = true; failed;) {
      interrupt();
      const double lifetime = random_.exponential(mtbf_);
      failed = lifetime < downtime;
      const double spent = failed ? lifetime : downtime;
      run_.down += spent;
      now_ += spent;
      if (now_ > kHopeless * work_) return;
    }
  }

  /// Counts the failure, and waits for a node if it took one and none is spare.
  void interrupt() {
    const std::size_t component = draw_component();
    if (now_ <= window_end()) ++run_.interruptions[component];
    if (!spec_.components[component].removes_node) return;
    for (; !repairs_.empty() && repairs_.top() <= now_; repairs_.pop()) ++spares_;
    repairs_.push(now_ + spec_.repair.value());
    if (spares_ > 0) {
      --spares_;
      return;
    }
    run_.waiting += repairs_.top() - now_;
    now_ = repairs_.top();
    repairs_.pop();
  }

  std::size_t draw_component() {
    double at = random_.uniform() / mtbf_;
    for (std::size_t i = 0; i + 1 < spec_.components.size(); ++i) {
      at -= spec_.components[i].count / spec_.components[i].mtbf.value();
      if (at < 0) return i;
    }
    return spec_.components.size() - 1;
  }

  const ReliabilitySpec& spec_;
  Random random_;
  Pace pace_;
  double interval_, work_, mtbf_;
  int spares_;
  std::priority_queue<double, std::vector<double>, std::greater<>> repairs_;  ///< When they end.
  double now_ = 0, saved_ = 0, saved_at_window_ = 0;
  GoodputRun run_;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    const double place = part * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    const double rest = place - static_cast<double>(below);
    return values[below] * (1 - rest) + values[above] * rest;
  };
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {at(0.5), at(0.05), at(0.95), sum / static_cast<double>(values.size())};
}

double mean_total(const ReliabilitySpec& spec, const TrainingRun& run, double interval, int runs) {
  double sum = 0;
  for (int i = 0; i < runs; ++i) sum += simulate_run(spec, run, Seconds{interval}, i).total;
  return sum / runs;
}

/// The interval of least mean time: a coarse, then a fine scan around Young's, all with the same
/// draws. The minimum is flat: the time differs by less than 0.1 % within 10 % of it.
double find_interval(const ReliabilitySpec& spec, const TrainingRun& run, double around) {
  constexpr int kPoints = 13, kMostRuns = 200;
  const int runs = std::min(spec.runs, kMostRuns);
  double best = around, width = 8;
  for (int scan = 0; scan < 2; ++scan) {
    const double middle = best;
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kPoints; ++i) {
      const double interval = middle * std::pow(width, 2.0 * i / (kPoints - 1) - 1);
      const double time = mean_total(spec, run, interval, runs);
      if (time >= least) continue;
      least = time;
      best = interval;
    }
    width = std::pow(width, 2.0 / (kPoints - 1));
  }
  return best;
}

}  // namespace

Seconds job_mtbf(const ReliabilitySpec& spec) {
  double rate = 0;
  for (const FailingComponent& c : spec.components) rate += c.count / c.mtbf.value();
  return Seconds{rate > 0 ? 1 / rate : 0};
}

Seconds young_interval(Seconds write, Seconds mtbf) {
  return Seconds{std::sqrt(2 * write.value() * mtbf.value())};
}

Seconds daly_interval(Seconds write, Seconds mtbf) {
  const double w = write.value(), m = mtbf.value();
  if (w >= 2 * m) return mtbf;
  const double ratio = w / (2 * m);
  return Seconds{std::sqrt(2 * w * m) * (1 + std::sqrt(ratio) / 3 + ratio / 9) - w};
}

Seconds daly_expected_time(Seconds work, Seconds interval, Seconds write, Seconds restart,
                           Seconds mtbf) {
  const double m = mtbf.value();
  return Seconds{m * std::exp(restart.value() / m) *
                 std::expm1((interval.value() + write.value()) / m) * work.value() /
                 interval.value()};
}

GoodputRun simulate_run(const ReliabilitySpec& spec, const TrainingRun& run, Seconds interval,
                        int index) {
  return Simulator(spec, run, interval.value(), index).simulate();
}

Goodput simulate_goodput(const ReliabilitySpec& spec, const TrainingRun& run) {
  Goodput goodput;
  goodput.mtbf = job_mtbf(spec);
  goodput.interval = spec.interval;
  if (goodput.mtbf.value() > 0) {
    goodput.young = young_interval(spec.write, goodput.mtbf);
    goodput.daly = daly_interval(spec.write, goodput.mtbf);
    goodput.simulated = Seconds{find_interval(spec, run, goodput.young.value())};
    if (spec.rule == CheckpointInterval::young) goodput.interval = goodput.young;
    if (spec.rule == CheckpointInterval::daly) goodput.interval = goodput.daly;
    if (spec.rule == CheckpointInterval::simulate) goodput.interval = goodput.simulated;
  }
  std::vector<double> days, interruptions, effective;
  goodput.by_component.assign(spec.components.size(), 0);
  const double share = 1.0 / spec.runs;
  for (int i = 0; i < spec.runs; ++i) {
    const GoodputRun one = simulate_run(spec, run, goodput.interval, i);
    days.push_back(one.total / kSecondsPerDay);
    effective.push_back(one.effective);
    double count = 0;
    for (std::size_t c = 0; c < one.interruptions.size(); ++c) {
      goodput.by_component[c] += share * one.interruptions[c];
      count += one.interruptions[c];
    }
    interruptions.push_back(count);
    for (double GoodputRun::*part :
         {&GoodputRun::total, &GoodputRun::useful, &GoodputRun::rework, &GoodputRun::writing,
          &GoodputRun::down, &GoodputRun::waiting, &GoodputRun::straggling, &GoodputRun::window,
          &GoodputRun::effective})
      goodput.mean.*part += share * one.*part;
  }
  goodput.total_days = spread_of(std::move(days));
  goodput.interruptions = spread_of(std::move(interruptions));
  goodput.effective = spread_of(std::move(effective));
  return goodput;
}

namespace {

core::Estimate estimate(const Spread& spread, double factor, std::string unit) {
  return {spread.median * factor, spread.p05 * factor, spread.p95 * factor, std::move(unit),
          core::Grade::assumed};
}

/// Rows of the goodput section; times are means over the runs.
class RowWriter {
 public:
  RowWriter(const ReliabilitySpec& spec, const Goodput& goodput, core::Result& result)
      : spec_(spec), goodput_(goodput), result_(result) {}

  void write() {
    const GoodputRun& mean = goodput_.mean;
    time("time to train", mean.total, "mean of the runs");
    time("steps that count", mean.useful - mean.straggling, "at the mean GPU's pace");
    time("waiting for the slowest GPU", mean.straggling,
         fmt::format("the slowest of all GPUs, whose steps spread by {:g} %",
                     100 * spec_.straggler_spread));
    time("steps lost", mean.rework, "since the last checkpoint before a failure");
    time("checkpoints", mean.writing, fmt::format("{:.3g} s each", spec_.write.value()));
    time("detection and restart", mean.down,
         fmt::format("{:.3g} s and {:.3g} s", spec_.detection.value(), spec_.restart.value()));
    time("waiting for a node", mean.waiting,
         fmt::format("{} spares, repaired in {:.3g} h", spec_.spares, spec_.repair.value() / 3600));
    if (goodput_.mtbf.value() <= 0) return;
    seconds("job's time between failures", goodput_.mtbf, "all components together");
    seconds("checkpoint interval", goodput_.interval, "in use");
    seconds("checkpoint interval (young)", goodput_.young, "sqrt(2 w M)");
    seconds("checkpoint interval (daly)", goodput_.daly, "higher-order estimate");
    seconds("checkpoint interval (simulated)", goodput_.simulated, "of least mean time to train");
    for (std::size_t i = 0; i < spec_.components.size(); ++i) {
      const FailingComponent& c = spec_.components[i];
      add("interruptions by " + c.name, goodput_.by_component[i], "1",
          fmt::format("{:.0f} with an MTBF of {:.4g} h each", c.count, c.mtbf.value() / 3600));
    }
  }

 private:
  void add(std::string item, double value, std::string unit, std::string source) {
    result_.goodput.push_back({std::move(item),
                               {value, value, value, std::move(unit), core::Grade::assumed},
                               std::move(source)});
  }
  void time(const char* item, double value, std::string source) {
    add(item, value / 3600, "h", std::move(source));
  }
  void seconds(const char* item, Seconds value, std::string source) {
    add(item, value.value(), "s", std::move(source));
  }

  const ReliabilitySpec& spec_;
  const Goodput& goodput_;
  core::Result& result_;
};

}  // namespace

void add_goodput(core::Result& result, const ReliabilitySpec& spec, const TrainingRun& run) {
  const Goodput goodput = simulate_goodput(spec, run);
  result.quantities.emplace_back("days_to_train", estimate(goodput.total_days, 1, "d"));
  result.quantities.emplace_back("effective_training_fraction",
                                 estimate(goodput.effective, 1, "1"));
  result.quantities.emplace_back("interruptions", estimate(goodput.interruptions, 1, "1"));
  RowWriter(spec, goodput, result).write();
  const std::string window =
      spec.window.value() > 0
          ? fmt::format("the first {:g} days", spec.window.value() / kSecondsPerDay)
          : "the whole run";
  result.assumptions.push_back(fmt::format(
      "Goodput is the spread of {} simulated runs: failures are exponential and independent, a "
      "failed node is swapped for a spare or waited for, every failure costs detection, restart "
      "and the steps since the last checkpoint; interruptions and effective time are of {}.",
      spec.runs, window));
}

}  // namespace tessera::training
