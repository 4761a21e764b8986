#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>

#include "models/training/memory.hpp"
#include "models/training/shard_traffic.hpp"
#include "tests/unit/fake_timers.hpp"

namespace tessera::training {
namespace {

using Catch::Approx;

/// A dense model in BF16 with BF16 gradients on `gpus` GPUs, as the ZeRO paper counts it.
TrainingJob zero_job(Sharding sharding, int gpus) {
  TrainingJob job = deepseek_job();
  job.architecture = workload::load_architecture("llama3.1_8b");
  job.precision = {.gradients = core::DataType::bf16};
  job.recompute = {};
  job.schedule = ScheduleKind::one_f_one_b;
  job.gpus = gpus;
  job.pipeline = job.expert = 1;
  job.sequences = gpus;
  job.sharding = sharding;
  return job;
}

double parameters_of(const TrainingJob& job) {
  return workload::main_parameters(job.architecture).total();
}

/// Weights, gradients and optimizer state of one GPU; no activations.
double state_bytes(const TrainingJob& job) {
  const Layout layout(job);
  const std::vector<StageWork> no_work(layout.stages().size());
  const RankMemory m = plan_memory(job, layout, no_work, {}).front();
  return m.weights + m.gradients + m.master_weights + m.moments;
}

TEST_CASE("model states follow arXiv 1910.02054, figure 1", "[sharding][memory]") {
  for (const int n : {1, 2, 64, 1024}) {
    const double psi = parameters_of(zero_job(Sharding::none, n));
    CHECK(state_bytes(zero_job(Sharding::none, n)) == Approx((2 + 2 + 12) * psi));
    CHECK(state_bytes(zero_job(Sharding::zero1, n)) == Approx((2 + 2) * psi + 12 * psi / n));
    CHECK(state_bytes(zero_job(Sharding::zero2, n)) == Approx(2 * psi + (2 + 12) * psi / n));
    CHECK(state_bytes(zero_job(Sharding::zero3, n)) == Approx((2 + 2 + 12) * psi / n));
    // FSDP casts the shard of the master weights instead of keeping another.
    CHECK(state_bytes(zero_job(Sharding::fsdp, n)) == Approx((2 + 12) * psi / n));
  }
}

TEST_CASE("hsdp keeps a copy in every group", "[sharding][memory]") {
  TrainingJob job = zero_job(Sharding::hsdp, 64);
  job.shard = 16;
  CHECK(state_bytes(job) == Approx(14 * parameters_of(job) / 16));
  job.shard = 0;  // one NVLink domain
  CHECK(state_bytes(job) == Approx(14 * parameters_of(job) / 8));
}

/// One kernel a part, so that collectives find their places.
ChunkPlan plan_of(const Layout& layout, int stage, bool backward, const KernelCost& kernel) {
  ChunkPlan plan;
  for (const TrafficUnit& bucket : buckets(layout, stage, 1)) {  // one part each, the last first
    Node node;
    node.part = bucket.parts.front();
    node.kernel = &kernel;
    plan.nodes.insert(backward ? plan.nodes.end() : plan.nodes.begin(), node);
  }
  return plan;
}

/// A job's traffic on a network of fixed rate.
struct JobTraffic {
  explicit JobTraffic(const TrainingJob& job)
      : layout(job),
        costs(job, load, {{0}}, kernels, network),
        traffic(job, layout, network, costs) {}
  JobTraffic(const JobTraffic&) = delete;
  JobTraffic& operator=(const JobTraffic&) = delete;

