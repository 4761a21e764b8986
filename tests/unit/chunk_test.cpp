#include "models/training/chunk.hpp"

#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "tests/unit/fake_timers.hpp"

namespace tessera::training {
namespace {

using core::Time;
using namespace core::literals;

/// Costs that nodes can point at.
struct Costs {
  KernelCost kernel(Time time, double hbm_bytes = 0) {
    KernelCost cost;
    cost.time = {time, time, time, Family::gemm};
    cost.result.time = time;
    cost.result.hbm_bytes = hbm_bytes;
    return cost;
  }
  ExchangeCost exchange(Time time, double hbm_bytes = 0) {
    ExchangeCost cost;
    cost.time = {time, time, time, Family::network};
    cost.hbm_bytes = hbm_bytes;
    return cost;
  }
};

Node compute(const KernelCost& cost, int after = -1) {
  Node node;
  node.kernel = &cost;
  node.after = after;
  return node;
}
Node communicate(const ExchangeCost& cost, int after = -1) {
  Node node;
  node.lane = Lane::communication;
  node.exchange = &cost;
  node.after = after;
  return node;
}

constexpr core::BytesPerSecond kRate{1e12};  // 1 byte a picosecond

TEST_CASE("lanes run side by side and wait for each other where they must", "[chunk]") {
  Costs costs;
  const KernelCost kernel = costs.kernel(10_us);
  const ExchangeCost exchange = costs.exchange(25_us);
  ChunkPlan plan;
  plan.nodes = {compute(kernel), communicate(exchange, 0), compute(kernel), compute(kernel, 1)};
  plan.forward_output = 3;
  const ChunkRun run = run_chunk(plan, kRate);
  CHECK(run.spans[1].first.value() == (10_us).value());
  CHECK(run.spans[2].second.value() == (20_us).value());  // beside the exchange
  CHECK(run.spans[3].first.value() == (35_us).value());   // after it
  CHECK(run.duration.value() == (45_us).value());
  CHECK(run.forward_ready.value() == (45_us).value());
  CHECK(run.exposed_dispatch.value() == (15_us).value());
  CHECK(run.stretched.value() == 0);
}

TEST_CASE("together they get no more of HBM than it gives", "[chunk]") {
  Costs costs;
  // Each alone asks for 0.8 bytes a picosecond of 1: together both run at 1 / 1.6.
  const KernelCost kernel = costs.kernel(10_us, 8e6);
  const ExchangeCost exchange = costs.exchange(10_us, 8e6);
  ChunkPlan plan;
  plan.nodes = {compute(kernel), communicate(exchange)};
  const ChunkRun run = run_chunk(plan, kRate);
  CHECK(run.duration.value() == (16_us).value());
  CHECK(run.stretched.value() == (6_us).value());
}

TEST_CASE("no demand, no stretch: half the rate each is free", "[chunk]") {
  Costs costs;
  const KernelCost kernel = costs.kernel(10_us, 5e6);
  const ExchangeCost exchange = costs.exchange(10_us, 5e6);
  ChunkPlan plan;
  plan.nodes = {compute(kernel), communicate(exchange)};
  CHECK(run_chunk(plan, kRate).duration.value() == (10_us).value());
}

Node collective(const NetworkCost& cost, Lane lane, int after = -1) {
  Node node;
  node.lane = lane;
  node.network = &cost;
  node.after = after;
  return node;
}

TEST_CASE("a collective takes SMs from a kernel while it runs", "[chunk]") {
  Costs costs;
  const KernelCost kernel = costs.kernel(10_us);
  NetworkCost gather;
  gather.time = 6_us;
  gather.sms = 33;
  ChunkPlan plan;
  plan.nodes = {compute(kernel), collective(gather, Lane::sharding)};
  // 6 us at three quarters of the rate, 5.5 us alone.
  CHECK(run_chunk(plan, kRate, {}, 132).duration.value() == (11500_ns).value());
  CHECK(run_chunk(plan, kRate, {}, 132).ceded.value() == (1500_ns).value());
  CHECK(run_chunk(plan, kRate).duration.value() == (10_us).value());
}

TEST_CASE("CTAs whose tiles were dealt out wait for SMs that a collective holds", "[chunk]") {
  Costs costs;
  KernelCost kernel = costs.kernel(10_us);
  kernel.dealt = streams::DealtTiles{.ctas = 132, .alone = 0.75};
  NetworkCost gather;
  gather.sms = 2;
  ChunkPlan plan;
  plan.nodes = {compute(kernel), collective(gather, Lane::sharding)};
  const auto beside = [&](Time time) {
    gather.time = time;
    return run_chunk(plan, kRate, {}, 132).duration.value();
  };
  CHECK(beside(4_us) == (13_us).value());   // what the others did in 4 us, alone in 3
  CHECK(beside(40_us) == (40_us).value());  // begun when the others ended, done before the gather
  CHECK(beside(12_us) == (17500_ns).value());
  kernel.dealt->ctas = 130;
  CHECK(beside(4_us) == (10_us).value());  // an SM for each
}

TEST_CASE("a collective waits while dealt tiles hold all SMs", "[chunk]") {
  Costs costs;
  KernelCost first = costs.kernel(10_us), second = costs.kernel(10_us);
  first.dealt = second.dealt = streams::DealtTiles{.ctas = 132, .alone = 1};
  NetworkCost gather;
  gather.time = 4_us;
  gather.sms = 2;
  ChunkPlan plan;
  plan.nodes = {compute(first), collective(gather, Lane::communication, 0), compute(second),
                collective(gather, Lane::sharding, 2)};
  const ChunkRun run = run_chunk(plan, kRate, {}, 132);
  CHECK(run.spans[1].first.value() == (10_us).value());
  CHECK(run.spans[2].second.value() == (24_us).value());  // 10 us, and 4 us behind the gather
  CHECK(run.spans[3].first.value() == (24_us).value());
  CHECK(run.ceded.value() == (4_us).value());
}

TEST_CASE("an exchange by a collective takes SMs as any other does", "[chunk]") {
  Costs costs;
  const KernelCost kernel = costs.kernel(10_us);
  ExchangeCost exchange = costs.exchange(6_us);
  exchange.network.sms = 33;
  ChunkPlan plan;
  plan.nodes = {compute(kernel), communicate(exchange)};
  CHECK(run_chunk(plan, kRate, {}, 132).duration.value() == (11500_ns).value());
}

TEST_CASE("a kernel waits for its weights; gathering that nothing hides is told", "[chunk]") {
  Costs costs;
  const KernelCost kernel = costs.kernel(10_us);
  NetworkCost gather;
  gather.time = 4_us;
  ChunkPlan plan;
  plan.nodes = {compute(kernel), compute(kernel), collective(gather, Lane::sharding),
                collective(gather, Lane::sharding)};
  plan.nodes[0].gathered = 2;
  plan.nodes[1].gathered = 3;
  const ChunkRun run = run_chunk(plan, kRate);
  CHECK(run.duration.value() == (24_us).value());
  CHECK(run.exposed_sharding.value() == (4_us).value());
  CHECK(run.exposed_collectives.value() == 0);
}

/// One stage of two MoE layers on the fake GPU.
struct StageFixture {
  TrainingJob job = deepseek_job();
  RooflineTimer timer;
  FixedRateNetwork network;
  workload::RoutedLoad load =
      workload::route(job.architecture.moe, job.routing, job.sequence_length, 64, 8);
  CostTable costs{job, load, {.expert = std::vector<int>(64)}, timer, network};
  ChunkPlanner planner{costs, 20, 132};
  workload::Lowering lowering{job.architecture,    job.precision,  job.recompute, 1,
                              job.sequence_length, load.rows_on(0)};
  StageWork stage{lowering.layer(10), lowering.layer(11)};

