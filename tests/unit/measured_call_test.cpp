#include "calibrate/measured_call.hpp"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <set>

#include "models/device/device_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

/// The call of one GEMM row: 6 MiB of operands and result a set in BF16, L2 of H100 50 MB.
MeasuredCall gemm_call(const std::string& framework, const std::string& dtype,
                       const std::string& operands, const std::string& sets) {
  const CsvTable table = CsvTable::parse(
      "gpu,framework,op,dtype,kernel,M,N,K,operands,operand_sets\n"
      "h100_sxm," +
          framework + ",gemm," + dtype + ",cublaslt,1024,1024,1024," + operands + "," + sets + "\n",
      "gemm.csv");
  return MeasurementMap::load().call("gemm", table, 0, device::load_device("h100_sxm"));
}

/// The fused MoE of 1,024 tokens, top 8 of 256 experts, on each of 8 ranks.
MeasuredCall moe_call(const std::string& kernel, const std::string& dtype,
                      const std::string& routing, const std::string& gpu = "h100_sxm",
                      const std::string& framework = "trtllm") {
  const CsvTable table = CsvTable::parse(
      "gpu,framework,op,dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep,routing\n" + gpu + "," +
          framework + ",moe," + dtype + "," + kernel + ",1024,4096,2048,8,256,2,8," + routing +
          "\n",
      "moe.csv");
  return MeasurementMap::load().call("moe", table, 0, device::load_device(gpu));
}

/// The same as its library runs it before it has timed other ways.
MeasuredCall untuned_moe_call(const std::string& kernel, const std::string& dtype,
                              const std::string& routing, const std::string& gpu = "h100_sxm") {
  MeasuredCall call = moe_call(kernel, dtype, routing, gpu);
  std::erase_if(call.kernels, [](const KernelQuery& query) { return query.way.way > 0; });
  return call;
}

/// One row of sparse_attention.csv: 2 sequences of 4 new tokens behind 8188.
MeasuredCall sparse_call(const std::string& op, const std::string& kernel,
                         const std::string& variant, const std::string& gpu = "h100_sxm",
                         const std::string& arch = "GlmMoeDsaForCausalLM") {
  const CsvTable table = CsvTable::parse(
      "gpu,framework,op,dtype,kernel,variant,arch,batch,isl,step,num_heads,tp_size,compress_ratio,"
      "kv_dtype,gemm_type\n" +
          gpu + ",sglang," + op + ",bfloat16," + kernel + "," + variant + "," + arch +
          ",2,4,8188,64,1,4,fp8,bfloat16\n",
      "sparse_attention.csv");
  return MeasurementMap::load().call("sparse_attention", table, 0, device::load_device(gpu));
}

template <class Op>
std::vector<Op> all_of(const MeasuredCall& call) {
  std::vector<Op> found;
  for (const KernelQuery& query : call.kernels)
    if (const auto* op = std::get_if<Op>(&query.op)) found.push_back(*op);
  return found;
}

std::vector<workload::GroupedGemm> products(const MeasuredCall& call) {
  std::vector<workload::GroupedGemm> found;
  for (const KernelQuery& query : call.kernels)
    if (const auto* gemm = std::get_if<workload::GroupedGemm>(&query.op)) found.push_back(*gemm);
  return found;
}

}  // namespace

TEST_CASE("a call is its library's cast and its library's product", "[measured]") {
  const MeasuredCall block = gemm_call("trtllm", "fp8_block", "", "");
  REQUIRE(block.kernels.size() == 2);
  CHECK(block.kernels[0].implementation == "trtllm_quantise_block");
  CHECK(block.kernels[1].implementation == "trtllm_block_hopper");
  CHECK(block.kernels[1].context.enqueue_us == 0);
  // The trtllm collection has one activation for all weights; what the cast wrote is there anyway.
  CHECK(block.kernels[1].context.activation_reuse_bytes == 0);
  CHECK(block.kernels[1].context.weight_reuse_bytes >
        block.kernels[0].context.activation_reuse_bytes);
  CHECK(gemm_call("sglang", "fp8", "", "").kernels[1].implementation == "cutlass_scaled_hopper");
}

