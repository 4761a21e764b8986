#include "models/workload/kv_cache.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>

#include "models/workload/architecture_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using Catch::Approx;
using Catch::Matchers::Message;

KvCache cache(const char* name, const CacheChoice& choice = {}) {
  return KvCache(load_architecture(name), choice);
}

TEST_CASE("a token's cache is what its layers keep", "[kv_cache]") {
  // Two tensors, 80 layers of 8 heads of 128, two bytes.
  CHECK(cache("llama3.1_70b").bytes_per_token() == 2 * 80 * 8 * 128 * 2);
  CHECK(cache("llama3.1_70b").bytes_per_token() == 327'680);
  // Multi-head: 96 layers of 96 heads of 128.
  CHECK(cache("gpt3_175b").bytes_per_token() == 2 * 96 * 96 * 128 * 2);
  // A latent of 512 and a rotated key of 64 in each of 61 layers.
  CHECK(cache("deepseek_v3").bytes_per_token() == 61 * 1152);
  CHECK(cache("deepseek_v3").bytes_per_token() == 70'272);
  CHECK(cache("deepseek_v3", {.mtp = true}).bytes_per_token() == 62 * 1152);
}

TEST_CASE("FP8 latents are 576 bytes as they are multiplied, 656 as FlashMLA keeps them",
          "[kv_cache]") {
  CHECK(cache("deepseek_v3", {.format = CacheFormat::fp8}).layers().front().bytes == 576);
  CHECK(cache("deepseek_v3", {.format = CacheFormat::fp8_flashmla}).layers().front().bytes ==
        512 + 4 * 4 + 64 * 2);
  CHECK(cache("llama3.1_70b", {.format = CacheFormat::fp8}).bytes_per_token() == 163'840);
}

TEST_CASE("sparse attention keeps its indexers' keys where layers choose", "[kv_cache]") {
  // Every layer of DeepSeek-V3.2 chooses; 21 of GLM-5.2's 78, and its MTP layer.
  CHECK(cache("deepseek_v3.2").bytes_per_token() == 61 * (1152 + 132));
  CHECK(cache("glm_5.2").bytes_per_token() == 78 * 1152 + 21 * 132);
  CHECK(cache("glm_5.2", {.mtp = true}).bytes_per_token() == 79 * 1152 + 22 * 132);
}

TEST_CASE("pools that engines logged hold the bytes a token that the layers come to",
          "[kv_cache]") {
  constexpr double kGiB = 1024.0 * 1024 * 1024;
  // sgl-project/sglang pull request 11309, 8 B200, DP8: 975,424 tokens in 43.67 GiB with the
  // indexer's keys, 1,462,784 in 54.52 GiB without.
  const KvCache sparse = cache("deepseek_v3.2", {.format = CacheFormat::fp8_flashmla});
  CHECK(43.67 * kGiB / 975'424 == Approx(sparse.bytes_per_token()).epsilon(0.0005));
  CHECK(54.52 * kGiB / 1'462'784 == Approx(61 * sparse.layers().front().bytes).epsilon(0.0005));
  // vllm-project/vllm issue 21348, 4 H100, TP4: SGLang 367,404 tokens in 8.23 + 8.23 GiB; vLLM
  // 178,880 tokens of 8.11 GiB, which its other uses leave.
  const KvCache qwen = cache("qwen3_235b_a22b", {.tensor = 4});
  CHECK((8.23 + 8.23) * kGiB / 367'404 == Approx(qwen.bytes_per_token()).epsilon(0.001));
  CHECK(8.11 * kGiB / 178'880 == Approx(qwen.bytes_per_token()).epsilon(0.015));
}

TEST_CASE("windows and chunks bound what a sequence keeps", "[kv_cache]") {
  // gpt-oss: 18 layers see 128 tokens, 18 all; a layer's token takes 2 * 8 * 64 * 2 bytes.
  const KvCache gpt = cache("gpt_oss_120b");
  CHECK(gpt.bytes_per_token() == 36 * 2048);
  CHECK(gpt.lasting_bytes_per_token() == 18 * 2048);
  CHECK(gpt.bytes(100) == 36 * 2048 * 100);
  CHECK(gpt.bytes(4096) == 18 * 2048 * (128 + 4096));
  // Llama 4: 36 of 48 layers see a chunk of 8,192.
  const KvCache llama = cache("llama4_maverick");
  CHECK(llama.bytes(131'072) == 4096.0 * (36 * 8192 + 12 * 131'072));
  CHECK(llama.bytes(4096) == 4096.0 * 48 * 4096);
}

TEST_CASE("tensor ranks split heads of keys and values, and repeat what they cannot split",
          "[kv_cache]") {
  CHECK(cache("llama3.1_70b", {.tensor = 8}).bytes_per_token() == 327'680 / 8);
  CHECK(cache("llama3.1_70b", {.tensor = 16}).bytes_per_token() == 327'680 / 8);
  CHECK(cache("deepseek_v3", {.tensor = 8}).bytes_per_token() == 70'272);
  CHECK_THROWS_MATCHES(cache("gpt_oss_120b", {.tensor = 3}), core::Refusal,
                       Message("tensor parallelism 3 does not divide the model's 64 heads"));
  CHECK_THROWS_MATCHES(cache("minimax_m2.5", {.tensor = 12}), core::Refusal,
                       Message("tensor parallelism 12 neither divides the model's 8 heads of keys "
                               "and values nor is a multiple of them"));
  CHECK_THROWS_MATCHES(
      cache("llama3.1_8b", {.format = CacheFormat::fp8_flashmla}), core::Refusal,
      Message("cache format fp8_flashmla belongs to latent attention, which this model does not "
              "have"));
}

/// Slots of the pages that hold tokens [first, first + tokens).
std::int64_t slots(std::int64_t first, std::int64_t tokens, std::int64_t block) {
  return ((first + tokens - 1) / block - first / block + 1) * block;
}

TEST_CASE("pages cost their mean over every place a sequence ends and a window begins",
          "[kv_cache]") {
  constexpr std::int64_t kBlock = 64, kWindow = 128, kTokens = 4096;
  double whole = 0, window = 0;
  for (std::int64_t shift = 0; shift < kBlock; ++shift) {
    whole += static_cast<double>(slots(0, kTokens + shift, kBlock) - shift) / kBlock;
    window += static_cast<double>(slots(kTokens + shift, kWindow, kBlock)) / kBlock;
  }
  const KvCache gpt = cache("gpt_oss_120b", {.block = kBlock});
  CHECK(gpt.paged_bytes(kTokens) == Approx(18 * 2048 * (whole + window)).epsilon(1e-12));
  CHECK(cache("gpt_oss_120b", {.block = 1}).paged_bytes(kTokens) == gpt.bytes(kTokens));
}

TEST_CASE("pipeline stages share the layers, and with them the cache", "[kv_cache]") {
  double sum = 0;
  for (std::int64_t stage = 0; stage < 4; ++stage)
    sum += cache("deepseek_v3", {.mtp = true, .pipeline = 4, .stage = stage}).bytes_per_token();
  CHECK(sum == 62 * 1152);
  CHECK(stage_layers(61, 4, 0).end == 16);
  CHECK(stage_layers(61, 4, 3).end == 61);
}

TEST_CASE("latents keep far less than multi-head attention would", "[kv_cache]") {
  const CacheComparison v3 = against_multi_head(load_architecture("deepseek_v3"));
  CHECK(v3.own == 576);
  CHECK(v3.multi_head == 40'960);  // 128 heads of 192 + 128
  CHECK(v3.saved() > 0.9);         // arXiv 2405.04434, abstract: 93.3 % less than DeepSeek 67B
  const CacheComparison llama = against_multi_head(load_architecture("llama3.1_70b"));
  CHECK(llama.saved() == Approx(1 - 8.0 / 64));
}

}  // namespace
}  // namespace tessera::workload
