#include "models/training/legality.hpp"

#include <catch2/catch_test_macros.hpp>
#include <functional>

#include "sim/core/diagnostics.hpp"
#include "tests/unit/fake_timers.hpp"

namespace tessera::training {
namespace {

/// Llama 3.1 8B (32 layers, 32 heads over 8 key heads, an MLP of 14,336) on 64 GPUs.
TrainingJob dense_job() {
  TrainingJob job = deepseek_job();
  job.architecture = workload::load_architecture("llama3.1_8b");
  job.precision = {};
  job.recompute = {};
  job.schedule = ScheduleKind::one_f_one_b;
  job.gpus = 64;
  job.pipeline = job.expert = 1;
  job.sequences = 128;
  job.sequence_length = 8192;
  return job;
}

/// Qwen3 30B-A3B (48 layers, 32 heads over 4 key heads, 128 experts of 768) on 64 GPUs.
TrainingJob expert_job() {
  TrainingJob job = dense_job();
  job.architecture = workload::load_architecture("qwen3_30b_a3b");
  job.expert = 8;
  return job;
}

std::string first(const TrainingJob& job) {
  const std::vector<Contradiction> found = contradictions(job);
  return found.empty() ? "" : found.front().key + ": " + found.front().reason;
}

TEST_CASE("legal combinations pass", "[legality]") {
  CHECK(first(deepseek_job()).empty());
  CHECK(first(dense_job()).empty());
  CHECK(first(expert_job()).empty());
  TrainingJob job = dense_job();
  job.tensor = 16;  // twice the key heads
  job.sequence_parallel = true;
  job.context = 2;
  job.pipeline = 2;
  job.virtual_stages = 4;
  job.schedule = ScheduleKind::interleaved;
  CHECK(first(job).empty());
  CHECK(degrees_of(job).data == 1);
  CHECK(model_gpus(job) == 64);
}

TEST_CASE("each impossible combination is told with the nearest legal value", "[legality]") {
  struct Row {
    std::function<void(TrainingJob&)> change;
    std::string message;
    bool experts = false;
  };
  using J = TrainingJob;
  const std::vector<Row> rows = {
      {[](J& j) { j.pipeline = 3; },
       "parallelism: tensor 1 x pipeline 3 x context 1 = 3 GPUs hold one copy of the model, which "
       "does not divide the cluster's 64 GPUs; nearest legal: 63 or 66 GPUs"},
      {[](J& j) { j.gpus = 63, j.tensor = 2; },
       "parallelism: tensor 2 x pipeline 1 x context 1 = 2 GPUs hold one copy of the model, which "
       "does not divide the cluster's 63 GPUs; nearest legal: 62 or 64 GPUs"},
      {[](J& j) { j.tensor = 8, j.pipeline = 8, j.context = 2; },
       "parallelism: tensor 8 x pipeline 8 x context 2 = 128 GPUs hold one copy of the model, "
       "which does not divide the cluster's 64 GPUs; nearest legal: 128 GPUs"},
      {[](J& j) { j.tensor = 3, j.gpus = 48; },
       "parallelism.tensor: found 3, which does not divide the 32 attention heads of llama3.1_8b; "
       "nearest legal: 2 or 4"},
      {[](J& j) { j.tensor = 64; },
       "parallelism.tensor: found 64, which does not divide the 32 attention heads of "
       "llama3.1_8b; nearest legal: 32"},
      {[](J& j) { j.tensor = 32, j.architecture.dense.intermediate = 14352; },
       "parallelism.tensor: found 32, which does not divide the MLP width 14352 of llama3.1_8b; "
       "nearest legal: 26 or 39"},
      {[](J& j) {
         std::get<workload::GroupedQueryAttention>(j.architecture.attention).kv_heads = 6;
         j.tensor = 4;
       },
       "parallelism.tensor: found 4, which neither divides the 6 key and value heads of "
       "llama3.1_8b nor is a multiple of them; nearest legal: 2"},
      {[](J& j) { j.pipeline = 64; },
       "parallelism.pipeline: pipeline 64 x virtual 1 = 64 stages, but llama3.1_8b has 32 layers, "
       "an embedding and a head; nearest legal: pipeline 34"},
      {[](J& j) { j.pipeline = 8, j.virtual_stages = 5, j.schedule = ScheduleKind::interleaved; },
       "parallelism.pipeline: pipeline 8 x virtual 5 = 40 stages, but llama3.1_8b has 32 layers, "
       "an embedding and a head; nearest legal: pipeline 6"},
      {[](J& j) { j.virtual_stages = 2, j.schedule = ScheduleKind::interleaved; },
       "parallelism.virtual: found 2 with one pipeline rank, which has nothing to interleave; "
       "nearest legal: schedule.kind 1f1b, or pipeline 2"},
      {[](J& j) { j.context = 2, j.sequence_length = 8190; },
       "batch.sequence_length: found 8190, which does not divide into 4 pieces (2 x context 2, "
       "sequence-parallel tensor 1); nearest legal: 8188 or 8192"},
      {[](J& j) { j.tensor = 8, j.sequence_parallel = true, j.sequence_length = 4100; },
       "batch.sequence_length: found 4100, which does not divide into 8 pieces (2 x context 1, "
       "sequence-parallel tensor 8); nearest legal: 4096 or 4104"},
      {[](J& j) { j.context = 8, j.sequence_length = 8; },
       "batch.sequence_length: found 8, which does not divide into 16 pieces (2 x context 8, "
       "sequence-parallel tensor 1); nearest legal: 16"},
      {[](J& j) { j.pipeline = 2, j.sharding = Sharding::fsdp; },
       "parallelism.data.sharding: found fsdp with pipeline 2: weights and gradients would move "
       "for every micro-batch of every stage; nearest legal: zero1, or pipeline 1"},
      {[](J& j) { j.pipeline = 4, j.sharding = Sharding::zero2; },
       "parallelism.data.sharding: found zero2 with pipeline 4: gradients would move for every "
       "micro-batch of every stage; nearest legal: zero1, or pipeline 1"},
      {[](J& j) { j.pipeline = 4, j.sharding = Sharding::hsdp; },
       "parallelism.data.sharding: found hsdp with pipeline 4: weights and gradients would move "
       "for every micro-batch of every stage; nearest legal: zero1, or pipeline 1"},
      {[](J& j) { j.shard = 8; },
       "parallelism.data.shard: found 8 with zero1 sharding; only hsdp has a shard size: nearest "
       "legal: hsdp"},
      {[](J& j) { j.shard = 24, j.sharding = Sharding::hsdp; },
       "parallelism.data.shard: found 24, which does not divide the 64 ranks that hold the same "
       "parameters; nearest legal: 16 or 32"},
      {[](J& j) { j.sharding = Sharding::hsdp, j.gpus_per_node = 72; },
       "parallelism.data.shard: found 72, which does not divide the 64 ranks that hold the same "
       "parameters; nearest legal: 64"},
      {[](J& j) { j.reshard_after_forward = false; },
       "parallelism.data.reshard: found false with zero1 sharding, which never gives weights up; "
       "nearest legal: true, or fsdp"},
      {[](J& j) { j.prefetch = Prefetch::none, j.sharding = Sharding::zero2; },
       "parallelism.data.prefetch: found a choice with zero2 sharding, which gathers no layer; "
       "nearest legal: both (the default), or fsdp"},
      {[](J& j) { j.bucket = 1e6; },
       "parallelism.data.overlap.bucket: found a bucket size, which only bucketed gradients and "
       "overlapped parameters have; nearest legal: gradients: bucketed"},
      {[](J& j) { j.communication_sms = 132; },
       "schedule.communication_sms: found 132, which leaves none of plain's 132 SMs for "
       "computation; nearest legal: 131"},
      {[](J& j) { j.sequences = 100; },
       "batch.sequences: found 100; expected a multiple of 64: 64 data-parallel ranks x "
       "micro_batch 1; nearest legal: 64 or 128"},
      {[](J& j) { j.sequences = 32; },
       "batch.sequences: found 32; expected a multiple of 64: 64 data-parallel ranks x "
       "micro_batch 1; nearest legal: 64"},
      {[](J& j) { j.micro_batch = 3; },
       "batch.sequences: found 128; expected a multiple of 192: 64 data-parallel ranks x "
       "micro_batch 3; nearest legal: 192"},
      {[](J& j) { j.expert = 8; },
       "parallelism.expert: found 8, but llama3.1_8b has no experts; nearest legal: 1"},
      {[](J& j) { j.expert_tensor = 2; },
       "parallelism.expert_tensor: found 2, but llama3.1_8b has no experts; nearest legal: 1"},
      {[](J& j) { j.communication_sms = 0; },
       "schedule.communication_sms: found 0; exchanges with experts need SMs; nearest legal: 1",
       true},
      {[](J& j) { j.expert = 24; },
       "parallelism.expert: found 24, which does not divide the 64 GPUs of a pipeline rank; "
       "nearest legal: 16 or 32",
       true},
      {[](J& j) { j.expert = 128; },
       "parallelism.expert: found 128, which does not divide the 64 GPUs of a pipeline rank; "
       "nearest legal: 64",
       true},
      {[](J& j) { j.expert = 16, j.pipeline = 8; },
       "parallelism.expert: found 16, which does not divide the 8 GPUs of a pipeline rank; "
       "nearest legal: 8",
       true},
      {[](J& j) { j.expert = 32, j.expert_tensor = 4; },
       "parallelism.expert: found 32, which with expert_tensor 4 does not divide the 64 GPUs of a "
       "pipeline rank; nearest legal: 16",
       true},
      {[](J& j) { j.architecture.moe.experts = 100; },
       "parallelism.expert: found 8, which does not divide the 100 experts of qwen3_30b_a3b; "
       "nearest legal: 5 or 10",
       true},
      {[](J& j) { j.expert = 1, j.expert_tensor = 64, j.architecture.moe.intermediate = 800; },
       "parallelism.expert_tensor: found 64, which does not divide the expert width 800 of "
       "qwen3_30b_a3b; nearest legal: 50 or 80",
       true},
      {[](J& j) { j.tensor = 2; },
       "parallelism.sequence: found false with tensor 2 and experts: every tensor rank would send "
       "the same tokens; nearest legal: true, or tensor 1",
       true},
  };
  CHECK(rows.size() >= 30);
  for (const Row& row : rows) {
    TrainingJob job = row.experts ? expert_job() : dense_job();
    row.change(job);
    CHECK(first(job) == row.message);
    try {
      require_legal(job);
      FAIL("not refused: " << row.message);
    } catch (const core::Refusal& refusal) {
      CHECK(refusal.kind() == core::RefusalKind::illegal_combination);
      CHECK(refusal.what() == row.message);
    }
  }
}

TEST_CASE("all contradictions of a job are told at once", "[legality]") {
  TrainingJob job = expert_job();
  job.expert = 48;
  job.sequences = 100;
  job.shard = 4;
  std::vector<std::string> keys;
  for (const Contradiction& c : contradictions(job)) keys.push_back(c.key);
  CHECK(keys == std::vector<std::string>{"parallelism.data.shard", "parallelism.expert",
                                         "parallelism.expert", "batch.sequences"});
}

}  // namespace
}  // namespace tessera::training