TEST_CASE("client Blackwell packs the scales of activations row by row", "[measured]") {
  const auto call_on = [](const std::string& gpu, const std::string& framework) {
    const CsvTable table = CsvTable::parse("gpu,framework,op,dtype,kernel,M,N,K\n" + gpu + "," +
                                               framework + ",gemm,fp8_block,k,300,1024,2048\n",
                                           "gemm.csv");
    return MeasurementMap::load().call("gemm", table, 0, device::load_device(gpu));
  };
  const MeasuredCall client = call_on("rtx_pro_6000_server", "trtllm");
  CHECK(client.packed_rows == 300);
  device::FitSet fits;
  fits.parameters["harness.gemm.trtllm.packing.row"].value = 20;
  CHECK(client.added_us(fits) == 300 * 20 / 1000.0);  // microseconds for 1,000 rows
  CHECK(call_on("h100_sxm", "trtllm").packed_rows == 0);
  CHECK(call_on("b200_sxm", "sglang").prepared_rows == 1024);  // the weights', not these
}

TEST_CASE("a fused MoE's products see the rows that reach their rank", "[measured]") {
  const MeasuredCall call = untuned_moe_call("moe_torch_flow_cutlass", "bfloat16", "balanced");
  const auto gemms = products(call);
  REQUIRE(gemms.size() == 2);
  CHECK(gemms[0].sizes == std::vector<std::int64_t>(32, 32));
  CHECK(gemms[0].n == 2048);  // gate and up, half of 2048 each on one of two ranks
  CHECK(gemms[0].fixed == 4096);
  CHECK(gemms[1].n == 4096);
  CHECK(gemms[1].fixed == 1024);
  CHECK(products(untuned_moe_call("moe_torch_flow_nongated", "bfloat16", "balanced"))[0].n == 1024);
}

TEST_CASE("a drawn routing loads the heaviest rank in expectation", "[measured]") {
  const MeasuredCall call = untuned_moe_call("moe_torch_flow_cutlass", "bfloat16", "power_law_1.2");
  const auto gemms = products(call);
  REQUIRE(gemms.size() == 2);
  std::int64_t rows = 0;
  for (const std::int64_t each : gemms[0].sizes) rows += each;
  CHECK(rows > 1024);
  CHECK(gemms[0].sizes.front() > gemms[0].sizes.back());
  CHECK_THROWS_AS(untuned_moe_call("moe_torch_flow_cutlass", "bfloat16", "power_law_1.0"),
                  core::Refusal);
}

TEST_CASE("libraries quantise what they gather in kernels of their own, or not", "[measured]") {
  const auto count = [](const MeasuredCall& call) { return call.kernels.size(); };
  const std::string cutlass = "moe_torch_flow_cutlass";
  CHECK(count(untuned_moe_call(cutlass, "fp8", "balanced")) ==
        count(untuned_moe_call(cutlass, "bfloat16", "balanced")) + 1);
  CHECK(count(untuned_moe_call(cutlass, "fp8_block", "balanced")) ==
        count(untuned_moe_call(cutlass, "bfloat16", "balanced")) + 1);
  // Without TMA nobody lays out descriptors.
  CHECK(count(untuned_moe_call(cutlass, "fp8", "balanced", "rtx_pro_6000_server")) ==
        count(untuned_moe_call(cutlass, "fp8", "balanced")) - 1);
  CHECK(count(untuned_moe_call(cutlass, "nvfp4", "balanced", "rtx_pro_6000_server")) ==
        count(untuned_moe_call(cutlass, "nvfp4", "balanced", "b200_sxm")));
  CHECK(count(untuned_moe_call("moe_torch_flow", "w4a8_mxfp4_mxfp8", "balanced", "b200_sxm")) <
        count(untuned_moe_call(cutlass, "nvfp4", "balanced", "b200_sxm")));
}

TEST_CASE("sglang's experts were collected without tuning, as no server runs generated ones",
          "[measured]") {
  const auto implementation = [](const std::string& kernel, const std::string& gpu) {
    const MeasuredCall call = moe_call(kernel, "bfloat16", "balanced", gpu, "sglang");
    for (const KernelQuery& query : call.kernels)
      if (std::holds_alternative<workload::GroupedGemm>(query.op)) return query.implementation;
    return std::string{};
  };
  CHECK(implementation("sglang_flashinfer_trtllm_moe", "b200_sxm") ==
        "flashinfer_untuned_gathering_grouped_blackwell");
  CHECK(implementation("sglang_flashinfer_trtllm_moe_tuned", "b200_sxm") ==
        "trtllm_gen_gathering_grouped_blackwell");
  CHECK(implementation("sglang_flashinfer_cutlass_moe", "h200_sxm") ==
        "flashinfer_untuned_grouped_hopper");
  CHECK(implementation("sglang_flashinfer_cutlass_moe", "rtx_pro_6000_server") ==
        "flashinfer_untuned_grouped_client");
}

