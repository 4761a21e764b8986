#include <rapidcheck.h>

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <numeric>

#include "models/training/layout.hpp"
#include "models/training/pipeline.hpp"
#include "models/training/training.hpp"
#include "models/workload/routing.hpp"
#include "tests/property/holds.hpp"
#include "tests/unit/fake_timers.hpp"

namespace tessera::training {
namespace {

using core::Time;

/// A small DeepSeek-like job that any parallelism divides.
TrainingJob small_job(int pipeline, int data, int micro_batches, ScheduleKind schedule) {
  TrainingJob job = deepseek_job();
  job.architecture.layers = 2 * pipeline;
  job.architecture.dense_layers = 1;
  job.pipeline = pipeline;
  job.expert = 8;
  job.gpus = pipeline * data;
  job.gpus_per_node = 8;
  job.sequences = static_cast<std::int64_t>(data) * micro_batches;
  job.schedule = schedule;
  job.device.hbm.size = core::Bytes{1LL << 42};
  return job;
}

double step(const TrainingJob& job, RooflineTimer timer = {}, FixedRateNetwork network = {}) {
  return simulate_training(job, timer, network).step.value;
}

TEST_CASE("routing conserves rows for any seed, exponent and limit", "[routing]") {
  const workload::MixtureOfExperts moe{.experts = 64, .top_k = 6, .groups = 8, .group_limit = 4};
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const workload::RoutingSpec spec{.kind = workload::RoutingSpec::Kind::power_law,
                                     .alpha = 0.25 * static_cast<double>(1 + seed),
                                     .seed = seed * 0x9E3779B97F4A7C15U,
                                     .node_limit = static_cast<std::int64_t>(seed % 9)};
    const auto tokens = static_cast<std::int64_t>(1 + 401 * seed);
    const workload::RoutedLoad load = workload::route(moe, spec, tokens, 16, 8);
    CHECK(std::accumulate(load.rows.begin(), load.rows.end(), std::int64_t{0}) == tokens * 16 * 6);
    CHECK(load.skew >= 1.0 - 1e-9);
    CHECK(load.nodes_per_token >= 1.0);
    CHECK(load.nodes_per_token <= load.ranks_per_token);
    CHECK(load.ranks_per_token <= 6.0);
  }
}

Schedule any_schedule(int kind, int ranks, int micro_batches) {
  switch (kind) {
    case 0:
      return gpipe(ranks, micro_batches);
    case 1:
      return one_forward_one_backward(ranks, micro_batches);
    case 2:
      return interleaved(ranks, 3, micro_batches, micro_batches);
    case 3:
      return zero_bubble_h1(ranks, micro_batches);
    case 4:
      return zero_bubble_v(ranks, micro_batches);
    case 5:
      return dual_pipe_v(ranks, micro_batches);
    default:
      return dual_pipe(ranks, micro_batches);
  }
}

TEST_CASE("any pipeline computes every chunk once, in an order its stages allow", "[pipeline]") {
  CHECK(holds("pipeline", [] {
    const int ranks = 2 * *rc::gen::inRange(1, 9);
    const int micro_batches = 2 * ranks + 2 * *rc::gen::inRange(0, 20);
    const Schedule schedule = any_schedule(*rc::gen::inRange(0, 7), ranks, micro_batches);
    const auto lengths = *rc::gen::container<std::vector<int>>(static_cast<std::size_t>(ranks),
                                                               rc::gen::inRange(1, 50));
    const PipelineRun run = run_pipeline(
        schedule,
        [&](int rank, const Instruction& i) {
          const Time t{lengths[static_cast<std::size_t>(rank)] *
                       (i.action == Action::overlapped ? 3 : 1)};
          return InstructionTime{t, t, t};
        },
        [](int, int) { return Time{3}; });
    std::map<Chunk, Time> forward_end;
    int forwards = 0, backwards = 0, weights_due = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      Time free{};
      for (const Execution& e : run.ranks[static_cast<std::size_t>(rank)]) {
        RC_ASSERT(e.start >= free);
        free = e.end;
        const Instruction& i = e.instruction;
        const bool f = i.action == Action::forward || i.action == Action::overlapped;
        const bool b = i.action != Action::forward && i.action != Action::weight_gradient;
        forwards += f;
        backwards += b;
        weights_due += (i.action == Action::input_gradient) - (i.action == Action::weight_gradient);
        if (f) forward_end[i.forward] = e.end;
      }
    }
    const StagePlacement& placement = schedule.placement;
    const int chunks = placement.stages() * micro_batches;
    RC_ASSERT(forwards == chunks);
    RC_ASSERT(static_cast<int>(forward_end.size()) == chunks);
    RC_ASSERT(backwards == chunks);
    RC_ASSERT(weights_due == 0);
    for (const auto& [chunk, end] : forward_end) {
      const std::optional<Chunk> before = placement.producer(chunk, false);
      if (!before) continue;
      const Time message{placement.rank_of(*before) == placement.rank_of(chunk) ? 0 : 3};
      RC_ASSERT(end > forward_end.at(*before) + message);
    }
  }));
}

