#include <catch2/catch_test_macros.hpp>
#include <string>

#include "models/workload/architecture_file.hpp"
#include "sim/core/config.hpp"

namespace tessera::workload {
namespace {

const std::string kGood = R"(hidden: 512
layers: 4
dense_layers: 1
dense_intermediate: 2048
vocabulary: 32000
mtp_modules: 0
attention: {kind: mla, heads: 8, query_rank: 128, key_value_rank: 64, nope_dim: 32, rope_dim: 16, value_dim: 32}
experts:
  routed: 16
  shared: 1
  top_k: 2
  intermediate: 256
  groups: 4
  group_limit: 2
  scoring: sigmoid
)";

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

/// All messages, a line each; empty when the text is fine.
std::string mistakes(const std::string& text) {
  try {
    const core::ConfigDocument document =
        core::ConfigDocument::from_text(text, "a.yaml", {.kind = "architecture"});
    static_cast<void>(read_architecture(document.root(), "a"));
    document.finish();
  } catch (const core::ConfigError& error) {
    std::string lines;
    for (const core::Diagnostic& d : error.diagnostics()) lines += d.to_string() + "\n";
    return lines;
  }
  return {};
}

TEST_CASE("a well-formed architecture has no mistakes", "[architecture]") {
  CHECK(mistakes(kGood).empty());
}

TEST_CASE("mistakes in an architecture are told where they are", "[architecture]") {
  CHECK(mistakes(replaced("hidden: 512", "hidden: wide")) ==
        "a.yaml:1:9: error: hidden: found 'wide'; expected an integer in [1, 1048576]\n");
  CHECK(mistakes(replaced("kind: mla", "kind: linear")) ==
        "a.yaml:7:19: error: attention.kind: found 'linear'; expected one of gqa or mla\n");
  CHECK(mistakes(replaced("dense_layers: 1", "dense_layers: 5")) ==
        "a.yaml:3:15: error: dense_layers: found 5; expected at most the 4 layers (layers: "
        "a.yaml:2:9)\n");
  CHECK(mistakes(replaced("top_k: 2", "top_k: 20")) ==
        "a.yaml:11:10: error: experts.top_k: found 20; expected at most the 16 routed experts "
        "(experts.routed: a.yaml:9:11)\n");
  CHECK(mistakes(replaced("groups: 4", "groups: 3")) ==
        "a.yaml:13:11: error: experts.groups: found 3; expected a divisor of the 16 routed experts "
        "(experts.routed: a.yaml:9:11)\n");
}

const std::string kDense = R"(hidden: 512
layers: 4
vocabulary: 32000
dense_intermediate: 2048
attention: {kind: gqa, heads: 8, kv_heads: 2, head_dim: 64, window: 128, reach: [window, full]}
)";

std::string dense_with(const std::string& from, const std::string& to) {
  std::string text = kDense;
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return mistakes(text.replace(at, from.size(), to));
}

TEST_CASE("mistakes in grouped-query attention and dense layers are told", "[architecture]") {
  CHECK(dense_with("", "").empty());
  CHECK(dense_with("kv_heads: 2", "kv_heads: 3") ==
        "a.yaml:5:44: error: attention.kv_heads: found 3; expected a divisor of the 8 heads "
        "(attention.heads: a.yaml:5:31)\n");
  CHECK(dense_with("window: 128, ", "") ==
        "a.yaml:5:61: error: attention.reach: expected a window beside it\n");
  CHECK(dense_with("window: 128, reach: [window, full]", "chunked: true") ==
        "a.yaml:5:70: error: attention.chunked: expected a window beside it\n");
  CHECK(dense_with("[window, full]", "[window, some]") ==
        "a.yaml:5:90: error: attention.reach.1: found 'some'; expected one of full, window or "
        "full_no_rope\n");
  CHECK(dense_with("head_dim: 64", "head_dim: 64, rotary_dim: 65") ==
        "a.yaml:5:73: error: attention.rotary_dim: found 65; expected at most the 64 elements of a "
        "head (attention.head_dim: a.yaml:5:57)\n");
  CHECK(dense_with("dense_intermediate: 2048\n", "") ==
        "a.yaml:1:1: error: dense_intermediate: is missing; layer 0 has no experts\n");
  CHECK(dense_with("vocabulary: 32000", "vocabulary: 32000\npositions: learned") ==
        "a.yaml:1:1: error: learned_positions: missing; expected an integer in [1, 4294967296]\n");
  CHECK(dense_with("dense_intermediate", "activation: tanh\ndense_intermediate") ==
        "a.yaml:4:13: error: activation: found 'tanh'; expected one of swiglu, geglu, gelu or "
        "relu\n");
}

TEST_CASE("mistakes in an indexer and a vision encoder are told", "[architecture]") {
  const auto with = [](const std::string& indexer) {
    return mistakes(replaced("value_dim: 32}", "value_dim: 32, indexer: " + indexer + "}"));
  };
  CHECK(with("{heads: 4, dim: 32, top_k: 64, layers: [0, 2]}").empty());
  CHECK(with("{heads: 4, dim: 32, top_k: 64, layers: [1, 2]}") ==
        "a.yaml:7:154: error: attention.indexer.layers: expected 0 first: a layer without an "
        "indexer takes its tokens from one before it\n");
  CHECK(with("{heads: 4, dim: 32, top_k: 64, layers: [0, 4]}") ==
        "a.yaml:7:154: error: attention.indexer.layers: found 4; expected layers in [0, 3]\n");
  CHECK(mistakes(kGood + "vision: {layers: 2, hidden: 30, heads: 4, intermediate: 64, channels: 3, "
                         "patch: 16, temporal_patch: 2, merge: 2, positions: 4, output: 512, taps: "
                         "0}\n") ==
        "a.yaml:16:40: error: vision.heads: found 4; expected a divisor of the 30 hidden elements "
        "(vision.hidden: a.yaml:16:29)\n");
}

TEST_CASE("several mistakes are told together", "[architecture]") {
  std::string text = replaced("hidden: 512", "hiden: 512");
  text += "extra: 1\n";
  const std::string found = mistakes(text);
  CHECK(found.find("hidden") != std::string::npos);
  CHECK(found.find("extra") != std::string::npos);
}

}  // namespace
}  // namespace tessera::workload