TEST_CASE("sglang pads experts to the blocks that generated kernels take", "[measured]") {
  const auto shapes = [](const std::string& dtype, const std::string& model) {
    const CsvTable table = CsvTable::parse(
        "gpu,framework,op,dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep,routing\n"
        "b200_sxm,sglang,moe," +
            dtype + ",sglang_flashinfer_trtllm_moe,64," + model + ",32,1,balanced\n",
        "moe.csv");
    const MeasuredCall call =
        MeasurementMap::load().call("moe", table, 0, device::load_device("b200_sxm"));
    const auto first = products(call).front(), second = products(call).back();
    CHECK(first.fixed == second.n);  // what a token holds
    CHECK(std::holds_alternative<workload::Stream>(call.kernels.front().op));
    return std::pair{second.fixed, second.n};
  };
  const std::string gated = "2880,2880,4,128", ungated = "4096,2688,22,512";
  using Shape = std::pair<std::int64_t, std::int64_t>;
  CHECK(shapes("w4a8_mxfp4_mxfp8", gated) == Shape{256, 3072});  // of 90 and 2,880
  CHECK(shapes("bfloat16", gated) == Shape{128, 2880});
  CHECK(shapes("nvfp4", gated) == Shape{90, 2880});
  CHECK(shapes("nvfp4", ungated) == Shape{128, 4096});  // of 84
}

TEST_CASE("an eager call waits for the host, and an idle GPU for its first launches",
          "[measured]") {
  device::FitSet fits;
  fits.parameters["harness.x.host"].value = 300;
  MeasuredCall call{.harness = "harness.x", .eager = true};
  CHECK(call.total_us(1000, fits) == 1000);
  call.host_lead = 0.5;
  CHECK(call.total_us(100, fits) == 300);
  CHECK(call.total_us(150, fits) == 300);
  CHECK(call.total_us(151, fits) == 301);
}

TEST_CASE("CUTLASS's block-scaled experts follow each other as their descriptors allow",
          "[measured]") {
  const std::string cutlass = "moe_torch_flow_cutlass";
  CHECK(moe_call(cutlass, "bfloat16", "balanced", "b200_sxm").type == "cutlass");
  CHECK(moe_call(cutlass, "fp8", "balanced", "b200_sxm").type == "cutlass");
  CHECK(moe_call(cutlass, "nvfp4", "balanced", "b200_sxm").type == "cutlass_scaled");
}

TEST_CASE("PyTorch chooses more experts than FlashInfer's gates with a bias do", "[measured]") {
  const auto selections = [](const std::string& choice) {
    const CsvTable table = CsvTable::parse(
        "gpu,framework,op,dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep,routing\n"
        "h200_sxm,sglang,moe,bfloat16,sglang_flashinfer_cutlass_moe,64,2048,5120," +
            choice + ",1,8,balanced\n",
        "moe.csv");
    return all_of<workload::SelectTopK>(
        MeasurementMap::load().call("moe", table, 0, device::load_device("h200_sxm")));
  };
  CHECK(selections("8,256").empty());
  const auto chosen = selections("22,512");
  REQUIRE(chosen.size() == 3);  // a group's two best, the group, and its experts
  CHECK(chosen.front().selected == 2);
  CHECK(chosen.back() == workload::SelectTopK{.rows = 64, .columns = 512, .selected = 22});
}

TEST_CASE("CUTLASS's product of 16-bit experts for Ampere activates what it stores", "[measured]") {
  const auto activates_apart = [](const std::string& kernel, const std::string& dtype,
                                  const std::string& gpu) {
    const auto rows = all_of<workload::Stream>(untuned_moe_call(kernel, dtype, "balanced", gpu));
    return std::any_of(rows.begin(), rows.end(), [](const workload::Stream& stream) {
      return stream.kind == workload::StreamKind::swiglu;
    });
  };
  const std::string cutlass = "moe_torch_flow_cutlass";
  CHECK_FALSE(activates_apart(cutlass, "bfloat16", "rtx_pro_6000_server"));
  CHECK_FALSE(activates_apart("moe_torch_flow", "bfloat16", "a100_sxm"));
  CHECK(activates_apart(cutlass, "bfloat16", "h100_sxm"));
  CHECK(activates_apart(cutlass, "fp8", "rtx_pro_6000_server"));
  CHECK(activates_apart(cutlass, "nvfp4", "rtx_pro_6000_server"));
}

