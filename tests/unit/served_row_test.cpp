#include "calibrate/served_row.hpp"

#include <catch2/catch_test_macros.hpp>

#include "calibrate/served_as.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

/// One row of e2e_serving.csv; the fields after the model in the order of the header below.
ServedRow row_of(const std::string& fields) {
  const CsvTable table = CsvTable::parse(
      "gpu,model,framework,version,gemm_quant,mode,isl,osl,concurrency,batch,tp,pp,attn_dp,moe_tp,"
      "moe_ep,n_gpus,ttft_ms,tpot_ms\n" +
          fields + "\n",
      "e2e_serving.csv");
  return read_served_row(table, 0);
}

TEST_CASE("columns that agree are the layout", "[served_row]") {
  CHECK(read_layout({.gpus = 8, .tensor = 8, .expert_tensor = 8}).layout ==
        ServedLayout{.tensor = 8, .expert_tensor = 8});
  CHECK(read_layout({.gpus = 8, .tensor = 8, .expert = 8}).layout ==
        ServedLayout{.tensor = 8, .expert = 8});
  CHECK(read_layout({.gpus = 8, .attention_ranks = 8, .expert = 8}).layout ==
        ServedLayout{.attention_ranks = 8, .expert = 8});
  CHECK(read_layout({.gpus = 8, .tensor = 8, .expert = 8}).note.empty());
  // A dense model on four GPUs, whose expert columns say 1.
  CHECK(read_layout({.gpus = 4, .tensor = 4}).layout ==
        ServedLayout{.tensor = 4, .expert_tensor = 4});
}

TEST_CASE("GPUs counted once for tensor and once for expert parallelism are one server's",
          "[served_row]") {
  const ReadLayout squared =
      read_layout({.gpus = 64, .tensor = 64, .expert_tensor = 8, .expert = 8});
  CHECK(squared.layout == ServedLayout{.tensor = 8, .expert = 8});
  CHECK(squared.note == "64 GPUs read as TP8 EP8");
  CHECK(read_layout({.gpus = 4, .tensor = 4, .expert_tensor = 2, .expert = 2}).layout ==
        ServedLayout{.tensor = 2, .expert = 2});
  // Only where attn_dp is stated: else the columns are what they say.
  CHECK(
      read_layout({.gpus = 4, .tensor = 4, .expert_tensor = 2, .expert = 2, .states_ranks = false})
          .layout == ServedLayout{.tensor = 4, .expert = 2, .expert_tensor = 2});
  CHECK(read_layout({.gpus = 64, .attention_ranks = 64, .expert_tensor = 8, .expert = 8}).layout ==
        ServedLayout{.attention_ranks = 8, .expert = 8});
  CHECK(read_layout({.gpus = 16, .tensor = 4, .attention_ranks = 4, .expert = 16}).layout ==
        ServedLayout{.attention_ranks = 4, .expert = 4});
  // Unequal factors are a real grid.
  CHECK(read_layout({.gpus = 8, .tensor = 8, .expert_tensor = 2, .expert = 4}).note.empty());
}

TEST_CASE("a layout of GPUs that do not add up is refused", "[served_row]") {
  CHECK_THROWS_AS(read_layout({.gpus = 8, .tensor = 8, .expert = 4}), core::Refusal);
}

TEST_CASE("a row says its mean lengths and its batch", "[served_row]") {
  // InferenceMAX's rows state attn_dp; their lengths are drawn from 0.8 of the nominal up.
  const ServedRow drawn = row_of("h200_sxm,m,trtllm,1.0,fp8,agg,1000,2000,8,8,8,1,1,8,1,8,100,10");
  CHECK(drawn.mean_prompt() == 900);
  CHECK(drawn.mean_output() == 1800);
  CHECK(drawn.batch() == 8);
  const ServedRow fixed = row_of("h200_sxm,m,trtllm,1.0,fp8,agg,1000,2000,8,8,8,1,,8,1,8,100,10");
  CHECK(fixed.mean_prompt() == 1000);
  // 48 requests, 6 a rank of 8: attention is replicated, though no column says so.
  const ServedRow replicated =
      row_of("b200_sxm,m,trtllm,1.0,nvfp4,agg,4000,1000,48,6,8,1,,2,4,8,900,87");
  CHECK(replicated.layout.attention_ranks == 8);
  CHECK(replicated.batch() == 6);
  CHECK(row_of("h200_sxm,m,vllm,,fp8,agg,1000,2000,8,8,8,1,1,8,1,8,100,10").version_name() ==
        "vllm");
  CHECK_THROWS_AS(row_of("h200_sxm,m,vllm,,fp8,agg,1000,2000,8,8,8,2,1,8,1,8,100,10"),
                  core::Refusal);
}

