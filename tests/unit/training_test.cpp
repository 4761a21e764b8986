#include "models/training/training.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <map>
#include <numeric>

#include "models/training/cost_table.hpp"
#include "models/training/layout.hpp"
#include "models/training/memory_advice.hpp"
#include "models/training/report_rows.hpp"
#include "models/training/step_model.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/unit/fake_timers.hpp"

namespace tessera::training {
namespace {

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;

TrainingResult run(const TrainingJob& job) {
  RooflineTimer timer;
  FixedRateNetwork network;
  return simulate_training(job, timer, network);
}

double quantity(const core::Result& result, const std::string& name) {
  const core::Estimate* found = result.find(name);
  REQUIRE(found);
  return found->value;
}

TEST_CASE("every rank's phases sum to the step", "[training]") {
  for (const ScheduleKind kind : {ScheduleKind::dualpipe, ScheduleKind::one_f_one_b}) {
    for (const ReductionOverlap overlap :
         {ReductionOverlap::exposed, ReductionOverlap::overlapped}) {
      TrainingJob job = deepseek_job();
      job.schedule = kind;
      job.reduction = overlap;
      job.device.hbm.size = core::Bytes{1LL << 40};
      const TrainingResult result = run(job);
      std::map<std::string, double> sums;
      for (const core::PhaseRow& row : result.result.phases) {
        sums[row.rank] += row.time.value;
        CHECK(row.time.value >= 0);
        CHECK(row.time.lower <= row.time.value);
        CHECK(row.time.value <= row.time.upper);
      }
      CHECK(sums.size() == 17);
      for (const auto& [rank, sum] : sums) CHECK(sum == Approx(result.step.value).epsilon(1e-9));
    }
  }
}

TEST_CASE("quantities follow from the step", "[training]") {
  const TrainingJob job = deepseek_job();
  const core::Result result = run(job).result;
  const double step = quantity(result, "step_time");
  const double tokens = 15360.0 * 4096;
  CHECK(quantity(result, "tokens_per_second_per_gpu") == Approx(tokens / step / 2048));
  CHECK(quantity(result, "gpu_hours") == Approx(14.8e12 / tokens * step / 3600 * 2048));
  const double flops = workload::training_flops_per_token(job.architecture, 4096, true);
  CHECK(quantity(result, "mfu_bf16_causal") ==
        Approx(flops * tokens / step / 2048 / (132 * 4096 * 1.83e9)));
  CHECK(quantity(result, "mfu_bf16_causal") ==
        Approx(2 * quantity(result, "mfu_fp8_block_causal")));
}

TEST_CASE("intervals hold the value and grow with the kernels' spread", "[training]") {
  const TrainingJob job = deepseek_job();
  RooflineTimer narrow, wide;
  narrow.spread = 0.02;
  wide.spread = 0.2;
  FixedRateNetwork network;
  const core::Estimate a = simulate_training(job, narrow, network).step;
  const core::Estimate b = simulate_training(job, wide, network).step;
  CHECK(a.value == Approx(b.value));
  CHECK(b.upper - b.value > a.upper - a.value);
  CHECK(b.value - b.lower > a.value - a.lower);
  CHECK(b.upper < b.value * 1.2);  // families are independent: less than all of them at once
  CHECK(a.grade == core::Grade::transferred);
}

TEST_CASE("what frameworks leave unexplained widens the step's interval alone", "[training]") {
  TrainingJob job = deepseek_job();
  const core::Estimate known = run(job).step;
  job.unexplained = 0.2;
  const core::Estimate wide = run(job).step;
  CHECK(wide.value == known.value);
  // Independent of the kernels' errors: squares add.
  CHECK(wide.upper - wide.value ==
        Approx(std::hypot(known.upper - known.value, wide.value * (std::exp(0.2) - 1)))
            .epsilon(1e-6));
  CHECK(wide.value - wide.lower ==
        Approx(std::hypot(known.value - known.lower, wide.value * (1 - std::exp(-0.2))))
            .epsilon(1e-6));
}

TEST_CASE("a step waits for the slowest of its GPUs at the power limit", "[training]") {
  // Expected largest of n normal values: 0.564, 1.424 and 2.508 (Harter 1961, table 1).
  CHECK(streams::expected_largest(1) == 0);
  CHECK(streams::expected_largest(2) == Catch::Approx(0.564).epsilon(0.05));
  CHECK(streams::expected_largest(8) == Catch::Approx(1.424).epsilon(0.01));
  CHECK(streams::expected_largest(100) == Catch::Approx(2.508).epsilon(0.01));

  struct LimitedTimer : RooflineTimer {
    double clock = 0;
    gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext& context,
                          const std::string& name) override {
      gpu::KernelResult result = RooflineTimer::run(op, context, name);
      result.clock = core::Hertz{clock};
      return result;
    }
  };
  TrainingJob job = deepseek_job();
  const double boost = job.device.clock.boost.value();
  const auto seconds_of = [&](double clock, double spread) {
    job.part_spread = spread;
    LimitedTimer kernels;
    kernels.clock = clock;
    FixedRateNetwork network;
    const workload::RoutedLoad load;
    CostTable costs(job, load, {{0}}, kernels, network);
    const KernelCost& cost = costs.kernel(workload::Gemm{8192, 8192, 8192}, 0);
    using Side = Variation::Side;
    if (spread > 0 && clock < boost) {  // from no difference to 22 / 8 of it
      CHECK(cost.time.at({Side::lower, Family::parts}) < cost.time.value);
      const double slower = spread * streams::expected_largest(job.gpus);
      const core::Time range =
          cost.time.at({Side::upper, Family::parts}) - cost.time.at({Side::lower, Family::parts});
      CHECK(core::to_seconds(range).value() ==
            Approx(core::to_seconds(cost.time.value).value() * 2.75 * slower / (1 + slower)));
    } else {
      CHECK(cost.time.at({Side::upper, Family::parts}) == cost.time.value);
    }
    return core::to_seconds(cost.time.value).value();
  };
  const double mean = seconds_of(boost, 0.02);
  CHECK(seconds_of(boost, 0) == mean);
  CHECK(seconds_of(0.9 * boost, 0) == mean);
  CHECK(seconds_of(0.9 * boost, 0.02) ==
        Catch::Approx(mean * (1 + 0.02 * streams::expected_largest(job.gpus))));
}

TEST_CASE("every parameter is updated exactly once", "[training]") {
  for (const ScheduleKind kind : {ScheduleKind::dualpipe, ScheduleKind::one_f_one_b}) {
    TrainingJob job = deepseek_job();
    job.schedule = kind;
    job.architecture.mtp_modules = 0;
    const Layout layout(job);
    double total = 0;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      for (const int stage : layout.stages_of(rank)) {
        total += layout.updated(stage).total() * layout.data();
      }
    }
    CHECK(total == Approx(workload::main_parameters(job.architecture).total()).epsilon(1e-9));
  }
}