TEST_CASE("a library that has timed several ways takes the fastest that runs", "[calibrate]") {
  const auto answer = [](double microseconds) {
    return gpu::KernelResult{.time = core::Time{std::llround(microseconds * 1e6)}};
  };
  MeasuredCall call;
  const workload::Operator op = workload::Stream{};
  call.kernels = {{op, {}, "always"},
                  {op, {}, "product", {.choice = 1, .way = 0}},
                  {op, {}, "sum", {.choice = 1, .way = 0}},
                  {op, {}, "both", {.choice = 1, .way = 1}},
                  {op, {}, "refused", {.choice = 1, .way = 2}}};
  const auto taken = [&](double both) {
    std::vector<std::string> names;
    const SettledCall settled =
        call.settle({answer(1), answer(5), answer(2), answer(both), std::nullopt});
    REQUIRE(settled.results);
    CHECK(settled.results->size() == settled.call.kernels.size());
    for (const KernelQuery& query : settled.call.kernels) names.push_back(query.implementation);
    return names;
  };
  CHECK(taken(6.9) == std::vector<std::string>{"always", "both"});
  CHECK(taken(7.1) == std::vector<std::string>{"always", "product", "sum"});
  CHECK_FALSE(call.settle({std::nullopt, answer(5), answer(2), answer(1), answer(1)}).results);
}

TEST_CASE("TensorRT-LLM's tuner also times Ampere's kernels, and products that sum",
          "[calibrate]") {
  const auto ways = [](const std::string& dtype, const std::string& gpu) {
    std::set<std::string> names;
    for (const KernelQuery& query :
         moe_call("moe_torch_flow_cutlass", dtype, "balanced", gpu).kernels)
      if (query.way.way > 0) names.insert(query.implementation);
    names.erase("trtllm_moe_rows");
    return names;
  };
  CHECK(ways("bfloat16", "h100_sxm") ==
        std::set<std::string>{"cutlass_summing_grouped_hopper", "cutlass_warp_grouped_hopper"});
  CHECK(ways("bfloat16", "rtx_pro_6000_server").empty());  // Ampere's are its only ones
}

TEST_CASE("generated kernels route few tokens on few SMs", "[calibrate]") {
  const auto sms = [](const std::string& tokens) {
    const CsvTable table = CsvTable::parse(
        "gpu,framework,op,dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep,routing\n"
        "b200_sxm,sglang,moe,bfloat16,sglang_flashinfer_trtllm_moe," +
            tokens + ",4096,2048,8,256,2,8,balanced\n",
        "moe.csv");
    const MeasuredCall call =
        MeasurementMap::load().call("moe", table, 0, device::load_device("b200_sxm"));
    return call.kernels.front().context.sms;
  };
  CHECK(sms("16") == 1);
  CHECK(sms("17") == 8);
  CHECK(sms("256") == 8);
  CHECK(sms("257") == 0);  // all
}

TEST_CASE("what DeepGEMM's experts activate is started for tokens that they lack", "[calibrate]") {
  const auto rows =
      all_of<workload::Stream>(moe_call("deepgemm", "fp8_block", "balanced", "b200_sxm"));
  const auto activation = std::find_if(
      rows.begin(), rows.end(),
      [](const workload::Stream& stream) { return stream.kind == workload::StreamKind::swiglu; });
  REQUIRE(activation != rows.end());
  CHECK(activation->padding_rows == 2 * 128 * 32);  // 1,024 columns, 128 tokens, 32 experts
  CHECK(rows.front().padding_rows == 0);
}

TEST_CASE("generated kernels are chosen for the rows of all ranks' tokens", "[calibrate]") {
  const MeasuredCall call = moe_call("moe_torch_flow", "nvfp4", "balanced", "b200_sxm");
  CHECK(products(call).front().planned_rows == 256);  // 1,024 x 8 over 32 experts of 256
  CHECK(products(call).front().sizes.front() == 32);
  // CUTLASS's are timed with experts that are all chosen alike: 1,024 x 8 over 256.
  CHECK(products(moe_call("moe_torch_flow_cutlass", "bfloat16", "balanced"))[0].planned_rows == 32);
}

