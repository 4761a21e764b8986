#include "calibrate/served_iteration.hpp"

#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "models/workload/architecture_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;

ServedIteration iteration(const std::string& model, const std::string& framework,
                          const std::string& quant, const ServedLayout& layout,
                          const ServedPass& pass, const std::string& gpu = "h200_sxm") {
  const ServedMap served = ServedMap::load();
  const device::DeviceSpec device = device::load_device(gpu);
  ServedRow row;
  row.gpu = gpu;
  row.model = model;
  row.framework = framework;
  row.gemm_quant = quant;
  row.layout = layout;
  const ServedAs as = served.of(row, device.generation);
  return served_iteration(workload::load_architecture(as.architecture), as, layout, pass, device,
                          served, MeasurementMap::load());
}

double calls(const ServedIteration& iteration, const std::string& name) {
  double count = 0;
  for (const ServedKernel& kernel : iteration.kernels)
    if (kernel.name == name) count += kernel.count;
  return count;
}

const workload::Gemm& product(const ServedIteration& iteration, const std::string& name) {
  for (const ServedKernel& kernel : iteration.kernels)
    if (const auto* gemm = std::get_if<workload::Gemm>(&kernel.query.op);
        gemm != nullptr && kernel.name == name)
      return *gemm;
  FAIL("no product named " << name);
  throw std::logic_error("unreachable");
}

const ServedTransfer* transfer(const ServedIteration& iteration, const std::string& name) {
  const auto found = std::find_if(iteration.transfers.begin(), iteration.transfers.end(),
                                  [&](const ServedTransfer& t) { return t.name == name; });
  return found == iteration.transfers.end() ? nullptr : &*found;
}

constexpr ServedPass kDecode{.sequences = 4, .context = 2048};

TEST_CASE("a decode reads every weight of a dense model once", "[served_iteration]") {
  const ServedIteration all =
      iteration("meta-llama/Llama-3.1-8B-Instruct", "trtllm", "", {}, kDecode, "h100_sxm");
  // 32 layers of 218.1 M weights and the head's 525.3 M, two bytes each; norms apart.
  const double layer = 4096.0 * (4096 + 2 * 1024) + 4096.0 * 4096 + 3 * 4096.0 * 14336;
  CHECK(all.weight_bytes == Approx(2 * (32 * layer + 4096.0 * 128256)));
  CHECK(calls(all, "qkv") == 32);
  CHECK(product(all, "mlp up").n == 2 * 14336);
  CHECK(all.transfers.empty());
}

TEST_CASE("tensor parallelism cuts products and sums twice a layer", "[served_iteration]") {
  const ServedLayout eight{.tensor = 8, .expert_tensor = 8};
  const ServedIteration cut =
      iteration("meta-llama/Llama-3.1-70B", "trtllm", "fp8", eight, kDecode);
  CHECK(product(cut, "qkv").n == (64 + 2 * 8) * 128 / 8);
  CHECK(product(cut, "output").k == 64 * 128 / 8);
  const ServedTransfer* sum = transfer(cut, "attention all-reduce");
  REQUIRE(sum != nullptr);
  CHECK(sum->bytes == 4 * 8192 * 2);
  CHECK(sum->count == 80);
  CHECK(transfer(cut, "mlp all-reduce")->count == 80);
  // TensorRT-LLM's sum normalises; sglang's does not, and casts apart.
  CHECK(calls(cut, "attention norm") == 0);
  CHECK(calls(cut, "qkv cast") == 0);
  const ServedIteration apart =
      iteration("Qwen/Qwen3-235B-A22B-FP8", "sglang", "fp8_block", eight, kDecode);
  CHECK(calls(apart, "attention norm") == 94);
  CHECK(calls(apart, "qkv cast") == 94);
}

TEST_CASE("a decode reads the experts that its tokens hit", "[served_iteration]") {
  const auto groups = [](const ServedIteration& iteration) {
    for (const ServedKernel& kernel : iteration.kernels)
      if (const auto* grouped = std::get_if<workload::GroupedGemm>(&kernel.query.op))
        return grouped->sizes;
    return std::vector<std::int64_t>{};
  };
  const auto hit = [&](const std::vector<std::int64_t>& sizes) {
    return std::count_if(sizes.begin(), sizes.end(), [](std::int64_t m) { return m > 0; });
  };
  const auto served = [&](const ServedLayout& layout) {
    return groups(
        iteration("deepseek-ai/DeepSeek-R1", "sglang", "fp8", layout, kDecode, "b200_sxm"));
  };
  // Four tokens with eight of 256 experts each hit 256 (1 - (1 - 1/32)^4) = 30.5 of them.
  const std::vector<std::int64_t> whole = served({.tensor = 8, .expert_tensor = 8});
  CHECK(whole.size() == 256);
  CHECK(hit(whole) >= 29);
  CHECK(hit(whole) <= 32);
  // The fullest of eight ranks holds more than its share of 32 rows.
  const std::vector<std::int64_t> share = served({.tensor = 8, .expert = 8});
  CHECK(share.size() == 32);
  CHECK(hit(share) > 4);
  CHECK(hit(share) < 12);
}

TEST_CASE("attention replicas gather their tokens for the experts", "[served_iteration]") {
  const ServedIteration replicated =
      iteration("deepseek-ai/DeepSeek-R1", "sglang", "fp8", {.attention_ranks = 8, .expert = 8},
                kDecode, "b200_sxm");
  CHECK(transfer(replicated, "attention all-reduce") == nullptr);
  REQUIRE(transfer(replicated, "dispatch") != nullptr);
  CHECK(transfer(replicated, "dispatch")->bytes == 8 * 4 * 7168 * 2);
  CHECK(transfer(replicated, "combine")->kind == ServedTransfer::Kind::reduce_scatter);
  CHECK(product(replicated, "q up").n == 128 * 192);
  CHECK(product(replicated, "head").n == 129280);
}

TEST_CASE("sparse latent attention is refused by name", "[served_iteration]") {
  try {
    (void)iteration("zhipuai/GLM-5", "sglang", "fp8", {.tensor = 8, .expert_tensor = 8}, kDecode);
    FAIL("not refused");
  } catch (const core::Refusal& refusal) {
    CHECK(std::string{refusal.what()}.find("glm_5") != std::string::npos);
  }
}

}  // namespace
}  // namespace tessera::calibrate