TEST_CASE("DualPipe's mirror shares embedding and head with the MTP module", "[training]") {
  TrainingJob job = deepseek_job();
  const double mtp = workload::mtp_parameters(job.architecture).low_precision;
  const double shared = Layout(job).parameters(15).high_precision;
  job.schedule = ScheduleKind::one_f_one_b;
  const double apart = Layout(job).parameters(15).high_precision;
  CHECK(mtp > 0);
  CHECK(apart - shared ==
        Approx(workload::embedding_parameters(job.architecture).total()));  // a copy of its own
}

TEST_CASE("a model that does not fit is refused with the rank and the gap", "[training]") {
  TrainingJob job = deepseek_job();
  job.device.hbm.size = core::Bytes{40LL << 30};
  try {
    run(job);
    FAIL("expected a refusal");
  } catch (const core::Refusal& refusal) {
    CHECK(refusal.kind() == core::RefusalKind::does_not_fit);
    CHECK_THAT(refusal.what(), ContainsSubstring("pipeline rank"));
    CHECK_THAT(refusal.what(), ContainsSubstring("plain has 42.9 GB"));
    CHECK_THAT(refusal.what(), ContainsSubstring("what would help"));
  }
}

TEST_CASE("what is said to fit does", "[training]") {
  TrainingJob job = deepseek_job();
  job.recompute = {};
  job.device.hbm.size = core::Bytes{72LL << 30};
  std::string said;
  try {
    run(job);
    FAIL("expected a refusal");
  } catch (const core::Refusal& refusal) {
    said = refusal.what();
  }
  INFO(said);
  CHECK_THAT(said, ContainsSubstring("it fits with recompute: full ("));
  job.recompute.full = true;
  CHECK(run(job).step.value > 0);
}