TEST_CASE("a step is never faster than its products at the peak rate", "[training]") {
  for (const ScheduleKind kind : {ScheduleKind::dualpipe, ScheduleKind::one_f_one_b}) {
    const TrainingJob job = small_job(4, 8, 16, kind);
    const double flops = workload::training_flops_per_token(job.architecture, 4096, true) *
                         static_cast<double>(job.sequences) * 4096 / job.gpus;
    CHECK(step(job) > flops / RooflineTimer{}.fp8_rate);
  }
}

TEST_CASE("faster kernels or wires never slow a step, more work never speeds it", "[training]") {
  const TrainingJob job = small_job(4, 8, 16, ScheduleKind::dualpipe);
  const double base = step(job);
  RooflineTimer fast;
  fast.fp8_rate *= 2;
  CHECK(step(job, fast) < base);
  RooflineTimer wide;
  wide.hbm_rate *= 2;
  CHECK(step(job, wide) < base);
  FixedRateNetwork slow;
  slow.rate /= 4;
  CHECK(step(job, {}, slow) > base);
  TrainingJob more = job;
  more.sequences *= 2;
  CHECK(step(more) > base);
  TrainingJob kept = job;
  kept.recompute = {};
  CHECK(step(kept) < base);
}

TEST_CASE("all rates times k gives the step over k", "[training]") {
  TrainingJob job = small_job(4, 8, 16, ScheduleKind::dualpipe);
  const double base = step(job);
  RooflineTimer timer;
  timer.bf16_rate *= 4;
  timer.fp8_rate *= 4;
  timer.hbm_rate *= 4;
  FixedRateNetwork network;
  network.rate *= 4;
  job.device.hbm.peak_rate = core::BytesPerSecond{job.device.hbm.peak_rate.value() * 4};
  CHECK(std::abs(step(job, timer, network) * 4 / base - 1) < 1e-6);
}

TEST_CASE("overlapping the gradients' reduction never takes longer", "[training]") {
  for (const ScheduleKind kind : {ScheduleKind::dualpipe, ScheduleKind::one_f_one_b}) {
    TrainingJob job = small_job(4, 8, 16, kind);
    const double exposed = step(job);
    job.reduction = ReductionOverlap::overlapped;
    CHECK(step(job) <= exposed);
  }
}

/// Llama 3.1 8B in BF16 on 64 GPUs, one micro-batch of one sequence each.
TrainingJob sharded_job(Sharding sharding) {
  TrainingJob job = deepseek_job();
  job.architecture = workload::load_architecture("llama3.1_8b");
  job.precision = {};
  job.recompute = {};
  job.schedule = ScheduleKind::one_f_one_b;
  job.gpus = 64;
  job.pipeline = job.expert = 1;
  job.sequences = 128;
  job.sharding = sharding;
  job.device.hbm.size = core::Bytes{1LL << 40};
  return job;
}

