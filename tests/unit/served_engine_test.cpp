#include "calibrate/served_engine.hpp"

#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <numeric>

#include "calibrate/host_overhead.hpp"
#include "calibrate/served_job.hpp"
#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/serving/iteration_model.hpp"
#include "models/workload/architecture_file.hpp"
#include "sim/app/scenario.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/temporary_folder.hpp"
#include "tests/unit/fake_timers.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;
using workload::Step;
using workload::Steps;
using workload::Transfer;
using workload::Work;

ServedRow row_of(const std::string& model, const std::string& framework, const std::string& quant,
                 const ServedLayout& layout, const std::string& gpu) {
  ServedRow row;
  row.gpu = gpu;
  row.model = model;
  row.framework = framework;
  row.gemm_quant = quant;
  row.layout = layout;
  row.prompt = 1536;
  row.output = 1024;
  row.concurrency = 4 * layout.attention_ranks;
  return row;
}

ServedJobs jobs(const std::string& model, const std::string& framework, const std::string& quant,
                const ServedLayout& layout, const std::string& gpu = "h200_sxm") {
  static const auto maps = ServedMaps::load();
  return served_jobs(row_of(model, framework, quant, layout, gpu), device::load_device(gpu), maps);
}

/// All steps of a decode's layers and head.
Steps steps(const serving::InferenceJob& job) {
  const workload::ForwardPass pass = passes_of(job).front();
  Steps all;
  const auto add = [&](const workload::ForwardPart& part) {
    for (const Steps* list : part.lists()) all.insert(all.end(), list->begin(), list->end());
  };
  serving::PassLoads loads(job);
  for (const workload::ForwardPart& layer : lower_pass(job, pass, loads).layers) add(layer);
  add(workload::InferenceLowering{
      {job.architecture, job.precision, job.split, pass, {}, job.engine}}
          .head(pass.sequences));
  return all;
}

std::vector<const Work*> kernels(const Steps& steps, const std::string& name) {
  std::vector<const Work*> found;
  for (const Step& step : steps)
    if (step.work() && step.work()->name == name) found.push_back(step.work());
  return found;
}

std::vector<const Transfer*> transfers(const Steps& steps, const std::string& name) {
  std::vector<const Transfer*> found;
  for (const Step& step : steps)
    if (step.transfer() && step.transfer()->name == name) found.push_back(step.transfer());
  return found;
}

const workload::Gemm& product(const Steps& steps, const std::string& name) {
  const auto found = kernels(steps, name);
  REQUIRE(!found.empty());
  return std::get<workload::Gemm>(found.front()->op);
}

TEST_CASE("a decode reads every weight of a dense model once", "[served_engine]") {
  const ServedJobs all = jobs("meta-llama/Llama-3.1-8B-Instruct", "trtllm", "", {}, "h100_sxm");
  CHECK(all.decode.sequences == 4);
  CHECK(all.decode.context == 2048);
  training::RooflineTimer timer;
  training::FixedRateNetwork network;
  const serving::IterationModel model(all.decode, timer, network);
  // 32 layers of 218.1 M weights and the head's 525.3 M, two bytes each; norms apart.
  const double layer = 4096.0 * (4096 + 2 * 1024) + 4096.0 * 4096 + 3 * 4096.0 * 14336;
  CHECK(serving::weight_bytes(model) == Approx(2 * (32 * layer + 4096.0 * 128256)));
  const Steps decode = steps(all.decode);
  CHECK(kernels(decode, "qkv").size() == 32);
  CHECK(product(decode, "mlp_gate_up").n == 2 * 14336);
  CHECK(std::none_of(decode.begin(), decode.end(), [](const Step& s) { return s.transfer(); }));
}

TEST_CASE("an engine's sums normalise, its norms cast", "[served_engine]") {
  const ServedLayout eight{.tensor = 8, .expert_tensor = 8};
  const Steps cut = steps(jobs("meta-llama/Llama-3.1-70B", "trtllm", "fp8", eight).decode);
  CHECK(product(cut, "qkv").n == (64 + 2 * 8) * 128 / 8);
  CHECK(product(cut, "o").k == 64 * 128 / 8);
  REQUIRE(transfers(cut, "attention sum").size() == 80);
  CHECK(transfers(cut, "attention sum").front()->bytes == 4 * 8192 * 2);
  CHECK(transfers(cut, "mlp sum").size() == 80);
  for (const char* fused :
       {"attention_norm", "mlp_norm", "final_norm", "qkv cast", "mlp_down cast"})
    CHECK(kernels(cut, fused).empty());
  CHECK(kernels(cut, "o cast").size() == 80);  // attention writes BF16
  // sglang's sums do not normalise, and its products cast.
  const Steps apart = steps(jobs("Qwen/Qwen3-235B-A22B-FP8", "sglang", "fp8_block", eight).decode);
  CHECK(kernels(apart, "attention_norm").size() == 94);
  CHECK(kernels(apart, "qkv cast").size() == 94);
  CHECK(kernels(apart, "rotary").size() == 94);
}

