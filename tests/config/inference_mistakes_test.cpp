#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <string>
#include <vector>

#include "models/serving/legality.hpp"
#include "models/serving/memory.hpp"
#include "sim/app/disaggregation_scenario.hpp"
#include "sim/app/scenario.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/temporary_folder.hpp"

namespace tessera::app {
namespace {

/// What the wrong scenarios differ from, on line 2 and below.
constexpr const char* kDecode = R"(job: decode
architecture: deepseek_v3
cluster: h800_2048_multiplane
precision: {recipe: fp8_block, attention: bf16, kv_cache: bf16}
batch: {sequences: 128, context: 4096}
parallelism: {tensor: 1, expert: 128}
serving: {two_batch_overlap: true, dispatcher: deepep_low_latency}
routing: {kind: uniform, node_limit: 4}
cost: {prices: prices.yaml}
)";
constexpr const char* kPrefill = R"(job: prefill
architecture: deepseek_v3
cluster: h800_2048_multiplane
precision: {recipe: fp8_block, attention: bf16, kv_cache: bf16}
batch: {prompt: 4096, tokens: 16384}
parallelism: {tensor: 1, expert: 32}
serving: {two_batch_overlap: true, dispatcher: deepep_normal, communication_sms: 20}
routing: {kind: uniform, node_limit: 4}
cost: {prices: prices.yaml}
)";
constexpr const char* kPools = R"(job: disaggregation
disaggregation: {prefill: prefill.yaml, decode: decode.yaml, prompt: 4096, output: 1024}
)";

/// Scenarios in a folder of their own; messages name them without it.
class Folder {
 public:
  Folder() {
    write("decode.yaml", kDecode);
    write("prefill.yaml", kPrefill);
    write("pools.yaml", kPools);
  }

  /// Returns its path.
  std::string write(const std::string& name, const std::string& text) const {
    folder_.write(name, text);
    return folder_.at(name).string();
  }
  /// What `read` says is wrong, one mistake a line, or why it refuses; "" when nothing is.
  [[nodiscard]] std::string said(const std::function<void()>& read) const {
    std::string text;
    try {
      read();
    } catch (const core::ConfigError& error) {
      text = error.what();
    } catch (const core::Refusal& refusal) {
      text = core::to_string(refusal.kind()) + ": " + refusal.what();
    }
    return folder_.without_path(std::move(text));
  }

 private:
  testing::TemporaryFolder folder_;
};

struct Mistake {
  const char* base;  ///< decode, prefill or pools
  std::string change;
  std::string expected;
};

std::string said_of(const Mistake& mistake) {
  const Folder folder;
  const std::string base = mistake.base;
  const std::string path =
      folder.write("s.yaml", "extends: " + base + "\n" + mistake.change + "\n");
  return folder.said([&] {
    if (base == "pools") return static_cast<void>(read_disaggregation(path, {}));
    const Scenario scenario = read_scenario(path);
    serving::require_legal(scenario.inference());
    const serving::InferenceJob& job = scenario.inference();
    if (job.phase == serving::Phase::decode)
      serving::InferenceMemory(serving::memory_job(job))
          .require_fit(job.sequences, static_cast<double>(job.context));
  });
}

