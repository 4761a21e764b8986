#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include <algorithm>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/flash_attention.hpp"
#include "models/kernels/implementation_library.hpp"

namespace tessera {
namespace {

using core::DataType;
using kernels::LaunchPlan;
using workload::Attention;

const kernels::ImplementationLibrary& library() {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  return kLibrary;
}

Attention prefill(std::int64_t width, bool causal = true, std::int64_t length = 4096,
                  DataType type = DataType::bf16) {
  Attention attention{.batch = 2, .q_length = length, .kv_length = length, .heads = 8};
  attention.kv_heads = 8;
  attention.qk_dim = attention.v_dim = width;
  attention.causal = causal;
  attention.type = attention.cache_type = type;
  return attention;
}

/// The launches that `implementation` considers on an H200.
std::vector<LaunchPlan> plans(const std::string& implementation, const Attention& attention) {
  const device::DeviceSpec device = device::load_device("h200_sxm");
  const auto& chosen = library().choose(attention, device, implementation);
  std::vector<LaunchPlan> all;
  for (const auto& kernel : kernels::make_attention(attention, device, chosen, {}, {132}))
    all.push_back(kernel->plan());
  return all;
}

std::string only_tile(const std::string& implementation, const Attention& attention) {
  const auto all = plans(implementation, attention);
  REQUIRE(all.size() == 1);
  return all[0].name.substr(0, all[0].name.find(' '));
}

TEST_CASE("TensorRT-LLM takes fewer keys a step for wider heads", "[flash_attention]") {
  const std::string name = "trtllm_fmha_hopper";
  CHECK(only_tile(name, prefill(64)) == "128x256");
  CHECK(only_tile(name, prefill(72)) == "128x128");
  CHECK(only_tile(name, prefill(128)) == "128x128");
  CHECK(only_tile(name, prefill(192)) == "128x64");
  CHECK(only_tile(name, prefill(128, true, 4096, DataType::fp8)) == "128x256");
  CHECK(only_tile(name, prefill(256, true, 4096, DataType::fp8)) == "128x128");
  Attention latent = prefill(192);
  latent.v_dim = 128;
  CHECK(only_tile("trtllm_fmha_mla_hopper", latent) == "128x128");
}

TEST_CASE("FlashAttention-3 takes more keys a step where nothing is masked", "[flash_attention]") {
  CHECK(plans("flash_attention_3", prefill(64, true))[0].name.starts_with("192x128"));
  CHECK(plans("flash_attention_3", prefill(64, false))[0].name.starts_with("192x192"));
  CHECK(plans("flash_attention_3", prefill(128, true))[0].name.starts_with("128x128"));
  CHECK(plans("flash_attention_3", prefill(128, false))[0].name.starts_with("128x176"));
}

TEST_CASE("FlashAttention-3 stages outputs of absent queries, TensorRT-LLM stores what there is",
          "[flash_attention]") {
  const auto drained = [](const std::string& name, std::int64_t queries) {
    return plans(name, prefill(72, false, queries))[0].epilogue.fp32;
  };
  CHECK(drained("flash_attention_3", 16) == drained("flash_attention_3", 192));
  CHECK(drained("trtllm_fmha_hopper", 64) == Catch::Approx(drained("trtllm_fmha_hopper", 128) / 2));
}

TEST_CASE("kernels of Blackwell take two tiles of queries in turn, one of wide heads",
          "[flash_attention]") {
  const device::DeviceSpec device = device::load_device("b200_sxm");
  const auto tiles = [&](const std::string& name, std::int64_t width, std::int64_t queries) {
    const Attention attention = prefill(width, false, queries);
    const auto& chosen = library().choose(attention, device, name);
    std::int64_t fewest = 1 << 20;
    for (const auto& kernel : kernels::make_attention(attention, device, chosen, {}, {148}))
      fewest = std::min(fewest, kernel->plan().tiles);
    return fewest;
  };
  for (const std::string name : {"flash_attention_4", "trtllm_fmha_blackwell"}) {
    CHECK(tiles(name, 128, 1024) == 2 * 8 * 4);
    CHECK(tiles(name, 256, 1024) == 2 * 8 * 8);
  }
  CHECK(plans("flash_attention_3", prefill(64, false))[0].step.sfu ==
        Catch::Approx(192.0 * 192 / 16));  // conversions take none of the exponentials' pipe
}

TEST_CASE("heads are multiplied as wide as the library compiles them", "[flash_attention]") {
  const auto tensor = [](const std::string& name, std::int64_t width) {
    return plans(name, prefill(width, false))[0].step.tensor;
  };
  CHECK(tensor("flash_attention_3", 72) == tensor("flash_attention_3", 96));
  CHECK(tensor("flash_attention_3", 80) == tensor("flash_attention_3", 96));
  CHECK(tensor("flash_attention_3", 104) > tensor("flash_attention_3", 96));
  CHECK(tensor("trtllm_fmha_hopper", 72) == tensor("trtllm_fmha_hopper", 128));
}

TEST_CASE("tiles in order leave the longest for the end", "[flash_attention]") {
  // Two tiles a head, of one and two steps: the one met at random has 5/6 of a step left.
  const LaunchPlan plan = plans("trtllm_fmha_hopper", prefill(128, true, 256))[0];
  CHECK(plan.longest_steps == 2);
  CHECK(plan.trailing_steps == Catch::Approx(2 - 5.0 / 6));
  CHECK(plan.period == 2);
  CHECK(plans("trtllm_fmha_hopper", prefill(128, false, 256))[0].trailing_steps == 0);
  CHECK(plans("flash_attention_3", prefill(128, true, 256))[0].trailing_steps ==
        1);  // the shortest
}

TEST_CASE("queries of heads that share keys fill tiles together", "[flash_attention]") {
  Attention attention = prefill(128, true, 200);
  attention.kv_heads = 1;
  CHECK(plans("flash_attention_3_paged", attention)[0].tiles == 2 * 13);  // of 8 x 200 queries
  CHECK(plans("flash_attention_3", attention)[0].tiles == 2 * 8 * 2);
}

/// One sequence of `length` whose query heads share `kv_heads` key heads.
Attention grouped(std::int64_t length, std::int64_t heads, std::int64_t kv_heads,
                  std::int64_t width = 128) {
  Attention attention = prefill(width, true, length);
  attention.batch = 1;
  attention.heads = heads;
  attention.kv_heads = kv_heads;
  return attention;
}

TEST_CASE("keys of few tiles are cut over pages, as many as the GPU evens out",
          "[flash_attention]") {
  const std::string name = "flash_attention_3_paged";
  // 48 tiles of 128 rows: five parts at most; a tenth over 48 x 24 / 132 is ten tiles of keys.
  Attention few = grouped(3072, 2, 1);
  CHECK(plans(name, few)[0].tiles == 48 * 3);
  CHECK(plans("flash_attention_3", few)[0].tiles == 2 * 24);
  // The bound looks at one sequence alone; with 16 of them nothing is left to even out.
  few.batch = 16;
  CHECK(plans(name, few)[0].tiles == 16 * 48);
  // 105 tiles leave SMs idle, 106 do not.
  CHECK(plans(name, grouped(15 * 128, 7, 1))[0].tiles > 105);
  CHECK(plans(name, grouped(53 * 128, 2, 1))[0].tiles == 106);
  // Behind a window of 256 keys there are three tiles of them to cut.
  Attention windowed = grouped(3072, 2, 1);
  windowed.window = 256;
  CHECK(plans(name, windowed)[0].tiles == 48);
}

TEST_CASE("at most 64 packed queries over pages are one warpgroup's", "[flash_attention]") {
  const std::string name = "flash_attention_3_paged";
  CHECK(only_tile(name, grouped(16, 8, 2)) == "64x128");
  CHECK(only_tile(name, grouped(17, 8, 2)) == "128x128");
  CHECK(only_tile(name, grouped(16, 8, 2, 256)) == "128x80");
}

TEST_CASE("wide FP8 heads over pages wait for each product", "[flash_attention]") {
  const std::string name = "flash_attention_3_paged";
  CHECK(plans(name, prefill(256, true, 4096, DataType::fp8))[0].unwaited_tensor == 0);
  CHECK(plans(name, prefill(192, true, 4096, DataType::fp8))[0].unwaited_tensor > 0);
}

TEST_CASE("a tile of a later sequence waits until the scheduler has found it",
          "[flash_attention]") {
  std::vector<kernels::Implementation> all = library().all();
  all.push_back(*library().find("flash_attention_3_paged"));
  all.back().name = "at once";
  all.back().parameters["sequence_scan"] = 0;
  const device::DeviceSpec device = device::load_device("h200_sxm");
  gpu::Gpu on{device, {}, kernels::ImplementationLibrary{all}, gpu::Fidelity::cycle};
  gpu::ExecutionContext warm;
  warm.warm_activations = true;
  const auto searching = [&](std::int64_t sequences) {
    Attention attention = grouped(16, 8, 1);
    attention.batch = sequences;
    return (on.run(attention, warm, "flash_attention_3_paged").cycles -
            on.run(attention, warm, "at once").cycles)
        .value();
  };
  CHECK(searching(31) == 0);
  // Steps of 920 cycles, less what the first group's loads would have kept the others waiting.
  CHECK(searching(62) > 500);
  CHECK(searching(62) < 930);
  CHECK(searching(124) > 3 * 500);
  CHECK(searching(124) < 3 * 930);
}

TEST_CASE("a kernel that waits for both products is slower, and a mask costs",
          "[flash_attention]") {
  // What the tiles have in common: 128 queries and keys of 128, one product as wide as the other.
  kernels::Implementation apart =
      library().choose(prefill(128), device::load_device("h200_sxm"), "trtllm_fmha_hopper");
  const auto step = [&](const kernels::Implementation& one, const Attention& attention) {
    return kernels::make_attention(attention, device::load_device("h200_sxm"), one, {}, {132})[0]
        ->plan();
  };
  const LaunchPlan waited = step(apart, prefill(128));
  CHECK(waited.unwaited_tensor == 0);
  CHECK(waited.step.fp32 > step(apart, prefill(128, false)).step.fp32);
  apart.attention.overlaps_products = true;
  CHECK(step(apart, prefill(128)).unwaited_tensor > 0);
  apart.parameters["mask_fp32"] = 0;
  CHECK(step(apart, prefill(128)).step.fp32 == step(apart, prefill(128, false)).step.fp32);
}

}  // namespace
}  // namespace tessera
