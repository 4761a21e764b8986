#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include "models/serving/memory.hpp"
#include "models/workload/architecture_file.hpp"
#include "models/workload/parameters.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using Catch::Approx;
using Catch::Matchers::Message;
using core::Bytes;
using core::DataType;

constexpr double kGiB = 1024.0 * 1024 * 1024;

MemoryJob deepseek(std::int64_t gpus) {
  return {.architecture = workload::load_architecture("deepseek_v3"),
          .linear = DataType::fp8_block,
          .experts = DataType::fp8_block,
          .expert = gpus,
          .exchange = ExchangeBuffers::deepep_low_latency,
          .device_memory = Bytes{80'000'000'000},
          .sms = 132};
}

TEST_CASE("weights of Llama 3 8B leave the cache that vLLM measured", "[inference_memory]") {
  // vllm-project/vllm pull request 10511, one H100 of 79.22 GiB and two: weights 14.96 and 7.48
  // GiB, cache 53.29 GiB on one.
  MemoryJob job{.architecture = workload::load_architecture("llama3.1_8b"),
                .prompt_tokens = 8192,
                .block = 16,
                .device_memory = Bytes{79.22 * kGiB},
                .sms = 132};
  const MemoryPlan one = InferenceMemory(job).plan(256, 8192);
  CHECK((one.of("weights") + one.of("bf16_weights")) / kGiB == Approx(14.96).epsilon(0.001));
  const double cache = 79.22 * kGiB - (one.total() - one.of("kv_cache"));
  CHECK(cache / kGiB == Approx(53.29).epsilon(0.015));
  job.tensor = 2;
  const MemoryPlan two = InferenceMemory(job).plan(256, 8192);
  CHECK((two.of("weights") + two.of("bf16_weights")) / kGiB == Approx(7.48).epsilon(0.001));
  CHECK(two.of("kv_cache") == Approx(one.of("kv_cache") / 2));
}

TEST_CASE("every part of the model lies on its GPU once", "[inference_memory]") {
  const MemoryPlan plan = InferenceMemory(deepseek(128)).plan(128, 4096);
  const auto model = workload::load_architecture("deepseek_v3");
  const workload::ParameterCount all = workload::main_parameters(model);
  CHECK(plan.of("weights") == Approx(all.low_precision));
  CHECK(plan.of("experts") == Approx(all.routed / 128));
  CHECK(plan.of("bf16_weights") == Approx(2 * all.high_precision));
  CHECK(plan.of("weight_scales") ==
        Approx((all.low_precision + all.routed / 128) * 4 / (128 * 128)));
  // 61 layers of 128 heads, 128 + 128 by 512, in BF16 beside the FP8 ones.
  CHECK(plan.of("absorbed_projections") == 61.0 * 128 * 256 * 512 * 2);
  CHECK(plan.of("kv_cache") == Approx(128 * 70'272.0 * (4096 + 31.5)));
  CHECK(plan.of("redundant_experts") == 0);
  CHECK(plan.of("held_back") == Approx(8e9));
}

TEST_CASE("redundant experts take their share of slots", "[inference_memory]") {
  MemoryJob job = deepseek(32);
  job.redundant_experts = 32;
  const MemoryPlan plan = InferenceMemory(job).plan(1, 4096);
  CHECK(plan.of("redundant_experts") == Approx(plan.of("experts") / 8 * (1 + 4.0 / (128 * 128))));
}

TEST_CASE("shared experts are whole beside exchanges, whatever cuts attention",
          "[inference_memory]") {
  MemoryJob job = deepseek(32);
  job.tensor = 8;
  const double cut = InferenceMemory(job).plan(1, 4096).of("weights");
  job.whole_shared_experts = true;
  // 58 layers with one of 3 x 7168 x 2048 elements in FP8, of which ranks held an eighth.
  CHECK(InferenceMemory(job).plan(1, 4096).of("weights") - cut ==
        Approx(58 * 3.0 * 7168 * 2048 * 7 / 8));
}

TEST_CASE("DeepEP's low-latency buffers are what its layout comes to", "[inference_memory]") {
  // By hand, 128 tokens, hidden 7168, 256 experts: a combined row of 56 * 4 + 14,336 bytes, a
  // dispatched one of 16 + 14,336; both directions hold a row an expert, twice, and counts.
  CHECK(low_latency_buffer_bytes(128, 7168, 256) ==
        2 * (256.0 * 128 * 14'560 + 256.0 * 128 * 14'560 + 256 * 4));
}

TEST_CASE("the largest batch fits and the next one does not", "[inference_memory]") {
  for (const double context : {4096.0, 32'768.0, 131'072.0}) {
    const InferenceMemory memory(deepseek(128));
    const std::int64_t most = memory.largest_batch(context);
    REQUIRE(most > 0);
    CHECK(memory.plan(most, context).total() <= 80e9);
    CHECK(memory.plan(most + 1, context).total() > 80e9);
    CHECK_NOTHROW(memory.require_fit(most, context));
    CHECK_THROWS_AS(memory.require_fit(most + 1, context), core::Refusal);
  }
}

TEST_CASE("more of anything needs more memory", "[inference_memory]") {
  const InferenceMemory memory(deepseek(64));
  CHECK(memory.plan(65, 4096).total() > memory.plan(64, 4096).total());
  CHECK(memory.plan(64, 4097).total() > memory.plan(64, 4096).total());
  CHECK(InferenceMemory(deepseek(32)).plan(64, 4096).total() > memory.plan(64, 4096).total());
  MemoryJob fp8 = deepseek(64);
  fp8.cache = workload::CacheFormat::fp8;
  CHECK(InferenceMemory(fp8).plan(64, 4096).of("kv_cache") ==
        Approx(memory.plan(64, 4096).of("kv_cache") / 2));
}

TEST_CASE("a prompt's later chunk holds keys and values of the whole prompt",
          "[inference_memory]") {
  MemoryJob job = deepseek(32);
  job.exchange = ExchangeBuffers::deepep_normal;
  job.prompt_tokens = 16384;
  const auto activations = [&](double context) {
    return InferenceMemory(job).plan(1, context).of("activations");
  };
  // 128 heads of 192 + 128 elements in BF16 for each token more that a sequence has.
  CHECK(activations(131072) - activations(65536) == Approx(65536.0 * 128 * (192 + 128) * 2));
  // Of four prompts together, most of whose tokens are cached, all.
  const double one = activations(65536);
  job.prompt_seen = 4 * 65536;
  CHECK(activations(65536) - one == Approx(3 * 65536.0 * 128 * (192 + 128) * 2));
  // Sparse attention reads latents as they are.
  job.prompt_seen = 0;
  job.architecture = workload::load_architecture("deepseek_v3.2");
  CHECK(activations(131072) == activations(65536));
}

TEST_CASE("stages of a pipeline hold the whole model together", "[inference_memory]") {
  MemoryJob job{.architecture = workload::load_architecture("llama3.1_405b"),
                .tensor = 8,
                .pipeline = 2,
                .device_memory = Bytes{80'000'000'000},
                .sms = 132};
  const InferenceMemory memory(job);
  const double total = workload::main_parameters(job.architecture).total();
  CHECK(memory.plan(1, 4096).of("weights") < 2 * total / 8);
  CHECK(memory.plan(1, 4096).of("weights") + memory.plan(1, 4096).of("bf16_weights") >
        2 * total / 16);
}

TEST_CASE("splits that do not divide the model are refused", "[inference_memory]") {
  MemoryJob job = deepseek(48);
  CHECK_THROWS_MATCHES(
      InferenceMemory(job), core::Refusal,
      Message("parallelism.expert 48 does not divide the 256 experts, redundant ones included"));
  job = deepseek(32);
  job.tensor = 64;
  CHECK_THROWS_MATCHES(
      InferenceMemory(job), core::Refusal,
      Message("parallelism.tensor 64 does not divide the 32 GPUs that share the experts"));
  job = {.architecture = workload::load_architecture("llama3.1_8b"),
         .expert = 2,
         .device_memory = Bytes{80'000'000'000}};
  CHECK_THROWS_MATCHES(InferenceMemory(job), core::Refusal,
                       Message("parallelism.expert 2: the model has no experts"));
}

}  // namespace
}  // namespace tessera::serving