TEST_CASE("without tensor ranks norms are kernels that write what they can", "[served_engine]") {
  const auto decode = [](const char* framework, const char* quant, const char* gpu) {
    return steps(jobs("meta-llama/Llama-3.1-70B", framework, quant, {}, gpu).decode);
  };
  const auto written = [](const Steps& steps) {
    REQUIRE(kernels(steps, "attention_norm").size() == 80);
    return std::get<workload::Stream>(kernels(steps, "attention_norm").front()->op).output;
  };
  const Steps joined = decode("vllm", "fp8", "h200_sxm");
  CHECK(written(joined) == core::DataType::fp8);
  CHECK(kernels(joined, "qkv cast").empty());
  // What writes NVFP4 is a sum; without one a kernel casts. TensorRT-LLM's sums alone write FP8.
  const Steps narrow = decode("vllm", "nvfp4", "b200_sxm");
  CHECK(written(narrow) == core::DataType::bf16);
  CHECK(kernels(narrow, "qkv cast").size() == 80);
  CHECK(kernels(decode("trtllm", "fp8", "h200_sxm"), "qkv cast").size() == 80);
}

TEST_CASE("a prefill casts keys and values of a cached prefix that it expands", "[served_engine]") {
  const ServedJobs served =
      jobs("deepseek-ai/DeepSeek-R1", "trtllm", "fp8", {.tensor = 8, .expert = 8}, "b200_sxm");
  const auto casts = [&](std::int64_t context) {
    std::vector<workload::Stream> found;
    for (const Step& step : served.decode.engine->prefill_attention({.batch = 2,
                            .q_length = 1024,
                            .kv_length = context,
                            .heads = 16,
                            .kv_heads = 16,
                            .qk_dim = 192,
                            .v_dim = 128,
                            .type = core::DataType::fp8,
                            .cache_type = core::DataType::fp8},
                                                                    true))
      if (const auto* stream = std::get_if<workload::Stream>(&step.work()->op))
        if (stream->kind == workload::StreamKind::quantize) found.push_back(*stream);
    return found;
  };
  CHECK(casts(1024).size() == 1);
  const auto both = casts(1024 + 512);
  REQUIRE(both.size() == 2);
  CHECK(both.front().rows == 2 * 512);
  CHECK(both.front().columns == 16 * (192 + 128));
}

TEST_CASE("few tokens load the heaviest rank with more than its share", "[served_engine]") {
  const auto sizes = [](const ServedLayout& layout) {
    const Steps decode =
        steps(jobs("deepseek-ai/DeepSeek-R1", "sglang", "fp8", layout, "b200_sxm").decode);
    return std::get<workload::GroupedGemm>(kernels(decode, "expert_down").front()->op).sizes;
  };
  const auto hit = [](const std::vector<std::int64_t>& sizes) {
    return std::count_if(sizes.begin(), sizes.end(), [](std::int64_t m) { return m > 0; });
  };
  // Four tokens with eight of 256 experts each hit 256 (1 - (1 - 1/32)^4) = 30.5 of them.
  const std::vector<std::int64_t> whole = sizes({.tensor = 8, .expert_tensor = 8});
  CHECK(whole.size() == 256);
  CHECK(hit(whole) >= 29);
  CHECK(hit(whole) <= 32);
  // The fullest of eight ranks holds more than its share of 32 rows.
  const std::vector<std::int64_t> share = sizes({.tensor = 8, .expert = 8});
  CHECK(share.size() == 32);
  CHECK(std::accumulate(share.begin(), share.end(), std::int64_t{0}) > 4);
  CHECK(hit(share) < 12);
}

