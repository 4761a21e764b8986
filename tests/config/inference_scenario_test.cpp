#include <catch2/catch_test_macros.hpp>
#include <string>

#include "sim/app/scenario.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/config/mistakes.hpp"
#include "tests/temporary_folder.hpp"

/// Mistakes in prefill and decode scenarios, each with its message.
namespace tessera::app {
namespace {

constexpr const char* kDecode = R"(job: decode
architecture: deepseek_v3
cluster: h800_2048_multiplane
precision: {recipe: fp8_block}
batch:
  sequences: 64
  context: 4096
parallelism:
  tensor: 1
  expert: 128
serving:
  two_batch_overlap: true
cost: {prices: prices, rental: 2 USD/GPU/h}
)";

constexpr const char* kPrefill = R"(job: prefill
architecture: deepseek_v3
cluster: h800_2048_multiplane
precision: {recipe: fp8_block}
batch:
  prompt: 4096
  tokens: 16384
  prefix: 0
parallelism:
  expert: 32
cost: {prices: prices, rental: 2 USD/GPU/h}
)";

/// What reading `text` with changes says is wrong, one mistake a line; the file is "s.yaml".
std::string mistakes(const std::string& text, const std::vector<std::string>& set = {}) {
  const testing::TemporaryFolder folder;
  folder.write("s.yaml", text);
  return folder.without_path(config_test::messages_of([&] {
    (void)read_scenario(folder.at("s.yaml").string(), {set, std::nullopt});
  }));
}

std::string with(std::string text, const std::string& line, const std::string& instead) {
  const std::size_t at = text.find(line);
  REQUIRE(at != std::string::npos);
  return text.replace(at, line.size(), instead);
}

TEST_CASE("inference scenarios are read with their defaults", "[config][scenario]") {
  CHECK(mistakes(kDecode).empty());
  CHECK(mistakes(kPrefill).empty());
  const Scenario decode = read_scenario("deepseek_v3_decode_h800");
  CHECK(decode.inference().sequences == 128);
  CHECK(decode.inference().split.path == workload::ExpertPath::low_latency);
  CHECK(decode.inference().precision.dispatch == core::DataType::fp8_block);
  CHECK(decode.inference().host_overhead > core::Time{});  // of no engine: as measured ones have
  CHECK(decode.inference().unexplained > 0);
  const Scenario prefill = read_scenario("deepseek_v3_prefill_h800");
  CHECK(prefill.inference().split.path == workload::ExpertPath::normal);
  CHECK(prefill.inference().communication_sms == 24);
}

TEST_CASE("a model's gate limits its groups unless the scenario says otherwise",
          "[config][scenario]") {
  const auto limit = [](const std::string& text) {
    const testing::TemporaryFolder folder;
    folder.write("s.yaml", text);
    return read_scenario(folder.at("s.yaml").string()).inference().routing.node_limit;
  };
  const std::string plain = kDecode;
  CHECK(limit(plain) == 4);
  CHECK(limit(plain + "routing: {kind: uniform}\n") == 4);
  CHECK(limit(plain + "routing: {kind: uniform, node_limit: 0}\n") == 0);
  CHECK(limit(plain + "routing: {kind: uniform, node_limit: 2}\n") == 2);
  CHECK(limit(with(plain, "deepseek_v3", "kimi_k2")) == 0);
}

TEST_CASE("mistakes of inference scenarios are told where they are", "[config][scenario]") {
  CHECK(mistakes(with(kDecode, "sequences: 64", "sequences: 0")) ==
        "s.yaml:6:14: error: batch.sequences: found '0'; expected an integer in [1, 1000000]");
  CHECK(mistakes(with(kDecode, "  context: 4096\n", "")) ==
        "s.yaml:5:1: error: batch.context: missing; expected an integer in [1, 100000000]");
  CHECK(mistakes(with(kDecode, "tensor: 1", "tensor: 3")) ==
        "s.yaml:9:11: error: parallelism.tensor: found 3; expected a divisor of the 128 attention "
        "heads, for example 2 (architecture: s.yaml:2:15)\n"
        "s.yaml:9:11: error: parallelism.tensor: found 3; expected a divisor of the 128 GPUs that "
        "share the experts (parallelism.expert: s.yaml:10:11)");
  CHECK(mistakes(with(kDecode, "expert: 128", "expert: 96")) ==
        "s.yaml:10:11: error: parallelism.expert: found 96; expected a divisor of the 256 experts, "
        "for example 64 (architecture: s.yaml:2:15)");
  CHECK(mistakes(with(kDecode, "sequences: 64", "sequences: 1")) ==
        "s.yaml:12:22: error: serving.two_batch_overlap: found true; expected at least 2 sequences "
        "to make two batches of (batch.sequences: s.yaml:6:14)");
  CHECK(
      mistakes(with(kDecode, "expert: 128", "expert: 1")) ==
      "s.yaml:12:22: error: serving.two_batch_overlap: found true; expected false where no expert "
      "ranks exchange tokens (parallelism.expert: s.yaml:10:11)");
  CHECK(mistakes(with(kPrefill, "tokens: 16384", "tokens: 10000")) ==
        "s.yaml:7:11: error: batch.tokens: found 10000; expected whole prompts of 4096 new tokens, "
        "for example 8192 (batch.prompt: s.yaml:6:11)");
  CHECK(mistakes(with(kPrefill, "prefix: 0", "prefix: 4096")) ==
        "s.yaml:8:11: error: batch.prefix: found 4096; expected fewer than the 4096 tokens of the "
        "prompt (batch.prompt: s.yaml:6:11)");
  CHECK(mistakes(kDecode, {"serving.engine=lmdeploy"})
            .find("serving.engine: found 'lmdeploy'; expected one of trtllm, vllm or sglang") !=
        std::string::npos);
  CHECK(mistakes(kDecode, {"serving.engine_version=0.18.0"})
            .find("serving.engine_version: found without an engine; expected engine: trtllm, vllm "
                  "or sglang") != std::string::npos);
  CHECK(
      mistakes(kDecode, {"routing.kind=power_law", "routing.alpha=1.2", "routing.independent=true"})
          .find("routing.independent: found true; expected false where loads are not uniform, or "
                "placed") != std::string::npos);
  CHECK(mistakes(kDecode,
                 {"architecture=kimi_k2", "routing.node_limit=4", "routing.independent=true"})
            .find("routing.independent: found true; expected false where a node limit holds for "
                  "experts without groups") != std::string::npos);
  CHECK(mistakes(kDecode, {"precision.output=int3"}).find("precision.output: found 'int3'") !=
        std::string::npos);
  CHECK(mistakes(kDecode, {"serving.dispatcher=deepep"})
            .find("serving.dispatcher: found 'deepep'; expected one of deepep_low_latency, "
                  "deepep_normal, "
                  "all_to_all or all_reduce") != std::string::npos);
  CHECK(
      mistakes(kDecode, {"serving.host_overhead=300"}).find("serving.host_overhead: found '300'") !=
      std::string::npos);
}

}  // namespace
}  // namespace tessera::app