TEST_CASE("what a server runs is looked up by framework, model and type", "[served_row]") {
  const ServedMap map = ServedMap::load();
  ServedRow row = row_of(
      "h200_sxm,deepseek-ai/DeepSeek-R1,trtllm,1.0,fp8,agg,1024,1024,4,4,8,1,1,8,1,8,100,10");
  const ServedCheckpoint hopper = map.checkpoint(row, device::Generation::hopper);
  CHECK(hopper.architecture == "deepseek_v3");
  CHECK(hopper.precision.experts == core::DataType::fp8_block);
  ServerQuestion question{.framework = "trtllm",
                          .version = "1.0",
                          .generation = device::Generation::hopper,
                          .architecture = "deepseek_v3",
                          .linear = core::DataType::fp8_block,
                          .experts = core::DataType::fp8_block};
  CHECK(map.server(question).experts.kernel == "moe_torch_flow_cutlass");
  question.generation = device::Generation::blackwell;
  CHECK(map.server(question).experts.kernel == "moe_torch_flow_min_latency");
  CHECK(map.server(question).fusions.sum_normalises);
  question.version = "1.1.0rc2.post2";
  CHECK(map.server(question).experts.kernel == "deepgemm");
  CHECK(map.server(question).name == "trtllm 1.1.0rc2.post2");
  row.gemm_quant = "nvfp4";
  const ServedPrecision fp4 = map.checkpoint(row, device::Generation::blackwell).precision;
  CHECK(fp4.query_key_value == core::DataType::bf16);
  CHECK(fp4.output == core::DataType::nvfp4);
}

TEST_CASE("what a server fuses depends on its version, GPU and model", "[served_row]") {
  const ServedMap map = ServedMap::load();
  const auto of = [&](const char* framework, const char* version, device::Generation generation,
                      const char* architecture) {
    return map
        .server({.framework = framework,
                 .version = version,
                 .generation = generation,
                 .architecture = architecture})
        .fusions;
  };
  using device::Generation;
  CHECK(!of("vllm", "", Generation::hopper, "llama3.1_70b").sum_normalises);
  CHECK(!of("vllm", "0.12.0", Generation::hopper, "qwen3_32b").sum_normalises);
  CHECK(of("vllm", "0.18.0", Generation::hopper, "gpt_oss_120b").sum_normalises);
  CHECK(of("vllm", "", Generation::blackwell, "llama3.1_70b").sum_normalises);
  CHECK(of("sglang", "0.5.9", Generation::blackwell, "deepseek_v3").sum_normalises);
  CHECK(!of("sglang", "0.5.9", Generation::hopper, "deepseek_v3").sum_normalises);
  // Rows complete each other: one says that sums do not normalise, another what activations write.
  const workload::EngineFusions early = of("trtllm", "1.0.0rc3", Generation::hopper, "qwen3_32b");
  CHECK(!early.sum_normalises);
  CHECK(early.activation_casts.empty());
  CHECK(early.joint_qk_norm);
  CHECK(of("trtllm", "", Generation::hopper, "qwen3_32b").activation_casts ==
        std::vector{core::DataType::fp8});
}

TEST_CASE("caches are what each framework's server was asked for", "[served_row]") {
  const ServedMap map = ServedMap::load();
  const auto cache = [&](const char* framework) {
    ServedRow row;
    row.model = "deepseek-ai/DeepSeek-R1";
    row.framework = framework;
    row.gemm_quant = "fp8";
    return map.checkpoint(row, device::Generation::hopper).precision.cache;
  };
  CHECK(cache("trtllm") == core::DataType::fp8);
  CHECK(cache("sglang") == core::DataType::bf16);
}

TEST_CASE("what cannot be served is refused by name", "[served_row]") {
  const ServedMap map = ServedMap::load();
  const auto refusal = [&](const std::string& model, const std::string& framework) {
    ServedRow row;
    row.model = model;
    row.framework = framework;
    try {
      const ServedCheckpoint found = map.checkpoint(row, device::Generation::hopper);
      (void)map.server({.framework = framework,
                        .generation = device::Generation::hopper,
                        .architecture = found.architecture});
    } catch (const core::Refusal& found) {
      return std::string{found.what()};
    }
    return std::string{};
  };
  CHECK(refusal("Qwen/Qwen3.5-397B-A17B", "sglang").find("Gated DeltaNet") != std::string::npos);
  CHECK(refusal("nobody/Nothing", "sglang") ==
        "nobody/Nothing is a model that served_as.yaml does not know");
  CHECK(refusal("Qwen/Qwen3-32B", "lmdeploy") == "no server named lmdeploy is known");
}

}  // namespace
}  // namespace tessera::calibrate
