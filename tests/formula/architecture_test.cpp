#include "models/workload/architecture.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/workload/architecture_file.hpp"
#include "models/workload/parameters.hpp"

namespace tessera::workload {
namespace {

using Catch::Approx;

/// What a publication counts, in elements; 0: nothing.
struct Published {
  const char* name;
  double parameters;
  double active;
  double tolerance;  ///< Of parameters: 1 %, or half of the last digit that is given.
};

// Of models whose embeddings are tied, the table counts once.
const Published kPublished[] = {
    // llm-foundry, scripts/train/benchmarking/README.md, NumParams at 2,048 tokens: to the element.
    {"mpt_125m", 125311488, 0, 1e-12},
    {"mpt_350m", 355985408, 0, 1e-12},
    {"mpt_760m", 760470528, 0, 1e-12},
    {"mpt_1b", 1315950592, 0, 1e-12},
    {"mpt_3b", 2651837440, 0, 1e-12},
    {"mpt_7b", 6658859008, 0, 1e-12},
    {"mpt_13b", 12853954560, 0, 1e-12},
    {"mpt_30b", 29975214080, 0, 1e-12},
    {"mpt_70b", 64862437376, 0, 1e-12},
    // arXiv 2205.05198, table 3: 22B, 175B, 530B, 1T; arXiv 2104.04473, table 1: 529.6, 1008.0.
    {"gpt_22b", 22e9, 0, 0.01},
    {"gpt3_175b", 175e9, 0, 0.01},
    {"gpt_mt_nlg_530b", 529.6e9, 0, 0.001},
    {"gpt_1t", 1008.0e9, 0, 0.001},
    // huggingface.co/meta-llama, model cards: 8B, 70.6B, 405B.
    {"llama3.1_8b", 8.03e9, 0, 0.01},
    {"llama3.1_70b", 70.6e9, 0, 0.01},
    {"llama3.1_405b", 405e9, 0, 0.01},
    {"llama4_maverick", 400e9, 17e9, 0.02},
    // huggingface.co/Qwen, model cards.
    {"qwen3_0.6b", 0.6e9, 0, 0.01},
    {"qwen3_1.7b", 1.7e9, 0, 0.02},
    {"qwen3_4b", 4.0e9, 0, 0.01},
    {"qwen3_8b", 8.2e9, 0, 0.01},
    {"qwen3_14b", 14.8e9, 0, 0.01},
    {"qwen3_32b", 32.8e9, 0, 0.01},
    {"qwen3_30b_a3b", 30.5e9, 3.3e9, 0.01},
    {"qwen3_235b_a22b", 235e9, 22e9, 0.01},
    {"qwen3_vl_235b_a22b", 235e9, 22e9, 0.01},
    // mistral.ai, announcements: 46.7B and 12.9B; 141B and 39B.
    {"mixtral_8x7b", 46.7e9, 12.9e9, 0.01},
    {"mixtral_8x22b", 141e9, 39e9, 0.01},
    // arXiv 2508.10925, table 1: 20.91 and 116.83 billion.
    {"gpt_oss_20b", 20.91e9, 0, 0.001},
    {"gpt_oss_120b", 116.83e9, 0, 0.001},
    // Their reports and model cards.
    {"deepseek_v2", 236e9, 21e9, 0.01},
    {"deepseek_v3", 671e9, 37e9, 0.01},
    {"deepseek_v3.2", 671e9, 0, 0.01},
    {"glm_5", 744e9, 0, 0.01},
    {"glm_5.2", 744e9, 0, 0.01},
    {"glm_4.5", 355e9, 0, 0.01},
    {"glm_4.5_air", 106e9, 0, 0.01},
    {"minimax_m2.5", 230e9, 0, 0.01},
};

TEST_CASE("parameters add up to what is published", "[architecture]") {
  for (const Published& row : kPublished) {
    const Architecture a = load_architecture(row.name);
    INFO(row.name);
    CHECK(main_parameters(a).total() == Approx(row.parameters).epsilon(row.tolerance));
    // Publications round active parameters to billions, or leave the embedding out.
    if (row.active > 0) CHECK(active_parameters(a) == Approx(row.active).epsilon(0.025));
  }
}

TEST_CASE("published counts that count something else are met when counted alike",
          "[architecture]") {
  // Kimi-K2, arXiv 2507.20534, table 2: 1.04 T, as if its first layer had experts as well.
  Architecture k2 = load_architecture("kimi_k2");
  CHECK(main_parameters(k2).total() == Approx(1.026e12).epsilon(0.001));
  k2.dense_layers = 0;
  CHECK(main_parameters(k2).total() == Approx(1.04e12).epsilon(0.005));
  // Llama 4 Scout: 109 B with a vision encoder, which its language configuration leaves out.
  const double scout = main_parameters(load_architecture("llama4_scout")).total();
  CHECK(scout == Approx(107.77e9).epsilon(0.001));
  CHECK(109e9 - scout < 1.5e9);
  // gpt-oss, arXiv 2508.10925, table 1: 3.61 and 5.13 billion active, without the embedding.
  for (const auto& [name, active] :
       {std::pair{"gpt_oss_20b", 3.61e9}, std::pair{"gpt_oss_120b", 5.13e9}}) {
    const Architecture oss = load_architecture(name);
    CHECK(active_parameters(oss) - embedding_parameters(oss).total() ==
          Approx(active).epsilon(0.005));
  }
  // DeepSeek-V3's README_WEIGHTS.md: 36.7 B active with one of embedding and head.
  const Architecture v3 = load_architecture("deepseek_v3");
  CHECK(active_parameters(v3) - embedding_parameters(v3).total() == Approx(36.7e9).epsilon(0.005));
  // An MTP module: 11.5 B; MPT's positions are as many as the sequence is long.
  CHECK(mtp_parameters(v3).total() == Approx(11.5e9).epsilon(0.01));
  Architecture mpt = load_architecture("mpt_7b");
  mpt.learned_positions = 65536;
  CHECK(main_parameters(mpt).total() == 6918905856);
}

TEST_CASE("DeepSeek-V3's parts are as its release says", "[architecture]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  CHECK(layer_parameters(v3, 3).routed == Approx(256 * 44.04e6).epsilon(0.001));
  CHECK(layer_parameters(v3, 2).routed == 0);
  CHECK(embedding_parameters(v3).total() == Approx(0.9e9).epsilon(0.04));
  CHECK(active_matrix_parameters(v3) == Approx(36.7e9).epsilon(0.01));
}

TEST_CASE("tensor parallelism splits what it can and no further than heads", "[architecture]") {
  const Architecture llama = load_architecture("llama3.1_8b");
  const double h = 4096, kv = 1024, mlp = 14336;  // llama3.1_8b.yaml
  const ParameterCount one = layer_parameters(llama, 0);
  CHECK(one.low_precision == 2 * h * h + 2 * h * kv + 3 * h * mlp);
  CHECK(one.high_precision == 2 * h);
  const ParameterCount eight = layer_parameters(llama, 0, 8);
  CHECK(eight.low_precision == one.low_precision / 8);
  CHECK(eight.high_precision == 2 * h);  // norms are on every rank
  // 16 ranks: 8 heads of keys and values, two ranks to each.
  CHECK(layer_parameters(llama, 0, 16).low_precision ==
        (2 * h * h + 3 * h * mlp) / 16 + 2 * h * kv / 8);
  CHECK(head_parameters(llama, 8).high_precision == 128256 * h / 8 + h);
}

TEST_CASE("half of the scores are counted when causal", "[architecture]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  const double causal = training_flops_per_token(v3, 4096, true);
  const double full = training_flops_per_token(v3, 4096, false);
  // 3 passes, 2 FLOPs, 61 layers, 128 heads of 192 + 128, half of 4096 keys.
  CHECK(full - causal == Approx(3.0 * 2 * 61 * 128 * 320 * 2048));
  CHECK(causal - (full - causal) == Approx(6 * active_matrix_parameters(v3)));
}

TEST_CASE("FLOPs are what publications count", "[architecture]") {
  // arXiv 2205.05198, equation 9 without recomputation, an iteration of B sequences:
  // 72 B L s h^2 (1 + s / 6h + v / 12hL); its scores are not halved.
  const auto megatron = [](double layers, double s, double h, double v) {
    return 72 * layers * h * h * (1 + s / (6 * h) + v / (12 * h * layers));
  };
  CHECK(training_flops_per_token(load_architecture("gpt3_175b"), 2048, false) ==
        Approx(megatron(96, 2048, 12288, 51200)).epsilon(1e-9));
  CHECK(training_flops_per_token(load_architecture("gpt_1t"), 2048, false) ==
        Approx(megatron(128, 2048, 25600, 51200)).epsilon(1e-9));
  // facts of arXiv 2505.09343, table 2: 250 GFLOP a token of 4,096 for DeepSeek-V3, causal; 2448
  // for a dense 405B; 394 for a dense 72B.
  CHECK(training_flops_per_token(load_architecture("deepseek_v3"), 4096, true) ==
        Approx(250e9).epsilon(0.01));
  CHECK(training_flops_per_token(load_architecture("llama3.1_405b"), 4096, true) ==
        Approx(2448e9).epsilon(0.02));
}

TEST_CASE("windows, chunks and sparse attention count the tokens that are seen", "[architecture]") {
  LayerSpec layer;
  GroupedQueryAttention g{.heads = 2, .kv_heads = 1, .qk_dim = 8, .v_dim = 4, .window = 64};
  const auto seen = [&] {
    layer.attention = g;
    return attention_products(layer, 256, true) / (2 * 12);
  };
  CHECK(seen() == 64 - 64.0 * 64 / (2 * 256));  // the first 64 queries see half a window
  g.chunked = true;
  CHECK(seen() == 32);  // every chunk is a small triangle
  g.window = 512;
  CHECK(seen() == 128);  // a window longer than the sequence
  g.window = 0;
  CHECK(seen() == 128);
  LatentAttention m{.heads = 2,
                    .query_rank = 8,
                    .key_value_rank = 8,
                    .nope_dim = 4,
                    .rope_dim = 4,
                    .value_dim = 4,
                    .sparse = true,
                    .indexes = true,
                    .indexer = {.heads = 3, .dim = 16, .top_k = 64}};
  layer.attention = m;
  // Scores of the chosen tokens, and the indexer's of all.
  CHECK(attention_products(layer, 256, true) == 56 * 2 * 12 + 128 * 3 * 16);
  m.indexes = false;
  layer.attention = m;
  CHECK(attention_products(layer, 256, true) == 56 * 2 * 12);
}

TEST_CASE("cache bytes a token are as published", "[architecture]") {
  const auto kib = [](const char* name) {
    const CacheElements elements = cache_elements(load_architecture(name));
    return (elements.always + elements.in_window) * 2 / 1024;
  };
  // arXiv 2505.09343, table 1, BF16: 70.272 KB for DeepSeek-V3, 516.096 KB for Llama-3.1 405B.
  CHECK(kib("deepseek_v3") == Approx(70.272e3 / 1024).epsilon(1e-9));
  CHECK(kib("llama3.1_405b") == Approx(516.096e3 / 1024).epsilon(1e-9));
  CHECK(kib("gpt3_175b") == 96 * 2 * 12288 * 2 / 1024.0);
  const CacheElements oss = cache_elements(load_architecture("gpt_oss_120b"));
  CHECK(oss.always == oss.in_window);  // every other layer
  // One key of 128 elements a layer (DeepSeek-V3.2), and only in 21 of 78 layers of GLM-5.2.
  CHECK(cache_elements(load_architecture("deepseek_v3.2")).index == 61 * 128);
  CHECK(cache_elements(load_architecture("glm_5.2")).index == 21 * 128);
}

}  // namespace
}  // namespace tessera::workload