TEST_CASE("a layout for any choice of experts holds more blocks than the experts fill",
          "[served_engine]") {
  static const auto maps = ServedMaps::load();
  const auto products = [](int tensor) {
    ServedRow row = row_of("Qwen/Qwen3-235B-A22B-FP8", "vllm", "fp8_block",
                           {.tensor = tensor, .expert_tensor = tensor}, "h200_sxm");
    row.version = "0.12.0";
    const Steps decode = steps(served_jobs(row, device::load_device(row.gpu), maps).decode);
    return *kernels(decode, "expert_down").front();
  };
  const auto sizes_of = [](const Work& work) {
    return std::get<workload::GroupedGemm>(work.op).sizes;
  };
  const std::vector<std::int64_t> sizes = sizes_of(products(2));
  REQUIRE(sizes.size() == 128 + 1);
  const auto filled =
      std::count_if(sizes.begin(), sizes.end() - 1, [](std::int64_t rows) { return rows > 0; });
  // Four tokens with eight of 128 experts each: 32 rows and 127 for every expert, in blocks of 128.
  CHECK(sizes.back() + 128 * filled == (32 + 128 * 127 + 127) / 128 * 128);
  CHECK(products(2).implementation == "deepgemm_grouped_hopper");
  CHECK(sizes_of(products(8)).size() == 128);  // Triton
}

TEST_CASE("a gate's limit on groups loads the heaviest rank more", "[served_engine]") {
  serving::InferenceJob job =
      jobs("deepseek-ai/DeepSeek-R1", "sglang", "fp8", {.tensor = 8, .expert = 8}, "b200_sxm")
          .decode;
  CHECK(job.routing.node_limit == 4);  // DeepSeek-V3's gate
  const auto heaviest = [&](std::int64_t limit) {
    job.routing.node_limit = limit;
    const auto rows = serving::PassLoads(job).hottest_rows(passes_of(job).front(), 1);
    return std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  };
  CHECK(heaviest(1) > heaviest(0));
  CHECK(heaviest(8) == heaviest(0));
}

TEST_CASE("attention replicas gather their tokens for the experts", "[served_engine]") {
  const Steps replicated = steps(jobs("deepseek-ai/DeepSeek-R1", "sglang", "fp8",
                                      {.attention_ranks = 8, .expert = 8}, "b200_sxm")
                                     .decode);
  CHECK(transfers(replicated, "attention sum").empty());
  REQUIRE(transfers(replicated, "token gather").size() == 58);
  CHECK(transfers(replicated, "token gather").front()->bytes == 8 * 4 * 7168 * 2);
  CHECK(transfers(replicated, "expert sum").front()->kind == Transfer::Kind::reduce_scatter);
  CHECK(product(replicated, "q_up").n == 128 * 192);
  CHECK(product(replicated, "head").n == 129280);
}

TEST_CASE("checkpoints quantise projections into attention less", "[served_engine]") {
  const ServedJobs nvfp4 =
      jobs("deepseek-ai/DeepSeek-R1", "trtllm", "nvfp4", {.tensor = 8, .expert = 8}, "b200_sxm");
  const Steps decode = steps(nvfp4.decode);
  CHECK(product(decode, "q_up").type == core::DataType::bf16);
  CHECK(product(decode, "o").type == core::DataType::nvfp4);
  // Their weights count as wide as they are: 61 layers of 64.9 M elements cut in eight, but for
  // the down projections, 15.1 M of them, which every rank holds.
  serving::InferenceJob narrow = nvfp4.decode;
  narrow.precision.query_key_value.reset();
  const auto weights = [](const serving::InferenceJob& job) {
    const serving::MemoryPlan plan =
        serving::InferenceMemory(serving::memory_job(job)).plan(1, 1024);
    return plan.of("weights") + plan.of("weight_scales");
  };
  const double down = 7168.0 * (1536 + 512 + 64);
  const double up = 128.0 * (192 * 1536 + 256 * 512) / 8;
  const double saved = 2 - (0.5 + core::weight_scale_bytes(core::DataType::nvfp4));
  CHECK(weights(nvfp4.decode) - weights(narrow) == Approx(61 * (down + up) * saved));
}

TEST_CASE("shared experts run beside routed ones only in small decodes", "[served_engine]") {
  const ServedJobs served =
      jobs("deepseek-ai/DeepSeek-R1", "vllm", "fp8", {.tensor = 8, .expert_tensor = 8}, "b200_sxm");
  CHECK(kernels(steps(served.decode), "shared_down").front()->beside);
  CHECK(!kernels(steps(served.prefill), "shared_down").front()->beside);
  serving::InferenceJob large = served.decode;
  large.sequences = 257;  // vLLM's threshold is 256
  CHECK(!kernels(steps(large), "shared_down").front()->beside);
}