TEST_CASE("gathering ahead never takes longer, and giving weights up never less",
          "[training][sharding]") {
  for (const Sharding sharding : {Sharding::zero3, Sharding::fsdp, Sharding::hsdp}) {
    for (const double rate : {20e9, 400e9}) {
      FixedRateNetwork network;
      network.rate = rate;
      TrainingJob job = sharded_job(sharding);
      const double both = step(job, {}, network);
      job.prefetch = Prefetch::forward;
      const double forward = step(job, {}, network);
      job.prefetch = Prefetch::none;
      const double none = step(job, {}, network);
      CHECK(both <= forward);
      CHECK(forward <= none);
      job.prefetch = Prefetch::both;
      job.reshard_after_forward = false;
      CHECK(step(job, {}, network) <= both);
    }
  }
}

TEST_CASE("with a network that costs nothing, sharding only shortens the update",
          "[training][sharding]") {
  FixedRateNetwork free;
  free.rate = 1e30;
  const double none = step(sharded_job(Sharding::none), {}, free);
  const double zero1 = step(sharded_job(Sharding::zero1), {}, free);
  CHECK(zero1 < none);
  for (const Sharding sharding : {Sharding::zero2, Sharding::zero3, Sharding::fsdp}) {
    CHECK(std::abs(step(sharded_job(sharding), {}, free) / zero1 - 1) < 1e-6);
  }
}

TEST_CASE("a network slow enough decides the step of sharded weights", "[training][sharding]") {
  FixedRateNetwork slow;
  slow.rate = 1e6;
  const TrainingJob job = sharded_job(Sharding::fsdp);
  const workload::ParameterCount all = workload::main_parameters(job.architecture);
  const workload::ParameterCount root = [&] {
    workload::ParameterCount count = workload::embedding_parameters(job.architecture);
    return count += workload::head_parameters(job.architecture);
  }();
  // Two micro-batches, each: weights twice but the root once, in bf16; gradients once, in fp32.
  const double bytes = 2 * (2 * (2 * all.total() - root.total()) + 4 * all.total()) * 63 / 64;
  CHECK(std::abs(step(job, {}, slow) / (bytes / slow.rate) - 1) < 1e-3);
}

TEST_CASE("buckets beside backward chunks never take longer than reductions after them",
          "[training][sharding]") {
  for (const int pipeline : {1, 4}) {
    for (const int virtual_stages : {1, 2}) {
      if (pipeline == 1 && virtual_stages > 1) continue;
      for (const double bucket : {10e6, 300e6, 1e10}) {
        TrainingJob job = sharded_job(Sharding::zero1);
        job.pipeline = pipeline;
        job.virtual_stages = virtual_stages;
        if (virtual_stages > 1) job.schedule = ScheduleKind::interleaved;
        const double exposed = step(job);
        job.reduction = ReductionOverlap::bucketed;
        job.bucket = bucket;
        const double bucketed = step(job);
        CHECK(bucketed <= exposed * (1 + 1e-9));
        job.gather = GatherOverlap::overlapped;
        CHECK(step(job) <= bucketed * (1 + 1e-9));
      }
    }
  }
}

TEST_CASE("the same job gives the same result", "[training]") {
  const TrainingJob job = small_job(4, 8, 16, ScheduleKind::dualpipe);
  RooflineTimer timer;
  FixedRateNetwork network;
  const TrainingResult a = simulate_training(job, timer, network);
  const TrainingResult b = simulate_training(job, timer, network);
  REQUIRE(a.result.timeline.spans.size() == b.result.timeline.spans.size());
  for (std::size_t i = 0; i < a.result.timeline.spans.size(); ++i) {
    CHECK(a.result.timeline.spans[i].start == b.result.timeline.spans[i].start);
  }
  CHECK(a.step.value == b.step.value);
  CHECK(a.step.upper == b.step.upper);
}

}  // namespace
}  // namespace tessera::training
