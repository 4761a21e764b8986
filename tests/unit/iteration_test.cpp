#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <numeric>
#include <utility>

#include "models/serving/inference.hpp"
#include "models/serving/iteration_model.hpp"
#include "models/streams/slowest_part.hpp"
#include "models/workload/architecture_file.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/unit/fake_timers.hpp"

/// An iteration on a roofline GPU and a network of one rate.
namespace tessera::serving {
namespace {

using training::FixedRateNetwork;
using training::RooflineTimer;

double seconds(core::Time time) { return core::to_seconds(time).value(); }

InferenceJob decode_job() {
  InferenceJob job;
  job.architecture = workload::load_architecture("deepseek_v3");
  job.precision = {.linear = core::DataType::fp8_block,
                   .experts = core::DataType::fp8_block,
                   .dispatch = core::DataType::fp8_block};
  job.routing.node_limit = 4;
  job.device = training::plain_device();
  job.device.l2.size = core::Bytes{50'000'000};
  job.gpus = 2048;
  job.sequences = 128;
  job.context = 4096;
  job.split = {.expert = 128, .path = workload::ExpertPath::low_latency};
  job.must_fit = false;
  return job;
}

core::Result run(const InferenceJob& job, double network_rate = 50e9) {
  RooflineTimer gpu;
  FixedRateNetwork network;
  network.rate = network_rate;
  return simulate_inference(job, gpu, network).result;
}

double value(const core::Result& result, const char* name) { return result.find(name)->value; }

/// Kernels of both halves, and exchanges, as if nothing overlapped.
struct Work {
  double compute = 0, network = 0;
};
Work work_of(const InferenceJob& job, double network_rate) {
  RooflineTimer gpu;
  FixedRateNetwork network;
  network.rate = network_rate;
  const IterationModel model(job, gpu, network);
  Work work;
  for (const IterationPlan& plan : model.plans())
    for (const streams::Node& node : plan.chunk.nodes)
      (node.lane == streams::Lane::compute ? work.compute : work.network) +=
          seconds(node.time().value);
  return work;
}

TEST_CASE("two batches take no less than either stream and no more than both in a row",
          "[serving]") {
  for (const double rate : {5e9, 50e9, 400e9}) {
    for (const bool prefill : {false, true}) {
      InferenceJob job = decode_job();
      job.two_batch_overlap = true;
      if (prefill) {
        job.phase = Phase::prefill;
        job.prompt = 4096;
        job.tokens = 16384;
        job.split = {.expert = 32, .path = workload::ExpertPath::normal};
        job.communication_sms = 20;
      }
      const Work work = work_of(job, rate);
      const double time = value(run(job, rate), "iteration_time");
      CHECK(time >= std::max(work.compute, work.network) * 0.999);
      CHECK(time <= (work.compute + work.network) * 1.001);
    }
  }
}

TEST_CASE("exchanges of the normal kernels ask HBM for what they copy", "[serving]") {
  InferenceJob job = decode_job();
  job.phase = Phase::prefill;
  job.prompt = job.tokens = 4096;
  job.split = {.expert = 32, .path = workload::ExpertPath::normal};
  job.communication_sms = 20;
  RooflineTimer gpu;
  FixedRateNetwork network;
  const IterationModel model(job, gpu, network);
  int exchanges = 0;
  for (const streams::Node& node : model.plans().front().chunk.nodes) {
    if (!node.exchange) continue;
    ++exchanges;
    // Each token is read once and written once a rank.
    const double element = node.name == "dispatch" ? 1 : 2;
    CHECK(node.hbm_bytes() ==
          Catch::Approx(4096.0 * 7168 * (1 + model.load().ranks_per_token) * element));
  }
  CHECK(exchanges == 2 * 58);
}

TEST_CASE("a kernel beside others adds its bytes or its products, none of its latency",
          "[serving]") {
  InferenceJob job = decode_job();
  RooflineTimer gpu;
  gpu.bf16_rate = gpu.hbm_rate = 1e11;  // as slow as if it waited
  FixedRateNetwork network;
  IterationCosts costs(job, gpu, network);
  const auto added = [&](std::int64_t rows) {
    const workload::Gemm product{.m = rows, .n = 4096, .k = 4096};
    const streams::KernelCost& alone = costs.kernel({.name = "shared", .op = product}, 0);
    const streams::KernelCost& beside =
        costs.kernel({.name = "shared", .op = product, .beside = true}, 0);
    CHECK(beside.beside);
    CHECK(beside.time.value < alone.time.value);
    CHECK(seconds(beside.time.upper) / seconds(beside.time.value) ==
          Catch::Approx(seconds(alone.time.upper) / seconds(alone.time.value)));
    return std::pair{seconds(beside.time.value), alone.result};
  };
  const auto [few, read] = added(4);
  CHECK(few == Catch::Approx(read.hbm_bytes /
                             (job.device.hbm.peak_rate.value() * job.device.hbm.reachable)));
  const auto [many, multiplied] = added(8192);
  CHECK(many == Catch::Approx(multiplied.flops / job.device.peak(core::DataType::bf16).value()));
}

TEST_CASE("what an engine's servers leave unexplained widens an iteration's interval",
          "[serving]") {
  InferenceJob job = decode_job();
  const core::Estimate before = *run(job).find("tpot");
  job.unexplained = 0.3;
  const core::Estimate after = *run(job).find("tpot");
  CHECK(after.value == before.value);
  CHECK(after.upper - after.value ==
        Catch::Approx(std::hypot(before.upper - before.value, before.value * std::expm1(0.3))));
  CHECK(after.value - after.lower ==
        Catch::Approx(std::hypot(before.value - before.lower, -before.value * std::expm1(-0.3))));
}

TEST_CASE("a free network leaves nothing but kernels, whatever the schedule", "[serving]") {
  InferenceJob job = decode_job();
  job.two_batch_overlap = true;
  const Work work = work_of(job, 1e18);
  CHECK(value(run(job, 1e18), "iteration_time") == Catch::Approx(work.compute).epsilon(1e-3));
}

TEST_CASE("SMs that send rows do nothing else, with another batch beside them too", "[serving]") {
  class SendingNetwork : public FixedRateNetwork {
   public:
    streams::NetworkCost exchange(const streams::ExpertExchange& e) override {
      streams::NetworkCost cost = FixedRateNetwork::exchange(e);
      cost.sending = cost.sending_lower = cost.sending_upper = core::Time{20'000'000};  // 20 us
      return cost;
    }
  };
  InferenceJob job = decode_job();
  job.two_batch_overlap = true;
  RooflineTimer gpu;
  SendingNetwork network;
  network.rate = 1e18;
  const core::Result sends = simulate_inference(job, gpu, network).result;
  // 58 layers with experts, a dispatch and a combine each, of two batches.
  CHECK(value(sends, "iteration_time") ==
        Catch::Approx(value(run(job, 1e18), "iteration_time") + 58 * 2 * 2 * 20e-6).epsilon(1e-6));
}

TEST_CASE("stretches of an iteration add up to it", "[serving]") {
  InferenceJob job = decode_job();
  job.two_batch_overlap = true;
  job.host_overhead = core::Time{300'000'000};  // 300 us
  const core::Result result = run(job);
  double operators = 0, bound = 0;
  for (const core::PhaseRow& row : result.phases)
    (row.phase.starts_with("bound by ") ? bound : operators) += row.time.value;
  CHECK(operators == Catch::Approx(value(result, "iteration_time")).epsilon(1e-6));
  CHECK(bound == Catch::Approx(value(result, "iteration_time")).epsilon(1e-6));
  CHECK_FALSE(result.binding.empty());
}

TEST_CASE("the host's overhead is added to each iteration", "[serving]") {
  InferenceJob job = decode_job();
  const double before = value(run(job), "iteration_time");
  job.host_overhead = core::Time{1'000'000'000};  // 1 ms
  CHECK(value(run(job), "iteration_time") == Catch::Approx(before + 1e-3).epsilon(1e-9));
}

/// Kernels that the power limit holds below the boost clock.
struct LimitedTimer : RooflineTimer {
  core::Hertz clock;
  gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext& context,
                        const std::string& name) override {
    gpu::KernelResult result = RooflineTimer::run(op, context, name);
    result.clock = clock;
    return result;
  }
};

TEST_CASE("an instance waits for the slowest of its GPUs at the power limit", "[serving]") {
  InferenceJob job = decode_job();
  const auto seconds_of = [&](double clock) {
    LimitedTimer gpu;
    gpu.clock = clock * job.device.clock.boost;
    FixedRateNetwork network;
    network.rate = 1e18;
    return value(simulate_inference(job, gpu, network).result, "iteration_time");
  };
  const double alike = (job.part_spread = 0, seconds_of(0.8));
  job.part_spread = 0.02;
  CHECK(seconds_of(1) == Catch::Approx(alike).epsilon(1e-9));  // the limit does not bind
  CHECK(job.instance_gpus() == 128);
  CHECK(seconds_of(0.8) ==
        Catch::Approx(alike * (1 + 0.02 * streams::expected_largest(128))).epsilon(1e-3));
}

TEST_CASE("an eager iteration takes as long as the slower of host and GPU", "[serving]") {
  InferenceJob job = decode_job();
  const double gpu = value(run(job), "iteration_time");
  job.eager = true;
  job.host_overhead = core::Time{1'000'000};  // 1 us
  CHECK(value(run(job), "iteration_time") == Catch::Approx(gpu).epsilon(1e-9));
  job.host_overhead = core::Time{90'000'000'000};  // 90 ms
  CHECK(value(run(job), "iteration_time") == Catch::Approx(90e-3).epsilon(1e-9));
}

TEST_CASE("more context is slower, and a larger batch serves more", "[serving]") {
  InferenceJob job = decode_job();
  double slowest = 0;
  for (const std::int64_t context : {512, 4096, 32768, 131072}) {
    job.context = context;
    const double time = value(run(job), "iteration_time");
    CHECK(time > slowest);
    slowest = time;
  }
  job = decode_job();
  double most = 0;
  for (const std::int64_t sequences : {1, 8, 64, 256}) {
    job.sequences = sequences;
    const double rate = value(run(job), "tokens_per_second_per_gpu");
    CHECK(rate > most);
    most = rate;
  }
}

TEST_CASE("throughput and latency of decode are one iteration told twice", "[serving]") {
  InferenceJob job = decode_job();
  job.speculation = {.tokens = 1, .acceptance = 0.8};
  const core::Result result = run(job);
  const double time = value(result, "iteration_time");
  CHECK(value(result, "tpot") == Catch::Approx(time / 1.8));
  CHECK(value(result, "tokens_per_second_per_user") == Catch::Approx(1.8 / time));
  CHECK(value(result, "tokens_per_second_per_gpu") == Catch::Approx(128 * 1.8 / time));
}

TEST_CASE("tensor ranks share the tokens of one attention rank", "[serving]") {
  InferenceJob job = decode_job();
  job.architecture = workload::load_architecture("llama3.1_70b");
  job.precision = {};
  job.sequences = 16;
  job.split = {.tensor = 8, .path = workload::ExpertPath::replicated};
  const core::Result result = run(job);
  CHECK(value(result, "tokens_per_second_per_gpu") ==
        Catch::Approx(2 / value(result, "iteration_time")));
}

TEST_CASE("experts cut over tensor ranks of a part of a node are one expert rank", "[serving]") {
  InferenceJob job = decode_job();
  job.architecture = workload::load_architecture("qwen3_235b_a22b");
  job.routing = {};
  job.sequences = 8;
  job.split = {.tensor = 4, .expert_tensor = 4, .path = workload::ExpertPath::replicated};
  const core::Result four = run(job);
  CHECK(value(four, "tokens_per_second_per_gpu") ==
        Catch::Approx(2 / value(four, "iteration_time")));
  job.split.tensor = job.split.expert_tensor = 2;
  CHECK(value(run(job), "iteration_time") > value(four, "iteration_time"));
}

TEST_CASE("a prompt longer than an iteration is read in chunks, each seeing those before it",
          "[serving]") {
  InferenceJob job = decode_job();
  job.phase = Phase::prefill;
  job.split = {.expert = 32, .path = workload::ExpertPath::normal};
  job.communication_sms = 20;
  job.prompt = 10'000;
  job.tokens = 4096;
  const auto passes = passes_of(job);
  REQUIRE(passes.size() == 3);
  CHECK(passes[0].queries == 4096);
  CHECK(passes[0].context == 4096);
  CHECK(passes[1].context == 8192);
  CHECK(passes[2].queries == 10'000 - 8192);
  CHECK(passes[2].context == 10'000);
  const core::Result result = run(job);
  CHECK(value(result, "ttft") == Catch::Approx(3 * value(result, "iteration_time")));
  CHECK(value(result, "tokens_per_second_per_gpu") ==
        Catch::Approx(10'000 / value(result, "ttft")));

  job.prefix = 9000;
  REQUIRE(passes_of(job).size() == 1);
  job.tokens = 3000;
  CHECK(passes_of(job)[0].sequences == 3);
  CHECK(passes_of(job)[0].queries == 1000);
  CHECK(value(run(job), "ttft") < value(result, "ttft"));
}

TEST_CASE("halves of a batch have all its sequences, halves of a prompt all its tokens",
          "[serving]") {
  const auto batch = halves({.sequences = 5, .queries = 1, .context = 100});
  CHECK(batch[0].sequences + batch[1].sequences == 5);
  const auto prompt = halves({.absorbed = false, .sequences = 1, .queries = 101, .context = 201});
  CHECK(prompt[0].queries + prompt[1].queries == 101);
  CHECK(prompt[0].context == 201 - prompt[1].queries);
  CHECK(prompt[1].context == 201);
  CHECK_THROWS_AS(halves({.sequences = 1, .queries = 1, .context = 100}), core::Refusal);
}

TEST_CASE("few tokens reach few experts", "[serving]") {
  workload::MixtureOfExperts moe{.experts = 256, .top_k = 8, .intermediate = 2048};
  workload::RoutedLoad load;
  load.rows.assign(256, 1);
  load.experts_per_rank = 256;
  // One token chooses exactly 8 of them.
  const auto one = expert_rows(moe, load, true, 1);
  CHECK(std::count(one.begin(), one.end(), 1) == 8);
  CHECK(std::count(one.begin(), one.end(), 0) == 248);
  // 32 tokens reach 256 (1 - (1 - 1/32)^32) = 163.3 on average, and have 256 rows.
  const auto some = expert_rows(moe, load, true, 32);
  CHECK(std::count(some.begin(), some.end(), 0) == 256 - 163);
  CHECK(std::accumulate(some.begin(), some.end(), std::int64_t{0}) == 256);
  const auto many = expert_rows(moe, load, true, 4096);
  CHECK(std::count(many.begin(), many.end(), 128) == 256);
}

}  // namespace
}  // namespace tessera::serving
