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

TEST_CASE("several mistakes are told together", "[architecture]") {
  std::string text = replaced("hidden: 512", "hiden: 512");
  text += "extra: 1\n";
  const std::string found = mistakes(text);
  CHECK(found.find("hidden") != std::string::npos);
  CHECK(found.find("extra") != std::string::npos);
}

}  // namespace
}  // namespace tessera::workload
