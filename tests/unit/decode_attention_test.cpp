#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "calibrate/measured_call.hpp"
#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/decode_attention.hpp"
#include "models/kernels/implementation_library.hpp"
#include "models/kernels/launch.hpp"

namespace tessera {
namespace {

using core::DataType;
using kernels::Implementation;
using kernels::KeySplit;
using workload::Attention;

const kernels::ImplementationLibrary& library() {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  return kLibrary;
}

std::int64_t parts(KeySplit split, std::int64_t ctas, std::int64_t sms, std::int64_t tiles,
                   int least_tiles = 1, std::int64_t keys_of_part = 0) {
  return kernels::decode_splits({.split = split, .least_tiles = least_tiles, .most_splits = 64},
                                {.ctas = ctas,
                                 .ctas_of_sequence = 1,
                                 .sms = sms,
                                 .slots = sms,
                                 .tiles = tiles,
                                 .keys = 128 * tiles,
                                 .keys_of_tile = 128,
                                 .keys_of_part = keys_of_part});
}

gpu::KernelResult run(const std::string& device, const Attention& attention,
                      gpu::Fidelity fidelity = gpu::Fidelity::cycle, bool warm = false,
                      const std::string& name = {}) {
  gpu::Gpu on{device::load_device(device), {}, library(), fidelity};
  gpu::ExecutionContext context;
  context.warm_activations = context.warm_weights = warm;
  return on.run(attention, context, name);
}

Attention decode(std::int64_t batch, std::int64_t keys, std::int64_t heads, std::int64_t kv_heads) {
  return {.batch = batch, .q_length = 1, .kv_length = keys, .heads = heads, .kv_heads = kv_heads};
}

calibrate::MeasuredCall generation(const std::string& gpu, const std::string& framework,
                                   const std::string& kernel, int heads, int kv_heads,
                                   const std::string& kv_dtype) {
  const calibrate::CsvTable table = calibrate::CsvTable::parse(
      "gpu,framework,op,dtype,kernel,batch,kv_len,num_heads,num_kv_heads,head_dim,win,kv_dtype\n" +
          gpu + "," + framework + ",attn_gen,bfloat16," + kernel + ",4,1024," +
          std::to_string(heads) + "," + std::to_string(kv_heads) + ",128,0," + kv_dtype + "\n",
      "attention_generation.csv");
  return calibrate::MeasurementMap::load().call("attention_generation", table, 0,
                                                device::load_device(gpu));
}

}  // namespace

TEST_CASE("keys are cut until the places of the machine have work", "[decode]") {
  CHECK(parts(KeySplit::fill, 1, 132, 1000) == 64);  // most_splits
  CHECK(parts(KeySplit::fill, 4, 132, 1000) == 33);
  CHECK(parts(KeySplit::fill, 66, 132, 1000) == 2);
  CHECK(parts(KeySplit::fill, 67, 132, 1000) == 1);
  CHECK(parts(KeySplit::fill, 4, 132, 7) == 7);  // a tile each
  CHECK(parts(KeySplit::fill, 4, 132, 7, 4) == 1);
  CHECK(parts(KeySplit::none, 1, 132, 1000) == 1);
}

TEST_CASE("FlashAttention-3 cuts few parts, evened out over the SMs", "[decode]") {
  CHECK(parts(KeySplit::efficient, 1, 132, 4) == 1);
  CHECK(parts(KeySplit::efficient, 1, 132, 5) == 5);  // a tile each
  // 147 tiles of each of 16 sequences on 108 SMs: a share of 24 tiles, and so on.
  CHECK(parts(KeySplit::efficient, 16, 108, 147) == 7);
  CHECK(parts(KeySplit::efficient, 32, 108, 147) == 4);
  CHECK(parts(KeySplit::efficient, 64, 108, 147) == 2);
  CHECK(parts(KeySplit::efficient, 128, 108, 147) == 1);
}

TEST_CASE("the masked kernel cuts so that every SM has a CTA", "[decode]") {
  CHECK(parts(KeySplit::cover, 1, 132, 1000) == 64);  // most_splits
  CHECK(parts(KeySplit::cover, 48, 132, 1000) == 3);  // 144 CTAs: 12 of them in a second wave
  CHECK(parts(KeySplit::cover, 131, 132, 1000) == 2);
  CHECK(parts(KeySplit::cover, 132, 132, 1000) == 1);
  CHECK(parts(KeySplit::cover, 4, 132, 7) == 7);  // a tile each
}

TEST_CASE("the fewer the heads, the more threads the masked kernel gives each", "[decode]") {
  const auto plan = [](std::int64_t batch) {
    const auto launches = kernels::make_launches(
        decode(batch, 64, 1, 1), device::load_device("h200_sxm"),
        *library().find("trtllm_mmha_hopper"), {}, std::vector<int>(8, 16));  // 128 SMs
    REQUIRE(launches.size() == 1);
    return launches.front()->plan();
  };
  CHECK(plan(128).ctas_per_sm == 1);  // 1,024 threads each
  CHECK(plan(170).ctas_per_sm == 1);
  CHECK(plan(171).ctas_per_sm == 2);  // 512 x 4 / 3 rounded down
  CHECK(plan(511).ctas_per_sm == 2);
  CHECK(plan(512).ctas_per_sm == 4);
}

TEST_CASE("FlashAttention-3 on Ampere takes another tile where keys may be cut", "[decode]") {
  const auto name = [](std::int64_t keys) {
    return kernels::make_launches(decode(64, keys, 8, 8), device::load_device("a100_sxm"),
                                  *library().find("flash_attention_2_decode"), {},
                                  std::vector<int>(6, 18))
        .front()
        ->plan()
        .name;
  };
  CHECK(name(4 * 112).starts_with("decode 128x64 "));
  CHECK(name(4 * 112 + 1).starts_with("decode 128x112 "));  // five tiles of 112 keys
}

TEST_CASE("keys before a window are counted when XQA cuts, not read", "[decode]") {
  Attention window = decode(64, 4096, 32, 4);
  window.window = 128;
  Attention alone = decode(64, 128, 32, 4);
  const auto cut = run("h200_sxm", window, gpu::Fidelity::cycle, false, "trtllm_xqa_hopper");
  const auto whole = run("h200_sxm", alone, gpu::Fidelity::cycle, false, "trtllm_xqa_hopper");
  CHECK(cut.hbm_bytes < 1.3 * whole.hbm_bytes);  // queries of idle CTAs
  CHECK(cut.time > 2 * whole.time);              // some 1,000 CTAs on 132 SMs
}

TEST_CASE("the warp-specialised XQA cuts what its window holds", "[decode]") {
  Attention window = decode(16, 16384, 64, 2);
  window.window = 128;
  window.cache_type = DataType::fp8;
  Attention alone = window;
  alone.kv_length = 256;
  const auto of_many =
      run("h100_sxm", window, gpu::Fidelity::cycle, false, "trtllm_xqa_wgmma_hopper");
  const auto of_few =
      run("h100_sxm", alone, gpu::Fidelity::cycle, false, "trtllm_xqa_wgmma_hopper");
  CHECK(of_many.time < of_few.time * 1.05);
  CHECK(of_many.counters.at("launch__grid_size") <= 2 * of_few.counters.at("launch__grid_size"));
}

TEST_CASE("XQA cuts by the root of the keys, a few waves at most", "[decode]") {
  const auto rooted = [](std::int64_t ctas, std::int64_t tiles) {
    return parts(KeySplit::fill, ctas, 132, tiles, 1, 128);
  };
  CHECK(rooted(1, 1) == 1);
  CHECK(rooted(1, 4) == 4);     // 128 keys each
  CHECK(rooted(1, 16) == 11);   // round(sqrt(8 x 16))
  CHECK(rooted(128, 16) == 8);  // 1408 CTAs of 1056 in 8 waves
  CHECK(rooted(2000, 16) == 1);
}

TEST_CASE("a query a sequence runs a decode kernel, more of them none", "[decode]") {
  for (const std::string device : {"a100_sxm", "h200_sxm", "b200_sxm", "rtx_pro_6000_server"}) {
    const device::DeviceSpec spec = device::load_device(device);
    Attention attention = decode(4, 1024, 32, 8);
    CHECK(library().choose(attention, spec, {}).decode.has_value());
    attention.q_length = 1024;
    CHECK_FALSE(library().choose(attention, spec, {}).decode.has_value());
    attention.q_length = attention.kv_length = 1;  // the first token of a prompt
    CHECK_FALSE(library().choose(attention, spec, {}).decode.has_value());
  }
}

TEST_CASE("decoding reads the cache once, and no faster than HBM", "[decode]") {
  for (const gpu::Fidelity fidelity : {gpu::Fidelity::cycle, gpu::Fidelity::analytical}) {
    const auto result = run("h200_sxm", decode(64, 8192, 32, 8), fidelity);
    const double cache = 64.0 * 8192 * 8 * 256 * 2;  // keys and values of 128 each, 2 B
    CHECK(result.hbm_bytes >= cache);
    CHECK(result.hbm_bytes < 1.02 * cache);
    CHECK(core::to_seconds(core::Time{result.time}).value() > cache / 4.8e12);
    CHECK(core::to_seconds(core::Time{result.time}).value() < 1.5 * cache / 4.8e12);
  }
}

TEST_CASE("grouped queries share what is read; a window ends it", "[decode]") {
  const double grouped = run("h200_sxm", decode(16, 8192, 32, 4)).hbm_bytes;
  const double own = run("h200_sxm", decode(16, 8192, 32, 32)).hbm_bytes;
  CHECK(own > 7.5 * grouped);
  Attention window = decode(16, 8192, 32, 4);
  window.window = 1024;
  CHECK(run("h200_sxm", window).hbm_bytes < grouped / 7.5);
  CHECK(run("h200_sxm", window).time < run("h200_sxm", decode(16, 8192, 32, 4)).time);
}

TEST_CASE("a cache in L2 is not read from HBM", "[decode]") {
  const Attention attention = decode(1, 4096, 32, 8);  // 16 MiB
  const auto warm = run("h200_sxm", attention, gpu::Fidelity::cycle, true);
  const auto cold = run("h200_sxm", attention);
  CHECK(warm.hbm_bytes == 0);
  CHECK(cold.hbm_bytes > 16e6);
  CHECK(warm.time < cold.time);
}

TEST_CASE("cutting keys of few sequences pays", "[decode]") {
  std::vector<Implementation> all = library().all();
  all.push_back(*library().find("flash_attention_3_decode"));
  all.back().name = "whole";
  all.back().decode->split = KeySplit::none;
  const device::DeviceSpec device = device::load_device("h200_sxm");
  gpu::Gpu on{device, {}, kernels::ImplementationLibrary{all}, gpu::Fidelity::cycle};
  const Attention attention = decode(1, 32768, 8, 8);
  const auto time = [&](const std::string& name) { return on.run(attention, {}, name).time; };
  CHECK(4 * time("flash_attention_3_decode") < time("whole"));
}

TEST_CASE("FlashAttention-3 decodes few queries of a key head with one warpgroup", "[decode]") {
  const auto tile = [](Attention attention) {
    return run("h100_sxm", attention, gpu::Fidelity::analytical).implementation;
  };
  CHECK(tile(decode(256, 64, 16, 1)).find("decode 64x128") != std::string::npos);
  CHECK(tile(decode(256, 64, 96, 1)).find("decode 128x128") != std::string::npos);
  Attention windowed = decode(256, 64, 16, 1);
  windowed.window = 8192;
  CHECK(tile(windowed).find("decode 128x128") != std::string::npos);
  Attention fp8 = decode(256, 64, 16, 1);
  fp8.type = fp8.cache_type = DataType::fp8;
  CHECK(tile(fp8).find("decode 64x96") != std::string::npos);
}

TEST_CASE("FP8 values are turned before FlashAttention-3 multiplies with them", "[decode]") {
  Attention attention = decode(64, 32768, 192, 2);  // two warpgroups' tiles
  const double bf16 = core::to_microseconds(run("h200_sxm", attention).time);
  attention.type = attention.cache_type = DataType::fp8;
  const double fp8 = core::to_microseconds(run("h200_sxm", attention).time);
  CHECK(fp8 < bf16);
  CHECK(fp8 > 0.6 * bf16);  // though half as many bytes are read
}

TEST_CASE("FlashAttention-3 looks for the next tile among its sequences", "[decode]") {
  // As many tiles, of many sequences with a key head each or of few with many.
  const double many = core::to_microseconds(run("h100_sxm", decode(2048, 16, 1, 1)).time);
  const double few = core::to_microseconds(run("h100_sxm", decode(64, 16, 32, 32)).time);
  CHECK(many > 1.1 * few);
}

TEST_CASE("decode rows name the kernel that ran", "[measured]") {
  const auto last = [](const calibrate::MeasuredCall& call) {
    return call.kernels.back().implementation;
  };
  const std::string hopper = "h200_sxm";
  CHECK(last(generation(hopper, "trtllm", "torch_flow", 32, 8, "bfloat16")) == "trtllm_xqa_hopper");
  // Four sequences of 1,024 keys are 32 CTAs with one key head: a quarter of 132 SMs is 33.
  CHECK(last(generation(hopper, "trtllm", "torch_flow", 8, 1, "bfloat16")) == "trtllm_mmha_hopper");
  CHECK(last(generation(hopper, "trtllm", "torch_flow", 8, 1, "fp8")) == "trtllm_xqa_wgmma_hopper");
  CHECK(last(generation(hopper, "trtllm", "torch_flow", 32, 1, "fp8")) ==
        "trtllm_xqa_wgmma_hopper");
  CHECK(last(generation(hopper, "trtllm", "torch_flow", 32, 32, "bfloat16")) ==
        "trtllm_mmha_hopper");
  CHECK(last(generation(hopper, "trtllm", "torch_flow", 64, 1, "fp8")) == "trtllm_mmha_hopper");
  CHECK(last(generation("b200_sxm", "trtllm", "torch_flow", 32, 32, "bfloat16")) ==
        "trtllm_gen_decode");
  CHECK(last(generation("b200_sxm", "trtllm", "torch_flow", 64, 1, "bfloat16")) ==
        "trtllm_mmha_blackwell");
}

TEST_CASE("what surrounds decode attention in a measured call", "[measured]") {
  const auto kernels = [](const calibrate::MeasuredCall& call) { return call.kernels.size(); };
  CHECK(kernels(generation("h200_sxm", "trtllm", "torch_flow", 32, 8, "bfloat16")) == 2);
  CHECK(kernels(generation("h200_sxm", "trtllm", "torch_flow", 32, 8, "fp8")) == 1);
  CHECK(kernels(generation("h200_sxm", "trtllm", "torch_flow", 32, 32, "bfloat16")) == 1);
  // FlashAttention-3 schedules in a kernel of its own.
  CHECK(kernels(generation("h200_sxm", "sglang", "fa3", 32, 8, "bfloat16")) == 3);
  CHECK(kernels(generation("h200_sxm", "sglang", "fa3", 32, 8, "fp8")) == 6);
  CHECK(kernels(generation("h200_sxm", "sglang", "triton", 32, 8, "fp8")) == 4);
  CHECK(kernels(generation("h200_sxm", "tessera_probes", "probe", 32, 8, "bfloat16")) == 1);
}

TEST_CASE("few query heads a key head stay off tensor cores in sglang", "[measured]") {
  const auto last = [](int heads, const std::string& kv_dtype) {
    return generation("rtx_pro_6000_server", "sglang", "flashinfer", heads, 8, kv_dtype)
        .kernels.back()
        .implementation;
  };
  CHECK(last(24, "bfloat16") == "flashinfer_decode_client");
  CHECK(last(32, "bfloat16") == "mma_decode_client");
  CHECK(last(8, "fp8") == "mma_decode_client");
}

TEST_CASE("times are read off a clock in steps on Blackwell", "[measured]") {
  const auto blackwell = generation("b200_sxm", "sglang", "trtllm_mha", 32, 8, "bfloat16");
  CHECK(blackwell.read_us(8.0) == Catch::Approx(0.22 + 4 * 2.048));
  CHECK(blackwell.read_us(9.4) == Catch::Approx(0.22 + 4 * 2.048));
  CHECK(blackwell.read_us(9.5) == Catch::Approx(0.22 + 5 * 2.048));
  CHECK(blackwell.read_us(0.1) == Catch::Approx(0.22 + 2.048));  // no call takes nothing
  const auto hopper = generation("h200_sxm", "sglang", "fa3", 32, 8, "bfloat16");
  CHECK(hopper.read_us(9.4) == 9.4);
}

TEST_CASE("fmha_v2 loses time in 8-bit kernels with a window, where keys lie before it",
          "[flash_attention]") {
  const auto slower_for_window = [](DataType type, std::int64_t keys) {
    Attention attention{.batch = 8,
                        .q_length = keys,
                        .kv_length = keys,
                        .heads = 48,
                        .kv_heads = 2,
                        .qk_dim = 64,
                        .v_dim = 64,
                        .type = type,
                        .cache_type = type};
    const auto cycles = [&](std::int64_t window) {
      attention.window = window;
      return run("h100_sxm", attention, gpu::Fidelity::cycle, false, "trtllm_fmha_hopper")
          .cycles.value();
    };
    return cycles(128) / cycles(keys);
  };
  CHECK(slower_for_window(DataType::fp8, 128) == 1);
  CHECK(slower_for_window(DataType::fp8, 1024) > 1.5 * slower_for_window(DataType::bf16, 1024));
}

TEST_CASE("context kernels that do not pack work on a tile for each head", "[flash_attention]") {
  const Attention attention{.batch = 64, .q_length = 8, .kv_length = 8, .heads = 32, .kv_heads = 4};
  const auto packed = run("h200_sxm", attention, gpu::Fidelity::cycle, true);
  const auto apart = run("h200_sxm", attention, gpu::Fidelity::cycle, true, "trtllm_fmha_hopper");
  CHECK(3 * packed.time < apart.time);  // eight times the tiles, which drain an eighth of the rows
}

}  // namespace tessera