TEST_CASE("where no change is legal, none is said to help", "[training]") {
  TrainingJob job = deepseek_job();
  job.gpus = 3;  // no degree of this job divides them
  CHECK(what_fits(job) ==
        "more pipeline or expert ranks than the job's shape allows now, or a device with more "
        "memory");
}

TEST_CASE("contradictions are refused", "[training]") {
  const auto refused = [](auto change) {
    TrainingJob job = deepseek_job();
    change(job);
    try {
      run(job);
    } catch (const core::Refusal& refusal) {
      return refusal.kind();
    }
    return core::RefusalKind::saturated;
  };
  using enum core::RefusalKind;
  CHECK(refused([](TrainingJob& j) { j.tensor = 2; }) == illegal_combination);
  CHECK(refused([](TrainingJob& j) { j.offload = Offload::optimizer; }) == outside_model);
  CHECK(refused([](TrainingJob& j) { j.offload = Offload::activations; }) == outside_model);
  CHECK(refused([](TrainingJob& j) { j.gpus = 2047; }) == illegal_combination);
  CHECK(refused([](TrainingJob& j) { j.expert = 48; }) == illegal_combination);
  CHECK(refused([](TrainingJob& j) { j.sequences = 15361; }) == illegal_combination);
  CHECK(refused([](TrainingJob& j) { j.sequences = 128 * 30; }) == illegal_combination);
  CHECK(refused([](TrainingJob& j) { j.communication_sms = 132; }) == illegal_combination);
  CHECK(refused([](TrainingJob& j) { j.communication_sms = 0; }) == illegal_combination);
  CHECK(refused([](TrainingJob& j) {
          j.stages = assumed_stages(j);
          j.stages[3].pop_back();
        }) == illegal_combination);
}

TEST_CASE("assumed stages: four MoE layers a chunk, head and MTP last", "[training]") {
  const TrainingJob job = deepseek_job();
  const std::vector<Stage> stages = assumed_stages(job);
  REQUIRE(stages.size() == 16);
  std::size_t entries = 0;
  for (const Stage& stage : stages) entries += stage.size();
  CHECK(entries == 61 + 3);
  CHECK(to_string(stages.front().front()) == "embedding");
  CHECK(to_string(stages.back().back()) == "mtp");
  for (std::size_t s = 1; s < 15; ++s) CHECK(stages[s].size() == 4);
}

TEST_CASE("an MTP module on an earlier stage leaves no layer behind it", "[training]") {
  TrainingJob job = deepseek_job();
  job.stages = assumed_stages(job, 14);
  CHECK(job.stages[15].size() == 1);
  CHECK(to_string(job.stages[14].back()) == "mtp");
  job.device.hbm.size = core::Bytes{1LL << 40};
  CHECK(run(job).step.value > 0);
}