  Layout layout;
  workload::RoutedLoad load;
  RooflineTimer kernels;
  FixedRateNetwork network;
  CostTable costs;
  ShardTraffic traffic;
};

/// Bytes that one GPU sends in one forward and backward over a single stage, and around them.
double volume(const TrainingJob& job) {
  JobTraffic one(job);
  ShardTraffic& traffic = one.traffic;
  const Layout& layout = one.layout;
  const KernelCost kernel;
  double bytes = 0;
  for (const bool backward : {false, true}) {
    const Instruction instruction{backward ? Action::backward : Action::forward, {}, {}};
    ChunkPlan plan = plan_of(layout, 0, backward, kernel);
    traffic.add(plan, traffic.of(instruction), backward ? -1 : 0, backward ? 0 : -1);
    for (const Node& node : plan.nodes) {
      if (node.network) bytes += node.network->rdma_bytes;
    }
  }
  for (const NetworkCost& cost : traffic.reductions(0)) bytes += cost.rdma_bytes;
  for (const NetworkCost& cost : traffic.gathers(0)) bytes += cost.rdma_bytes;
  return bytes;
}

TEST_CASE("ZeRO-1 and -2 move as much as data parallelism, ZeRO-3 half as much again",
          "[sharding]") {
  // arXiv 1910.02054, section 7: 2 psi elements, 2 psi and 3 psi; 2 bytes each here.
  const int n = 64;
  const double base = volume(zero_job(Sharding::none, n));
  CHECK(base == Approx(2 * 2 * parameters_of(zero_job(Sharding::none, n)) * (n - 1) / n));
  CHECK(volume(zero_job(Sharding::zero1, n)) == Approx(base));
  CHECK(volume(zero_job(Sharding::zero2, n)) == Approx(base));
  // The root (embedding and head) stays gathered from forward to backward.
  TrainingJob job = zero_job(Sharding::zero3, n);
  const Layout layout(job);
  const double root = layer_units(layout, 0).front().held.total() * 2 * (n - 1) / n;
  CHECK(volume(job) == Approx(1.5 * base - root));
  job.reshard_after_forward = false;
  CHECK(volume(job) == Approx(base));
}

TEST_CASE("buckets and overlap move the same bytes", "[sharding]") {
  TrainingJob job = zero_job(Sharding::zero1, 64);
  const double base = volume(job);
  job.reduction = ReductionOverlap::bucketed;
  job.gather = GatherOverlap::overlapped;
  for (const double bucket : {1.0, 40e6, 1e9, 1e12}) {
    job.bucket = bucket;
    CHECK(volume(job) == Approx(base));
  }
}

TEST_CASE("buckets hold at least their size but for the last, and every part once", "[sharding]") {
  const TrainingJob job = zero_job(Sharding::zero1, 64);
  const Layout layout(job);
  CHECK(bucket_elements(job, layout) == 64e6);
  const TrainingJob few = zero_job(Sharding::zero1, 8);
  CHECK(bucket_elements(few, Layout(few)) == 40e6);  // Megatron-Core's floor
  const std::vector<TrafficUnit> units = buckets(layout, 0, 500e6);
  double total = 0;
  std::size_t parts = 0;
  for (const TrafficUnit& unit : units) {
    total += unit.held.total();
    parts += unit.parts.size();
    if (&unit != &units.back()) CHECK(unit.held.total() >= 500e6);
  }
  CHECK(total == Approx(parameters_of(job)));
  CHECK(parts == 34);  // embedding, 32 layers, head
  CHECK(units.front().parts.back() == "head");
}

TEST_CASE("the next layer's weights come while this one computes, two at most", "[sharding]") {
  const TrainingJob job = zero_job(Sharding::fsdp, 8);
  JobTraffic one(job);
  ShardTraffic& traffic = one.traffic;
  const Layout& layout = one.layout;
  KernelCost kernel;
  kernel.time = {core::Time{1'000'000'000'000}, {}, {}, Family::gemm};  // 1 s: hides any gather
  ChunkPlan plan = plan_of(layout, 0, false, kernel);
  traffic.add(plan, {.forward_gather = true}, 0, -1);
  const ChunkRun run = run_chunk(plan, core::BytesPerSecond{1e15});
  // Root and first layer are exposed, the others hide behind 34 kernels.
  const NetworkCost& root = *plan.nodes[34].network;
  CHECK(run.duration == core::Time{34'000'000'000'000} + root.time);
  for (std::size_t u = 3; u < 33; ++u) {  // the gather of layer u - 1 waits for layer u - 3
    const Node& node = plan.nodes[34 + u];
    CHECK(plan.nodes[static_cast<std::size_t>(node.after)].part ==
          "layer " + std::to_string(u - 3));
  }
}

TEST_CASE("eager FSDP casts and divides gradients before it reduces them", "[sharding]") {
  TrainingJob job = zero_job(Sharding::fsdp, 8);
  const auto bytes_before = [&] {
    JobTraffic one(job);
    const KernelCost kernel;
    ChunkPlan plan = plan_of(one.layout, 0, true, kernel);
    const std::size_t kernels = plan.nodes.size();
    one.traffic.add(plan, {.reduce = true}, -1, 0);
    double bytes = 0;
    for (std::size_t i = kernels; i < plan.nodes.size(); ++i) {
      CHECK(plan.nodes[i].lane == Lane::sharding);
      if (plan.nodes[i].kernel) bytes += plan.nodes[i].hbm_bytes();
    }
    return bytes;
  };
  CHECK(bytes_before() == 0);
  job.framework.eager = true;
  // BF16 gradients reduced as they are: divided alone.
  CHECK(bytes_before() == Approx((2 + 2) * parameters_of(job)));
  job.reduce_in = core::DataType::fp32;
  CHECK(bytes_before() == Approx((2 + 4 + 4 + 4) * parameters_of(job)));
}

TEST_CASE("eager FSDP casts its shard before each gather", "[sharding]") {
  TrainingJob job = zero_job(Sharding::fsdp, 8);
  const auto bytes_before = [&](bool backward) {
    JobTraffic one(job);
    const KernelCost kernel;
    ChunkPlan plan = plan_of(one.layout, 0, backward, kernel);
    const std::size_t kernels = plan.nodes.size();
    one.traffic.add(plan, {.forward_gather = !backward, .backward_gather = backward},
                    backward ? -1 : 0, backward ? 0 : -1);
    double bytes = 0;
    for (std::size_t i = kernels; i < plan.nodes.size(); ++i)
      if (plan.nodes[i].kernel) bytes += plan.nodes[i].hbm_bytes();
    return bytes;
  };
  CHECK(bytes_before(false) == 0);
  job.framework.eager = true;
  CHECK(bytes_before(false) == Approx((4 + 2) * parameters_of(job) / 8));
  CHECK(bytes_before(true) < bytes_before(false));  // the root is still there
  CHECK(bytes_before(true) > 0);
}

TEST_CASE("all GPUs together hold every parameter once a replica", "[sharding]") {
  struct Case {
    int tensor, context, pipeline, virtual_stages, gpus;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 8}, Case{8, 1, 1, 1, 16}, Case{2, 2, 4, 1, 64},
                        Case{4, 2, 4, 2, 64}, Case{4, 1, 2, 8, 32}}) {
    TrainingJob job = zero_job(Sharding::zero1, c.gpus);
    job.tensor = c.tensor;
    job.context = c.context;
    job.pipeline = c.pipeline;
    job.virtual_stages = c.virtual_stages;
    job.schedule = c.virtual_stages > 1 ? ScheduleKind::interleaved : ScheduleKind::one_f_one_b;
    const Layout layout(job);
    double held = 0, updated = 0, split = 0;
    for (int stage = 0; stage < layout.placement().stages(); ++stage) {
      const workload::ParameterCount count = layout.parameters(stage);
      held += count.total() * layout.grid().members();
      updated += layout.updated(stage).total() * layout.grid().members();
      split += count.low_precision;
    }
    const workload::ParameterCount all = workload::main_parameters(job.architecture);
    const int replicas = c.gpus / (c.tensor * c.pipeline);
    // Norms are whole on every tensor rank: at most 65 vectors of 4,096.
    const double norms = 65.0 * 4096 * (c.tensor - 1);
    CHECK(held == Approx((all.total() + norms) * replicas));
    CHECK(updated == Approx(all.total() + norms));
    CHECK(split * c.tensor == Approx(all.low_precision));
  }
}

TEST_CASE("experts are held once an expert-data replica", "[sharding]") {
  TrainingJob job = zero_job(Sharding::zero1, 64);
  job.architecture = workload::load_architecture("qwen3_30b_a3b");
  const double routed = workload::main_parameters(job.architecture).routed;
  for (const auto& [expert, expert_tensor] : {std::pair{8, 1}, {16, 2}, {64, 1}, {1, 8}}) {
    job.expert = expert;
    job.expert_tensor = expert_tensor;
    const Layout layout(job);
    CHECK(layout.parameters(0).routed * 64 == Approx(routed * layout.grid().expert_data()));
    CHECK(layout.updated(0).routed * 64 == Approx(routed));
    CHECK(static_cast<int>(layout.routed_group(0).size()) == layout.grid().expert_data());
  }
}

}  // namespace
}  // namespace tessera::training