TEST_CASE("an engine's kernels carry their implementation to the timer", "[served_engine]") {
  const Steps decode = steps(
      jobs("openai/gpt-oss-120b", "trtllm", "mxfp4", {.tensor = 2, .expert_tensor = 2}).decode);
  const std::vector<const Work*> down = kernels(decode, "expert_down");
  REQUIRE(!down.empty());
  CHECK(down.front()->implementation == "triton_grouped");
}

TEST_CASE("a scenario that names its engine runs a measured row's iteration", "[served_engine]") {
  const testing::TemporaryFolder folder;
  folder.write("served.yaml", R"(job: decode
architecture: deepseek_v3
cluster: b200_2048_multiplane
precision: {recipe: nvfp4, query_key_value: bf16, kv_cache: fp8, attention: fp8}
batch: {sequences: 4, context: 2048}
parallelism: {tensor: 8, expert: 8}
routing: {kind: uniform, independent: true}
serving: {engine: trtllm, engine_version: 1.2.0rc6.post2, dispatcher: all_reduce}
cost: {prices: prices, rental: 2 USD/GPU/h}
)");
  const app::Scenario scenario = app::read_scenario(folder.at("served.yaml").string());
  ServedRow row =
      row_of("deepseek-ai/DeepSeek-R1", "trtllm", "nvfp4", {.tensor = 8, .expert = 8}, "b200_sxm");
  row.version = "1.2.0rc6.post2";
  const ServedJobs measured = served_jobs(row, device::load_device("b200_sxm"), ServedMaps::load());
  serving::InferenceJob planned = scenario.inference();
  const double overhead =
      overhead_of(load_host_overheads(device::kFitFolder), "trtllm", row.version_name())
          .milliseconds;
  CHECK(core::to_microseconds(planned.host_overhead) == Approx(1000 * overhead));
  CHECK(planned.host_overhead_of == "trtllm 1.2.0rc6.post2");
  CHECK(planned.unexplained > 0);
  CHECK(planned.reduce_by == measured.decode.reduce_by);
  planned.host_overhead = {};
  training::RooflineTimer timer;
  training::FixedRateNetwork network;
  CHECK(serving::IterationModel(planned, timer, network).run().time ==
        serving::IterationModel(measured.decode, timer, network).run().time);
  // The engine is what makes it so: the usual kernels take longer.
  planned.engine.reset();
  CHECK(serving::IterationModel(planned, timer, network).run().time >
        serving::IterationModel(measured.decode, timer, network).run().time);
}

TEST_CASE("a version that was not measured takes the overhead over all versions",
          "[served_engine]") {
  const HostOverheads overheads = load_host_overheads(device::kFitFolder);
  const auto overhead = [](const std::vector<std::string>& set) {
    const serving::InferenceJob job =
        app::read_scenario("llama3.1_70b_decode_h200", {.set = set}).inference();
    return std::pair{core::to_microseconds(job.host_overhead) / 1000, job.host_overhead_of};
  };
  const auto [unstated, of_unstated] = overhead({});
  CHECK(unstated == Approx(overheads.at("any trtllm").milliseconds));
  CHECK(of_unstated == "trtllm, all versions");
  const auto [unknown, of_unknown] = overhead({"serving.engine_version=9.9"});
  CHECK(unknown == unstated);
  CHECK(of_unknown == of_unstated);
  const auto [eager, of_eager] = overhead({"serving.eager=true"});
  CHECK(eager == Approx(80 * overheads.at("eager").milliseconds));  // its layers
  CHECK(of_eager == "all eager engines, by layers");
  const auto [given, of_given] = overhead({"serving.host_overhead=2 ms"});
  CHECK(given == Approx(2));
  CHECK(of_given.empty());
}

TEST_CASE("models without modelled attention are refused by name", "[served_engine]") {
  try {
    (void)jobs("Qwen/Qwen3.5-397B-A17B", "sglang", "fp8", {.tensor = 8, .expert_tensor = 8});
    FAIL("not refused");
  } catch (const core::Refusal& refusal) {
    CHECK(std::string{refusal.what()}.find("Gated DeltaNet") != std::string::npos);
  }
}

}  // namespace
}  // namespace tessera::calibrate