  Time sum(const ChunkPlan& plan, Lane lane) const {
    Time total{};
    for (const Node& node : plan.nodes) {
      if (node.lane == lane) total += node.time().value;
    }
    return total;
  }
};

TEST_CASE_METHOD(StageFixture, "a forward chunk exposes its exchanges", "[chunk]") {
  const ChunkPlan plan = planner.forward(stage);
  const ChunkRun run = run_chunk(plan, core::BytesPerSecond{1e15});
  const Time both = sum(plan, Lane::compute) + sum(plan, Lane::communication);
  CHECK(run.duration.value() == both.value());
  for (const Node& node : plan.nodes) {
    if (node.kernel) CHECK(node.kernel->sms == 0);
  }
}

TEST_CASE_METHOD(StageFixture, "weight gradients hide exchanges of a full backward", "[chunk]") {
  const core::BytesPerSecond wide{1e15};
  const ChunkPlan full = planner.backward(stage, true);
  const ChunkPlan input = planner.backward(stage, false);
  const ChunkPlan weight = planner.weight_gradient(stage);
  const ChunkRun run = run_chunk(full, wide);
  CHECK(run.duration < run_chunk(input, wide).duration + run_chunk(weight, wide).duration);
  CHECK(run.duration >= sum(full, Lane::compute));
  CHECK(run.backward_ready <= run.duration);
}

TEST_CASE_METHOD(StageFixture, "a pair hides exchanges behind the other chunk", "[chunk]") {
  const core::BytesPerSecond wide{1e15};
  const ChunkPlan pair = planner.overlapped(stage, stage);
  const ChunkRun run = run_chunk(pair, wide);
  const Time apart = run_chunk(planner.forward(stage), wide).duration +
                     run_chunk(planner.backward(stage, true), wide).duration;
  CHECK(run.duration < apart);
  CHECK(run.duration >= sum(pair, Lane::compute));
  CHECK(run.duration >= sum(pair, Lane::communication));
  for (const Node& node : pair.nodes) {
    if (node.kernel) CHECK(node.kernel->sms == 112);
  }
  // The order of the published figure: the backward's experts, their weights, the forward's
  // experts, the backward's attention.
  std::vector<std::string> order;
  for (const Node& node : pair.nodes) {
    if (node.lane == Lane::communication) order.push_back(node.name);
  }
  CHECK(order == std::vector<std::string>{"combine gradient", "dispatch", "dispatch gradient",
                                          "combine", "combine gradient", "dispatch",
                                          "dispatch gradient", "combine"});
}

TEST_CASE("an all-to-all sends a row for each expert of a token", "[chunk]") {
  TrainingJob job = deepseek_job();
  job.framework.dispatcher = workload::Dispatcher::all_to_all;
  RooflineTimer timer;
  FixedRateNetwork network;
  const workload::RoutedLoad load =
      workload::route(job.architecture.moe, job.routing, job.sequence_length, 64, 8);
  CostTable costs{job, load, {.expert = std::vector<int>(64)}, timer, network};
  const auto& combine = costs.exchange(workload::Exchange::Direction::combine);
  // 4096 tokens of 7168 in BF16, eight times; 63 of 64 parts leave.
  CHECK(combine.network.rdma_bytes == Catch::Approx(4096.0 * 8 * 7168 * 2 * 63 / 64));

  workload::LoweringJob layer{
      .architecture = job.architecture, .precision = job.precision, .split = {.expert = 64}};
  layer.kernels = job.framework;
  layer.sequence_length = 4096;
  layer.expert_rows = load.rows_on(0);
  const workload::PartWork part = workload::Lowering(layer).layer(10);
  const auto* first = part.before_dispatch.back().work();
  REQUIRE(first);
  CHECK(first->name == "token permute");
  CHECK(std::get<workload::Stream>(first->op).fan == 8);
}

/// One layer of grouped-query attention and a gated MLP on four tensor ranks.
struct TensorFixture {
  TrainingJob job = dense_job();
  RooflineTimer timer;
  FixedRateNetwork network;
  workload::RoutedLoad load;
  CostTable costs{
      job, load, {.expert = {0}, .tensor = {0, 1, 2, 3}, .context = {0, 4}}, timer, network};
  ChunkPlanner planner{costs, 20, 132, false};