const std::vector<Mistake> kMistakes{
    {"decode", "parallelism: {tensor: 48}",
     "s.yaml:2:23: error: parallelism.tensor: found 48; expected a divisor of the 128 attention "
     "heads, for example 32 (architecture: decode.yaml:2:15)\ns.yaml:2:23: error: "
     "parallelism.tensor: found 48; expected a divisor of the 128 GPUs that share the experts "
     "(parallelism.expert: decode.yaml:6:34)"},
    {"decode", "parallelism: {expert: 48}",
     "s.yaml:2:23: error: parallelism.expert: found 48; expected a divisor of the 256 experts, for "
     "example 32 (architecture: decode.yaml:2:15)"},
    {"decode", "parallelism: {expert: 4096}",
     "s.yaml:2:23: error: parallelism.expert: found 4096; expected a divisor of the 256 experts, "
     "for example 256 (architecture: decode.yaml:2:15)\ns.yaml:2:23: error: parallelism.expert: an "
     "instance of 4096 GPUs does not fit the cluster's 2048 (cluster: decode.yaml:3:10)"},
    {"decode", "parallelism: {tensor: 16, expert: 8}",
     "s.yaml:2:23: error: parallelism.tensor: found 16; expected a divisor of the 8 GPUs that "
     "share the experts (parallelism.expert: s.yaml:2:35)"},
    {"decode", "architecture: llama3.1_70b",
     "decode.yaml:6:34: error: parallelism.expert: found 128; expected 1, as llama3.1_70b has no "
     "experts (architecture: s.yaml:2:15)\ndecode.yaml:7:30: error: serving.two_batch_overlap: "
     "found true; expected false where no expert ranks exchange tokens (parallelism.expert: "
     "decode.yaml:6:34)"},
    {"decode", "parallelism: {pipeline: 2}",
     "outside_model: pipeline parallelism of inference is not modelled; expected pipeline: 1"},
    {"decode", "parallelism: {context: 2}",
     "s.yaml:2:15: error: parallelism.context: found an unknown key; known are tensor, expert, "
     "expert_tensor or pipeline"},
    {"decode", "parallelism: {tensor: 0}",
     "s.yaml:2:23: error: parallelism.tensor: found '0'; expected an integer in [1, 10000000]"},
    {"decode", "routing: {redundant_experts: 30}",
     "s.yaml:2:30: error: routing.redundant_experts: found with linear placement; expected "
     "placement: eplb"},
    {"decode", "routing: {redundant_experts: 30, placement: eplb}",
     "decode.yaml:6:34: error: parallelism.expert: found 128; expected a divisor of the 286 "
     "experts, redundant ones included, for example 26 (architecture: decode.yaml:2:15)"},
    {"decode", "batch: {sequences: 0}",
     "s.yaml:2:20: error: batch.sequences: found '0'; expected an integer in [1, 1000000]"},
    {"decode", "batch: {sequences: 1}",
     "decode.yaml:7:30: error: serving.two_batch_overlap: found true; expected at least 2 "
     "sequences to make two batches of (batch.sequences: s.yaml:2:20)"},
    {"decode", "batch: {sequences: 512}",
     "does_not_fit: 512 sequences of 4096 tokens need 196.7 GB of a GPU's 80.0 GB (kv_cache 148.5, "
     "weights 15.2, held_back 8.0, exchange_buffers 7.6, experts 5.1, activations 4.2, "
     "bf16_weights 3.9, absorbed_projections 2.0, cuda_context 1.9, workspace 0.2 GB); at most 139 "
     "fit"},
    {"decode", "batch: {prompt: 4096}",
     "s.yaml:2:9: error: batch.prompt: found an unknown key; known are sequences or context"},
    {"decode", "batch: {context: null}",
     "s.yaml:2:1: error: batch.context: missing; expected an integer in [1, 100000000]"},
    {"decode", "precision: {kv_cache: fp4}",
     "s.yaml:2:23: error: precision.kv_cache: found 'fp4'; expected one of bf16 or fp8 (did you "
     "mean 'fp8'?)"},
    {"decode", "precision: {attention: fp8_block}",
     "s.yaml:2:24: error: precision.attention: found 'fp8_block'; expected one of bf16 or fp8"},
    {"decode", "precision: {attention: fp8}",
     "s.yaml:2:24: error: precision.attention: found fp8; expected bf16, as decode multiplies what "
     "the cache holds (precision.kv_cache: decode.yaml:4:59)"},
    {"decode", "precision: {recipe: int4}",
     "s.yaml:2:21: error: precision.recipe: found 'int4'; expected one of bf16, fp8, fp8_block, "
     "mxfp8 or nvfp4"},
    {"decode", "serving: {dispatcher: deepep_lowlatency}",
     "s.yaml:2:23: error: serving.dispatcher: found 'deepep_lowlatency'; expected one of "
     "deepep_low_latency, deepep_normal, all_to_all or all_reduce (did you mean "
     "'deepep_low_latency'?)"},
    {"decode", "serving: {dispatcher: all_reduce}",
     "decode.yaml:7:30: error: serving.two_batch_overlap: found true; expected false where no "
     "expert ranks exchange tokens (parallelism.expert: decode.yaml:6:34)"},
    {"decode",
     "parallelism: {tensor: 8, expert: 1, expert_tensor: 8}\nserving: {two_batch_overlap: false}",
     "decode.yaml:7:48: error: serving.dispatcher: found deepep_low_latency; expected all_reduce "
     "where no expert ranks exchange tokens (parallelism.expert: s.yaml:2:34)"},
    {"decode", "serving: {communication_sms: 20}",
     "s.yaml:2:30: error: serving.communication_sms: found 20; expected 0, as exchanges of "
     "deepep_low_latency take none (serving.dispatcher: decode.yaml:7:48)"},
    {"decode", "serving: {host_overhead: 300}",
     "s.yaml:2:26: error: serving.host_overhead: found '300', which has no unit; expected a time "
     "in ps, ns, us, ms or s"},
    {"decode", "serving: {speculation: {tokens: 1, acceptance: 1.5}}",
     "s.yaml:2:48: error: serving.speculation.acceptance: found '1.5'; expected a number in [0, "
     "1]"},
    {"decode", "serving: {speculation: {tokens: 1}}",
     "s.yaml:2:11: error: serving.speculation.acceptance: missing; expected a number in [0, 1]"},
    {"decode", "architecture: kimi_k2\nserving: {speculation: {tokens: 1, acceptance: 0.8}}",
     "s.yaml:3:11: error: serving.speculation: kimi_k2 has no module that predicts several tokens "
     "(architecture: s.yaml:2:15)"},
    {"decode", "serving: {kv_block: 0}",
     "s.yaml:2:21: error: serving.kv_block: found '0'; expected an integer in [1, 65536]"},
    {"decode", "serving: {memory_utilisation: 1.2}",
     "s.yaml:2:31: error: serving.memory_utilisation: found '1.2'; expected a number in [0.01, 1]"},
    {"decode", "serving: {two_batch_overlaps: true}",
     "s.yaml:2:11: error: serving.two_batch_overlaps: found an unknown key (did you mean "
     "'two_batch_overlap'?)"},
    {"decode", "schedule: {kind: dualpipe}",
     "s.yaml:2:1: error: schedule: found an unknown key; known are job, cluster, kernels, "
     "architecture, seed, routing, precision, parallelism, batch, serving, cost, published or "
     "title"},
    {"decode", "sensitivity: true",
     "s.yaml:2:1: error: sensitivity: found an unknown key; known are job, cluster, kernels, "
     "architecture, seed, routing, precision, parallelism, batch, serving, cost, published or "
     "title"},
    {"decode", "job: serving",
     "outside_model: job serving is not simulated by itself; training, prefill and decode are"},
    {"prefill", "batch: {prefix: 4096}",
     "s.yaml:2:17: error: batch.prefix: found 4096; expected fewer than the 4096 tokens of the "
     "prompt (batch.prompt: prefill.yaml:5:17)"},
    {"prefill", "batch: {tokens: 10000}",
     "s.yaml:2:17: error: batch.tokens: found 10000; expected whole prompts of 4096 new tokens, "
     "for example 8192 (batch.prompt: prefill.yaml:5:17)"},
    {"prefill", "serving: {speculation: {tokens: 1, acceptance: 0.8}}",
     "s.yaml:2:11: error: serving.speculation: found in a prefill; expected in a decode (job: "
     "prefill.yaml:1:6)"},
    {"prefill", "serving: {communication_sms: 132}",
     "s.yaml:2:30: error: serving.communication_sms: found '132'; expected an integer in [0, 131]"},
    {"prefill", "serving: {communication_sms: 0}",
     "s.yaml:2:30: error: serving.communication_sms: found 0; expected at least 1, as exchanges of "
     "deepep_normal take SMs (serving.dispatcher: prefill.yaml:7:48)"},
    {"prefill", "batch: {context: 4096}",
     "s.yaml:2:9: error: batch.context: found an unknown key; known are prompt, tokens or prefix"},
    {"pools", "disaggregation: {prefill: decode.yaml}",
     "s.yaml:2:27: error: disaggregation.prefill: found 'decode.yaml', whose job is 'decode'; "
     "expected a prefill scenario"},
    {"pools", "disaggregation: {decode: decod.yaml}",
     "s.yaml:2:26: error: disaggregation.decode: found 'decod.yaml', which does not exist"},
    {"pools", "disaggregation: {output: 1}",
     "s.yaml:2:26: error: disaggregation.output: found '1'; expected an integer in [2, 100000000]"},
    {"pools", "disaggregation: {transfer: layerwise}",
     "s.yaml:2:28: error: disaggregation.transfer: found 'layerwise'; expected one of layer_wise "
     "or after_prefill (did you mean 'layer_wise'?)"},
    {"pools", "disaggregation: {gpus: 4096}",
     "s.yaml:2:24: error: disaggregation.gpus: found 4096; expected at most the 2048 of the pools' "
     "clusters"},
    {"pools", "disaggregation: {prompt: 5000}",
     "prefill.yaml:5:31: error: batch.tokens: found 16384; expected whole prompts of 5000 new "
     "tokens, for example 15000 (batch.prompt: s.yaml:2:26)"},
    {"pools", "cluster: h800_2048_multiplane",
     "s.yaml:2:1: error: cluster: found an unknown key; known are job, disaggregation or title"},
};

TEST_CASE("impossible and malformed inference is refused with what was expected",
          "[config][inference]") {
  for (const Mistake& mistake : kMistakes) {
    INFO(mistake.base << ": " << mistake.change);
    CHECK(said_of(mistake) == mistake.expected);
  }
}

TEST_CASE("what the wrong scenarios differ from is right", "[config][inference]") {
  CHECK(said_of({"decode", "seed: 1", ""}) == "");
  CHECK(said_of({"prefill", "seed: 1", ""}) == "");
  CHECK(said_of({"pools", "title: two", ""}) == "");
}

TEST_CASE("pools share one cache", "[config][inference]") {
  const Folder folder;
  folder.write("other.yaml", "extends: decode\nprecision: {kv_cache: fp8}\n");
  const std::string path =
      folder.write("s.yaml", "extends: pools\ndisaggregation: {decode: other.yaml}\n");
  CHECK(folder.said([&] { static_cast<void>(read_disaggregation(path, {})); }) ==
        "pools.yaml:2:27: error: disaggregation.prefill: found a cache in bf16; expected the "
        "decode pool's, fp8 (disaggregation.decode: s.yaml:2:26)");
}

}  // namespace
}  // namespace tessera::app