TEST_CASE("busy kernels, calls and traffic are told", "[training]") {
  const TrainingResult result = run(deepseek_job());
  REQUIRE_FALSE(result.result.kernels.empty());
  double busy = 0;
  for (const core::KernelRow& row : result.result.kernels) {
    CHECK(row.calls_per_step > 0);
    busy += row.calls_per_step * row.time.value;
  }
  CHECK(busy < result.step.value);
  CHECK(busy > 0.5 * result.step.value);
  REQUIRE(result.result.network.size() >= 4);
  CHECK(result.kernels > 100);
  CHECK(result.joules_per_gpu_step > 0);
}

TEST_CASE("messages of an interleaved schedule run beside its chunks on four SMs", "[training]") {
  TrainingJob job = deepseek_job();
  job.architecture = workload::load_architecture("llama3.1_8b");
  job.precision = {.gradients = core::DataType::bf16};
  job.recompute = {};
  job.gpus = 64;
  job.pipeline = 4;
  job.expert = 1;
  job.sequences = 256;
  job.device.hbm.size = core::Bytes{1LL << 42};
  RooflineTimer timer;
  FixedRateNetwork network;  // all of it crosses nodes
  const auto messages_of = [&](ScheduleKind schedule, int virtual_stages) {
    job.schedule = schedule;
    job.virtual_stages = virtual_stages;
    StepModel model(job, timer, network);
    const StepRun step = model.run();
    std::vector<const Node*> found;
    for (const Node& node : model.plan(model.layout().program(0).front()).nodes)
      if (node.name == kMessages) found.push_back(&node);
    if (!found.empty()) {
      CHECK(found.front()->sms_taken() == 4);  // two of a message sent, two of one received
      CHECK(found.front()->time().value == model.sends().begin()->second.time);
    }
    // They are told once, as pipeline_send.
    for (const core::NetworkRow& row : network_rows(model, step, 0))
      CHECK(row.operation != kMessages);
    return found.size();
  };
  CHECK(messages_of(ScheduleKind::interleaved, 2) == 1);
  CHECK(messages_of(ScheduleKind::one_f_one_b, 1) == 0);
}

TEST_CASE("with one expert rank nothing is exchanged", "[training]") {
  TrainingJob job = deepseek_job();
  job.expert = 1;
  job.device.hbm.size = core::Bytes{1LL << 42};
  for (const core::NetworkRow& row : run(job).result.network) {
    CHECK(row.operation != "dispatch");
    CHECK(row.operation != "combine");
  }
}

TEST_CASE("power-law routing slows the step, the hottest rank sets the pace", "[training]") {
  TrainingJob job = deepseek_job();
  job.device.hbm.size = core::Bytes{1LL << 40};
  const double even = run(job).step.value;
  job.routing.kind = workload::RoutingSpec::Kind::power_law;
  job.routing.alpha = 1.01;
  const TrainingResult skewed = run(job);
  CHECK(quantity(skewed.result, "routing_skew") > 1.1);
  CHECK(skewed.step.value > even);
}

TEST_CASE("the timeline's spans lie inside the step and do not overlap on a stream", "[training]") {
  const TrainingResult result = run(deepseek_job());
  std::map<std::pair<int, int>, std::vector<std::pair<core::Time, core::Time>>> tracks;
  for (const core::Span& span : result.result.timeline.spans) {
    CHECK(span.duration > core::Time{});
    CHECK(core::to_seconds(span.start + span.duration).value() <= result.step.value * (1 + 1e-9));
    tracks[{span.process, span.thread}].emplace_back(span.start, span.start + span.duration);
  }
  CHECK(tracks.size() >= 33);
  for (auto& [track, spans] : tracks) {
    std::sort(spans.begin(), spans.end());
    for (std::size_t i = 1; i < spans.size(); ++i) {
      INFO("process " << track.first << " thread " << track.second);
      CHECK(spans[i].first >= spans[i - 1].second);
    }
  }
}

}  // namespace
}  // namespace tessera::training