TEST_CASE("a probe's row times its GEMM alone, in the state of L2 that it names", "[measured]") {
  const MeasuredCall cycled = gemm_call("tessera_probes", "bfloat16", "cycled", "6");
  REQUIRE(cycled.kernels.size() == 1);
  // Six sets of three matrices of 2 MiB; what survives of so many bytes is the GPU model's to say.
  CHECK(cycled.kernels[0].context.warm_weights);
  CHECK(cycled.kernels[0].context.weight_reuse_bytes == 6.0 * 3 * 1024 * 1024 * 2);
  CHECK_FALSE(
      gemm_call("tessera_probes", "bfloat16", "cycled", "24").kernels[0].context.warm_weights);
  CHECK(gemm_call("tessera_probes", "bfloat16", "warm", "1").kernels[0].context.warm_weights);
  CHECK_FALSE(
      gemm_call("tessera_probes", "bfloat16", "flushed", "1").kernels[0].context.warm_weights);
  CHECK(gemm_call("tessera_probes", "fp8", "cycled", "6").kernels.size() == 1);
  CHECK(gemm_call("trtllm", "fp8", "", "").kernels.size() > 1);  // casts before its GEMM
  // SmoothQuant's activation comes quantised, weight-only kernels take it as it is.
  CHECK(gemm_call("trtllm", "sq", "", "").kernels.size() == 1);
  CHECK(cycled.harness == "harness.gemm.tessera_probes");
}

TEST_CASE("GPUs that nobody measured run the kernels of their generation", "[measured]") {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"h20_sxm", "h200_sxm"},  {"h800_sxm", "h100_sxm"}, {"gb200", "b200_sxm"},
      {"b300_sxm", "b200_sxm"}, {"a800_sxm", "a100_sxm"}, {"l40s", "rtx_pro_6000_server"}};
  const MeasurementMap map = MeasurementMap::load();
  for (const auto& [unmeasured, measured] : pairs)
    for (const std::string kernel : {"torch_flow", "fa3", "flashinfer"})
      for (const std::string op : {"attention_context", "encoder_attention"}) {
        const std::string framework = kernel == "torch_flow" ? "trtllm" : "sglang";
        const auto call_on = [&](const std::string& gpu) {
          const CsvTable table = CsvTable::parse(
              "gpu,framework,op,dtype,kernel,batch,isl,num_heads,num_kv_heads,head_dim,win,"
              "kv_dtype\n" +
                  gpu + "," + framework + "," + op + ",bfloat16," + kernel +
                  ",4,1024,16,16,128,0,bfloat16\n",
              op + ".csv");
          return map.call(op, table, 0, device::load_device(gpu));
        };
        CAPTURE(unmeasured, op, framework, kernel);
        CHECK(call_on(unmeasured).kernels.back().implementation ==
              call_on(measured).kernels.back().implementation);
      }
}

TEST_CASE("TensorRT-LLM's encoders write queries and keys back before they attend", "[measured]") {
  const auto call = [](const std::string& framework, const std::string& kernel) {
    const CsvTable table =
        CsvTable::parse("gpu,framework,op,dtype,kernel,batch,isl,num_heads,head_dim\nh200_sxm," +
                            framework + ",attn_enc,bfloat16," + kernel + ",4,1024,16,72\n",
                        "encoder_attention.csv");
    return MeasurementMap::load().call("encoder_attention", table, 0,
                                       device::load_device("h200_sxm"));
  };
  CHECK(call("sglang", "flash_attention_v3").kernels.size() == 1);
  const MeasuredCall trtllm = call("trtllm", "torch_flow");
  REQUIRE(trtllm.kernels.size() == 2);
  const auto before = all_of<workload::Stream>(trtllm);
  REQUIRE(before.size() == 1);
  // Reads three parts of a token and writes two.
  CHECK(before[0].rows * before[0].columns * 2 == 4 * 1024 * (3 + 2) * 16 * 72);
}