  static TrainingJob dense_job() {
    TrainingJob job;
    workload::Architecture& a = job.architecture;
    a.name = "dense";
    a.hidden = 1024;
    a.layers = 2;
    a.vocabulary = 32000;
    a.attention = workload::GroupedQueryAttention{
        .heads = 8, .kv_heads = 8, .qk_dim = 128, .v_dim = 128, .rotary_dim = 128};
    a.dense = {.intermediate = 4096};
    job.sequence_length = 4096;
    job.tensor = 4;
    return job;
  }
  StageWork stage(const workload::ParallelSplit& split,
                  const workload::RecomputeChoice& recompute = {}) const {
    const workload::Lowering lowering(job.architecture, job.precision, recompute, 1,
                                      job.sequence_length, {}, split);
    return {lowering.layer(0), lowering.layer(1)};
  }
};

constexpr workload::ParallelSplit kSequence{.tensor = 4, .sequence_parallel = true};
constexpr core::BytesPerSecond kWide{1e15};

Time sum_of(const ChunkPlan& plan, Lane lane) {
  Time total{};
  for (const Node& node : plan.nodes) {
    if (node.lane == lane) total += node.time().value;
  }
  return total;
}

TEST_CASE_METHOD(TensorFixture, "forward tensor transfers are exposed", "[chunk]") {
  const ChunkPlan plan = planner.forward(stage(kSequence));
  const ChunkRun run = run_chunk(plan, kWide);
  const Time sends = sum_of(plan, Lane::communication);
  CHECK(run.exposed_collectives.value() == sends.value());
  CHECK(run.duration.value() == (sum_of(plan, Lane::compute) + sends).value());
}

TEST_CASE_METHOD(TensorFixture, "pieces of a product hide the messages of the others", "[chunk]") {
  workload::ParallelSplit pieces = kSequence;
  pieces.tensor_overlap = true;
  const ChunkRun apart = run_chunk(planner.forward(stage(kSequence)), kWide);
  const ChunkRun beside = run_chunk(planner.forward(stage(pieces)), kWide);
  CHECK(beside.exposed_collectives < apart.exposed_collectives);
  CHECK(beside.duration < apart.duration);
}

TEST_CASE_METHOD(TensorFixture, "backward, gathers and sums hide behind the other product",
                 "[chunk]") {
  const ChunkPlan plan = planner.backward(stage(kSequence), true);
  const ChunkRun run = run_chunk(plan, kWide);
  const auto index = [&](const std::string& name) {
    const auto found = std::find_if(plan.nodes.begin(), plan.nodes.end(),
                                    [&](const Node& node) { return node.name == name; });
    REQUIRE(found != plan.nodes.end());
    return static_cast<std::size_t>(found - plan.nodes.begin());
  };
  const auto start = [&](const std::string& name) { return run.spans[index(name)].first; };
  const auto end = [&](const std::string& name) { return run.spans[index(name)].second; };
  // Beside the input gradient: what the weight gradient reads again.
  CHECK(start("mlp_norm gather again").value() == start("mlp_gate_up input_gradient").value());
  CHECK(start("mlp_gate_up weight_gradient") >= end("mlp_norm gather again"));
  // Beside the weight gradient: the sum of input gradients, which the norm waits for.
  CHECK(start("mlp_gate_up input_gradient sum") >= end("mlp_gate_up input_gradient"));
  CHECK(start("mlp_gate_up weight_gradient") <= end("mlp_gate_up input_gradient sum"));
  CHECK(start("mlp_norm gradient") >= end("mlp_gate_up input_gradient sum"));
  CHECK(run.exposed_collectives < sum_of(plan, Lane::communication));
}

TEST_CASE_METHOD(TensorFixture, "keys and values travel beside a ring's products", "[chunk]") {
  const ChunkPlan plan = planner.forward(stage({.context = 2}));
  const ChunkRun run = run_chunk(plan, kWide);
  std::vector<std::size_t> products, sends;
  for (std::size_t i = 0; i < plan.nodes.size() / 2; ++i) {  // of the first layer
    if (plan.nodes[i].name == "attention") products.push_back(i);
    if (plan.nodes[i].name == "attention keys and values") sends.push_back(i);
  }
  REQUIRE(products.size() == 2);
  REQUIRE(sends.size() == 1);
  CHECK(run.spans[sends[0]].first.value() == run.spans[products[0]].first.value());
  CHECK(run.spans[products[1]].first >= run.spans[sends[0]].second);
}

TEST_CASE_METHOD(TensorFixture, "full recomputation is the forward pass and the backward pass",
                 "[chunk]") {
  const Time forward = run_chunk(planner.forward(stage(kSequence)), kWide).duration;
  const Time kept = run_chunk(planner.backward(stage(kSequence), true), kWide).duration;
  const Time again =
      run_chunk(planner.backward(stage(kSequence, {.full = true}), true), kWide).duration;
  CHECK(again.value() == (forward + kept).value());
}

TEST_CASE_METHOD(TensorFixture, "weight gradients follow their input gradients", "[chunk]") {
  const ChunkPlan plan = planner.backward(stage({}), true);
  const ChunkPlan apart = planner.weight_gradient(stage({}));
  std::vector<std::string> weights, order;
  for (const Node& node : plan.nodes) {
    if (node.category == "weight") weights.push_back(node.name);
    if (node.kernel && node.part == "layer 1" &&
        std::holds_alternative<workload::Gemm>(node.kernel->op))
      order.push_back(node.name);
  }
  CHECK(weights.size() == apart.nodes.size());
  CHECK(order == std::vector<std::string>{"mlp_down input_gradient", "mlp_down weight_gradient",
                                          "mlp_gate_up input_gradient",
                                          "mlp_gate_up weight_gradient", "o input_gradient",
                                          "o weight_gradient", "qkv input_gradient",
                                          "qkv weight_gradient"});
}

TEST_CASE_METHOD(TensorFixture, "kernels wait for the host that launches them", "[chunk]") {
  ChunkPlan plan = planner.forward(stage({}));
  const auto kernels = static_cast<std::int64_t>(
      std::count_if(plan.nodes.begin(), plan.nodes.end(),
                    [](const Node& node) { return node.lane == Lane::compute; }));
  const auto take = [&](Time host) {
    for (Node& node : plan.nodes)
      if (node.lane == Lane::compute) node.host = host;
  };
  const ChunkRun graph = run_chunk(plan, kWide);
  CHECK(graph.host.value() == 0);
  // A host that is slower than every kernel sets the pace: the last kernel starts when it comes.
  const Time slow = graph.duration;
  take(slow);
  const ChunkRun paced = run_chunk(plan, kWide);
  CHECK(paced.spans.back().first.value() == (slow * (kernels - 1)).value());
  CHECK(paced.host.value() > 0);
  // One that is faster than all of them costs nothing.
  take(Time{1});
  CHECK(run_chunk(plan, kWide).duration.value() == graph.duration.value());
}

TEST_CASE("a host that reads what a kernel computed launches nothing before it ends", "[chunk]") {
  Costs costs;
  const KernelCost kernel = costs.kernel(10_us);
  const ExchangeCost exchange = costs.exchange(25_us);
  ChunkPlan plan;
  plan.nodes = {compute(kernel), communicate(exchange, 0), compute(kernel)};
  plan.nodes[1].host = 2_us;
  plan.nodes[2].host = 3_us;
  CHECK(run_chunk(plan, kRate).spans[1].first.value() == (10_us).value());  // launched before
  CHECK(run_chunk(plan, kRate).spans[2].first.value() == (10_us).value());
  plan.nodes[1].host_after = 0;
  const ChunkRun run = run_chunk(plan, kRate);
  CHECK(run.spans[1].first.value() == (12_us).value());
  CHECK(run.spans[2].first.value() == (15_us).value());
  CHECK(run.host.value() == (5_us).value());
  CHECK(run.duration.value() == (37_us).value());
}

}  // namespace
}  // namespace tessera::training
