#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/training/memory.hpp"
#include "models/training/step_model.hpp"
#include "tests/unit/fake_timers.hpp"

namespace tessera::training {
namespace {

using Catch::Approx;

std::vector<RankMemory> memory_of(const TrainingJob& job) {
  const Layout layout(job);
  const workload::RoutedLoad load = route_job(job);
  return plan_memory(job, layout, lower_stages(job, layout, load), load);
}

TEST_CASE("chunks in flight are what the schedules promise", "[memory]") {
  TrainingJob job = deepseek_job();
  job.architecture.mtp_modules = 0;
  // DualPipe: P + 1 on every rank (arXiv 2412.19437, table 2). 1F1B: P - rank.
  for (const RankMemory& m : memory_of(job)) {
    INFO("rank " << m.rank);
    CHECK(m.chunks_in_flight == 17);
  }
  job.schedule = ScheduleKind::one_f_one_b;
  for (const RankMemory& m : memory_of(job)) CHECK(m.chunks_in_flight == 16 - m.rank);
}

TEST_CASE("weights, gradients and optimizer state follow from parameter counts", "[memory]") {
  TrainingJob job = deepseek_job();
  const Layout layout(job);
  const RankMemory m = memory_of(job)[4];
  double low = 0, high = 0, routed = 0;
  for (const int stage : layout.stages_of(4)) {
    low += layout.parameters(stage).low_precision;
    high += layout.parameters(stage).high_precision;
    routed += layout.parameters(stage).routed;
  }
  // Four MoE layers a stage, two stages, four of 256 experts of 3 x 7168 x 2048 each.
  CHECK(routed == 8 * 4 * 3 * 7168.0 * 2048);
  CHECK(m.gradients == 4 * (low + high + routed));
  const double fp8 = 1 + 4.0 / (128 * 128);  // FP32 scale a 128x128 block
  CHECK(m.weights == Approx(2 * fp8 * (low + routed) + 2 * high));
  // Dense parameters over 2 x 128 holders, experts over 2 x 2.
  const double updated = (low + high) / 256 + routed / 4;
  CHECK(m.master_weights == Approx(4 * updated));
  CHECK(m.moments == Approx(2 * 2 * updated));  // two, BF16
  job.sharding = Sharding::none;
  CHECK(memory_of(job)[4].master_weights == Approx(4 * (low + high + routed)));
}

TEST_CASE("a layer's saved bytes are its tensors", "[memory]") {
  const TrainingJob job = deepseek_job();
  const workload::Lowering lowering(job.architecture, job.precision, job.recompute, 1, 4096,
                                    {8192, 8192, 8192, 8192});
  const double block = 1 + 4.0 / 128;                       // FP8 and an FP32 scale a 1x128 block
  const double expected = 4096.0 * 7168 * 2 +               // layer input
                          4096.0 * (1536 + 512 + 64) * 2 +  // latents
                          4096.0 * 16384 * (1.5 + 4.0 / 128) +  // attention output, E5M6
                          4096.0 * 128 * 4 +                    // log-sum-exp
                          4096.0 * 7168 * 2 +                   // after attention
                          4096.0 * 256 * 2 + 4096.0 * 16 * 4 +  // gate
                          4096.0 * 4096 * block +               // shared expert's gate and up
                          32768.0 * 7168 * block +              // experts' inputs
                          32768.0 * 4096 * block;               // experts' gate and up
  CHECK(lowering.layer(10).saved_bytes() == Approx(expected));
}

TEST_CASE("memory by number format adds up to memory by kind", "[memory]") {
  TrainingJob job = deepseek_job();
  for (const ScheduleKind schedule : {ScheduleKind::dualpipe, ScheduleKind::one_f_one_b}) {
    job.schedule = schedule;
    for (const RankMemory& m : memory_of(job)) {
      std::map<std::string, double> kinds;
      for (const auto& [key, bytes] : m.formats) kinds[key.first] += bytes;
      CHECK(kinds["weights"] == Approx(m.weights));
      CHECK(kinds["gradients"] == Approx(m.gradients));
      CHECK(kinds["master_weights"] == Approx(m.master_weights));
      CHECK(kinds["moments"] == Approx(m.moments));
      CHECK(kinds["activations"] == Approx(m.activations));
    }
  }
  // One forward pass: attention's output is all that is kept in E5M6.
  const RankMemory first = memory_of(job)[4];
  const double output = 4096.0 * 16384 * (1.5 + 4.0 / 128);
  CHECK(first.formats.at({"activations", "e5m6"}) ==
        Approx(first.chunks_in_flight * 4 * output));  // four layers a stage
  CHECK(first.formats.at({"moments", "bf16"}) == Approx(first.moments));
}

}  // namespace
}  // namespace tessera::training