TEST_CASE("a sparse module scores, selects and attends to what it selected", "[measured]") {
  const MeasuredCall call =
      sparse_call("dsa_context_module", "sglang_dsa_indexer_flashmla_kv", "dsa_context_module");
  const auto scores = all_of<workload::IndexScores>(call);
  REQUIRE(scores.size() == 1);
  CHECK(scores[0] ==
        workload::IndexScores{.batch = 2, .q_length = 4, .kv_length = 8192, .heads = 32});
  const auto selections = all_of<workload::SelectTopK>(call);
  REQUIRE(selections.size() == 1);
  CHECK(selections[0] == workload::SelectTopK{.rows = 8, .columns = 8192});
  const auto attention = all_of<workload::AbsorbedAttention>(call);
  REQUIRE(attention.size() == 1);
  CHECK(attention[0].selected == 2048);
  CHECK(attention[0].kv_length == 8192);
  CHECK(attention[0].type == core::DataType::bf16);
  CHECK(attention[0].cache_type == core::DataType::fp8);  // 656 bytes a token
  CHECK(call.eager);
  CHECK(call.host_launches == static_cast<double>(call.kernels.size()));
  CHECK(call.prepared_rows == 2 * 8192);  // index keys gathered from their pages
  const auto scored = std::find_if(call.kernels.begin(), call.kernels.end(), [](const auto& each) {
    return std::holds_alternative<workload::IndexScores>(each.op);
  });
  CHECK(scored->implementation.empty());  // end to end, not in pages
}

TEST_CASE("a sparse module without its indexer, or of few tokens, scores nothing", "[measured]") {
  const MeasuredCall skipped =
      sparse_call("dsa_context_module", "sglang_dsa_skip_indexer_flashmla_kv",
                  "dsa_context_module_skip_indexer");
  CHECK(all_of<workload::IndexScores>(skipped).empty());
  CHECK(all_of<workload::AbsorbedAttention>(skipped).size() == 1);
  const MeasuredCall dense =
      sparse_call("dsa_context_module", "sglang_dsa_dense_mha_fa3", "dsa_context_module");
  CHECK(all_of<workload::AbsorbedAttention>(dense).empty());
  const auto attention = all_of<workload::Attention>(dense);
  REQUIRE(attention.size() == 1);
  CHECK(attention[0].qk_dim == 256);
  CHECK(attention[0].v_dim == 256);
}

TEST_CASE("DeepSeek-V4 attends to a window and to keys of several tokens", "[measured]") {
  const MeasuredCall call = sparse_call("dsv4_csa_context_module", "compressed_flashmla", "",
                                        "h100_sxm", "DeepseekV4ForCausalLM");
  const auto scores = all_of<workload::IndexScores>(call);
  REQUIRE(scores.size() == 1);
  CHECK(scores[0].compression == 4);
  const auto attention = all_of<workload::AbsorbedAttention>(call);
  REQUIRE(attention.size() == 1);
  CHECK(attention[0].selected == 128 + 512);  // window, and index_topk of V4-Flash
  CHECK_THROWS_AS(sparse_call("dsv4_csa_context_module", "compressed_flashmla", "",
                              "rtx_pro_6000_server", "DeepseekV4ForCausalLM"),
                  core::Refusal);
}

TEST_CASE("a hyper-connection mixes a token in one CTA, or in PyTorch operations", "[measured]") {
  const auto call = [](const std::string& kernel, const std::string& part) {
    const CsvTable table = CsvTable::parse(
        "gpu,framework,op,dtype,kernel,part,tokens,hc_mult,hidden,num_sites\n"
        "h100_sxm,sglang,mhc,bf16," +
            kernel + "," + part + ",100,4,4096,2\n",
        "mhc.csv");
    return MeasurementMap::load().call("mhc", table, 0, device::load_device("h100_sxm"));
  };
  const MeasuredCall after = call("sglang_tilelang_mhc_post", "post");
  REQUIRE(after.kernels.size() == 2);  // sites
  CHECK(after.kernels[0].implementation == "hyper_connection_rows");
  const auto copies = all_of<workload::Stream>(after);
  // Four streams and the layer's output in, four streams out.
  CHECK(copies[0].columns * 2 * 2 == (4 + 1 + 4) * 4096 * 2);
  CHECK(all_of<workload::Gemm>(call("sglang_tilelang_mhc_pre", "pre")).size() == 2);
  CHECK(call("trtllm_mhc_pre_dg_splitk", "pre").type !=
        call("trtllm_mhc_pre_dg_nosplit", "pre").type);
  CHECK(all_of<workload::Stream>(call("sglang_torch_mhc_pre", "pre")).size() == 2 * 5);
}

}  // namespace tessera::calibrate
