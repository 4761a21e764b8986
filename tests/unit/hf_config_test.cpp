#include "models/workload/hf_config.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "models/workload/architecture_file.hpp"
#include "models/workload/architecture_yaml.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/unit/hf_configs.hpp"

namespace tessera::workload {
namespace {

using Catch::Matchers::ContainsSubstring;

HfImport import_text(const std::string& text) {
  const core::ConfigDocument document =
      core::ConfigDocument::from_text(text, "config.json", {.kind = "config.json"});
  HfImport import = import_hf_config(document.root(), "config");
  document.finish();
  return import;
}

/// All messages, a line each; empty when the text is fine.
std::string mistakes(const std::string& text) {
  try {
    static_cast<void>(import_text(text));
  } catch (const core::ConfigError& error) {
    std::string lines;
    for (const core::Diagnostic& d : error.diagnostics()) lines += d.to_string() + "\n";
    return lines;
  }
  return {};
}

std::string config(const std::string& name) {
  for (const auto& [known, text] : published_hf_configs()) {
    if (known == name) return text;
  }
  FAIL("no configuration of " << name);
  return {};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST_CASE("a shipped architecture is what the import of its configuration gives", "[hf]") {
  for (const auto& [name, text] : published_hf_configs()) {
    INFO(name);
    CHECK(import_text(text).architecture == load_architecture(name));
  }
}

TEST_CASE("an imported architecture is written as a file that reads back the same", "[hf]") {
  for (const auto& [name, text] : published_hf_configs()) {
    INFO(name);
    const HfImport import = import_text(text);
    const core::ConfigDocument document = core::ConfigDocument::from_text(
        architecture_yaml(import.architecture, import.sources), "a.yaml", {.kind = "architecture"});
    CHECK(read_architecture(document.root(), name) == import.architecture);
    document.finish();
  }
}

TEST_CASE("every number of an imported file says which field it is", "[hf]") {
  for (const auto& [name, text] : published_hf_configs()) {
    const HfImport import = import_text(text);
    std::istringstream lines(architecture_yaml(import.architecture, import.sources));
    for (std::string line; std::getline(lines, line);) {
      INFO(name << ": " << line);
      CHECK((line.ends_with(':') || line.find("  # ") != std::string::npos));
    }
  }
}

TEST_CASE("windows, chunks and shared indexers fall on the layers that the configuration names",
          "[hf]") {
  const Architecture oss = import_text(config("gpt_oss_20b")).architecture;
  const auto window = [](const Architecture& a, std::int64_t layer) {
    return std::get<GroupedQueryAttention>(a.layer(layer).attention).window;
  };
  CHECK(window(oss, 0) == 128);
  CHECK(window(oss, 1) == 0);
  CHECK(window(oss, 22) == 128);
  const Architecture maverick = import_text(config("llama4_maverick")).architecture;
  CHECK(window(maverick, 2) == 8192);
  CHECK(window(maverick, 3) == 0);
  CHECK(std::get<GroupedQueryAttention>(maverick.layer(3).attention).rotary_dim == 0);
  CHECK(maverick.kind(0) == LayerKind::dense);
  CHECK(maverick.kind(1) == LayerKind::moe);
  const Architecture glm = import_text(config("glm_5.2")).architecture;
  const auto indexes = [&](std::int64_t layer) {
    return std::get<LatentAttention>(glm.layer(layer).attention).indexes;
  };
  for (const std::int64_t layer : {0, 1, 2, 6, 10, 74}) CHECK(indexes(layer));
  for (const std::int64_t layer : {3, 5, 7, 77}) CHECK_FALSE(indexes(layer));
}

TEST_CASE("a window of every layer, biases and tied tables are read where families have them",
          "[hf]") {
  const std::string head =
      "\"hidden_size\": 4096, \"num_hidden_layers\": 2, \"vocab_size\": 32000, "
      "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"intermediate_size\": 14336}";
  const Architecture mistral =
      import_text("{\"model_type\": \"mistral\", \"sliding_window\": 4096, " + head).architecture;
  CHECK(std::get<GroupedQueryAttention>(mistral.layer(1).attention).window == 4096);
  const Architecture qwen2 =
      import_text("{\"model_type\": \"qwen2\", \"tie_word_embeddings\": true, " + head)
          .architecture;
  CHECK(qwen2.tied_embeddings);
  CHECK(std::get<GroupedQueryAttention>(qwen2.attention).qkv_bias);
  CHECK_FALSE(std::get<GroupedQueryAttention>(qwen2.attention).output_bias);
  CHECK(mistakes("{\"model_type\": \"llama\", \"num_hidden_layers\": 5000, " +
                 replaced(head, "\"num_hidden_layers\": 2, ", "")) ==
        "config.json:1:46: error: num_hidden_layers: found '5000'; expected an integer in [1, "
        "4096]\n");
}

TEST_CASE("a field that is not understood is an error that names it", "[hf]") {
  const std::string llama = config("llama3.1_8b");
  CHECK(mistakes(llama).empty());
  CHECK(mistakes(
            replaced(llama, "{\"attention_bias\"", "{\"residual_scale\": 2, \"attention_bias\"")) ==
        "config.json:1:20: error: residual_scale: a field that the import of llama does not "
        "understand; it may change what is computed\n");
  CHECK(mistakes(replaced(llama, "{\"attention_bias\"",
                          "{\"rope_theta\": 1e6, \"attention_bias\"")) == "");
}

TEST_CASE("mistakes in a configuration are told where they are", "[hf]") {
  const std::string llama =
      "{\"model_type\": \"llama\",\n\"hidden_size\": 4096,\n\"num_hidden_layers\": 32,\n"
      "\"vocab_size\": 128256,\n\"num_attention_heads\": 32,\n\"intermediate_size\": 14336,\n"
      "\"hidden_act\": \"silu\"}";
  REQUIRE(mistakes(llama).empty());
  const auto with = [&](const std::string& from, const std::string& to) {
    return mistakes(replaced(llama, from, to));
  };
  CHECK(with("4096", "\"wide\"") ==
        "config.json:2:16: error: hidden_size: found 'wide' in quotes; expected an integer in [1, "
        "16777216]\n");
  CHECK(with("\"hidden_size\": 4096,\n", "") ==
        "config.json:1:1: error: hidden_size: missing; expected an integer in [1, "
        "16777216]\n");
  CHECK(with("silu", "tanh") ==
        "config.json:7:15: error: hidden_act: found 'tanh'; expected silu: MLPs are SwiGLU\n");
  CHECK(with("\"hidden_act\": \"silu\"", "\"attention_dropout\": 0.1") ==
        "config.json:7:22: error: attention_dropout: expected 0: dropout is not modelled\n");
  CHECK(with("\"hidden_act\": \"silu\"", "\"use_sliding_window\": true") ==
        "config.json:7:23: error: use_sliding_window: found true; expected false: windows of the "
        "last layers only are not described\n");
  CHECK(with("\"hidden_act\": \"silu\"", "\"layer_types\": [\"full_attention\"]") ==
        "config.json:7:1: error: layer_types: found 1 entries; expected 32, one a layer\n");
  CHECK_THAT(with("llama", "lama"),
             ContainsSubstring("config.json:1:16: error: model_type: found 'lama'; expected one of "
                               "llama, ") &&
                 ContainsSubstring("(did you mean 'llama'?)"));
  CHECK_THAT(mistakes("{\"hidden_size\": 4096}"),
             ContainsSubstring("config.json:1:1: error: model_type: missing"));
}

TEST_CASE("latent attention's fields must agree with each other", "[hf]") {
  const std::string v3 = config("deepseek_v3");
  CHECK_THAT(mistakes(replaced(v3, "\"num_key_value_heads\": 128", "\"num_key_value_heads\": 8")),
             ContainsSubstring("num_key_value_heads: found 8; expected 128: latent attention has "
                               "keys and values a query head"));
  CHECK_THAT(mistakes(replaced(v3, "noaux_tc", "random")),
             ContainsSubstring("topk_method: found 'random'; expected one of noaux_tc, "
                               "group_limited_greedy or greedy"));
  CHECK_THAT(mistakes(replaced(config("glm_5"), "\"qk_head_dim\": 256", "\"qk_head_dim\": 192")),
             ContainsSubstring("qk_head_dim: found 192; expected 256: the sum of qk_nope_head_dim "
                               "and qk_rope_head_dim"));
}

TEST_CASE("layers that cannot be described are refused by name", "[hf]") {
  const auto reason = [](const std::string& model_type) {
    try {
      static_cast<void>(import_text("{\"model_type\": \"" + model_type + "\"}"));
    } catch (const core::Refusal& refusal) {
      return std::string(refusal.what());
    }
    return std::string();
  };
  CHECK_THAT(reason("qwen3_5_moe"), ContainsSubstring("linear attention"));
  CHECK_THAT(reason("kimi_k3"), ContainsSubstring("delta attention"));
  CHECK_THAT(reason("deepseek_v4"),
             ContainsSubstring("compressed attention") && ContainsSubstring("hyper-connections"));
  CHECK_THAT(reason("minimax_m3"), ContainsSubstring("sparse_attention_config"));
}

/// The whole published files, where a folder of them is at hand.
TEST_CASE("whole configurations have no field that is not accounted for", "[hf]") {
  const char* folder = std::getenv("TESSERA_HF_CONFIGS");
  if (folder == nullptr) SKIP("TESSERA_HF_CONFIGS names no folder");
  const std::set<std::string> refused{"qwen3_5_moe", "kimi_k3", "deepseek_v4", "minimax_m3"};
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    INFO(entry.path());
    try {
      const HfImport import = load_hf_config(entry.path().string());
      CHECK(import.architecture.layers > 0);
    } catch (const core::Refusal& refusal) {
      const std::string what = refusal.what();
      CHECK(refused.contains(what.substr(0, what.find(' '))));
    }
  }
}

}  // namespace
}  // namespace tessera::workload
