#include "models/kernels/warp_attention.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "calibrate/measured_call.hpp"
#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/implementation_library.hpp"

namespace tessera {
namespace {

using core::DataType;
using workload::Attention;
using workload::Stream;

kernels::ImplementationLibrary library() { return kernels::ImplementationLibrary::load(); }

std::vector<std::unique_ptr<kernels::TileKernel>> launches(const std::string& implementation,
                                                           const Attention& attention) {
  const auto device = device::load_device("rtx_pro_6000_server");
  return kernels::make_warp_attention(attention, device, *library().find(implementation), {},
                                      device.sm.gpc_sizes);
}

double microseconds(const std::string& implementation, const Attention& attention,
                    gpu::Fidelity fidelity = gpu::Fidelity::cycle) {
  gpu::Gpu on{device::load_device("rtx_pro_6000_server"), {}, library(), fidelity};
  return core::to_microseconds(on.run(attention, {}, implementation).time);
}

calibrate::MeasuredCall context(const std::string& gpu, const std::string& framework,
                                const std::string& kernel, const std::string& dtype,
                                const std::string& kv_dtype) {
  const calibrate::CsvTable table = calibrate::CsvTable::parse(
      "gpu,framework,op,dtype,kernel,batch,isl,num_heads,num_kv_heads,head_dim,win,kv_dtype\n" +
          gpu + "," + framework + ",attn_ctx," + dtype + "," + kernel + ",2,1024,32,8,128,0," +
          kv_dtype + "\n",
      "attention_context.csv");
  return calibrate::MeasurementMap::load().call("attention_context", table, 0,
                                                device::load_device(gpu));
}

}  // namespace

TEST_CASE("FlashInfer's plan cuts keys no finer than 128 and no more than fit", "[warps]") {
  CHECK(kernels::planned_part(8, 1024, 15) == 1024);  // two parts of 8 tiles would be 16
  CHECK(kernels::planned_part(8, 1024, 16) == 512);
  CHECK(kernels::planned_part(16, 512, 188) == 128);  // 11 parts would have 47 keys each
  CHECK(kernels::planned_part(48, 3072, 376) == 439);
  CHECK(kernels::planned_part(1, 64, 376) == 64);
}

TEST_CASE("the busiest slot takes what the others leave", "[warps]") {
  CHECK(kernels::busiest_slot({1, 2, 3}, 1, 4) == 3);
  CHECK(kernels::busiest_slot({1, 2, 3}, 1, 1) == 6);
  CHECK(kernels::busiest_slot({1, 2, 3}, 2, 2) == 7);  // 1+3+2 and 2+1+3 lie within one tile
  const double many = kernels::busiest_slot({1, 3}, 1 << 16, 128);
  CHECK(many == Catch::Approx((1 << 18) / 128 + 1.5));
}

TEST_CASE("tiles follow the width of a head and the packed length", "[warps]") {
  const auto name = [](const std::string& implementation, const Attention& attention) {
    const auto all = launches(implementation, attention);
    REQUIRE(all.size() == 1);
    return all.front()->plan().name;
  };
  const Attention wide{.batch = 64, .q_length = 512, .kv_length = 512, .heads = 32, .kv_heads = 32};
  Attention wider = wide;
  wider.qk_dim = wider.v_dim = 256;
  CHECK(name("flashinfer_client", wide) == "128x32 warps");
  CHECK(name("flashinfer_client", wider) == "64x16 warps");
  CHECK(name("trtllm_fmha_mma_client", wide) == "64x32 warps");
  CHECK(name("trtllm_fmha_mma_client", wider) == "64x128 warps");
  Attention few = wide;
  few.q_length = few.kv_length = 16;
  CHECK(name("flashinfer_client", few) == "16x64 warps");
  few.kv_heads = 8;  // four heads share a tile
  CHECK(name("flashinfer_client", few) == "64x64 warps");
  Attention lone = wide;
  lone.batch = 1;
  lone.heads = lone.kv_heads = 2;
  CHECK(name("flashinfer_client", lone) == "128x32 warps split 4");
}

TEST_CASE("products of CTAs that share an SM add up", "[warps]") {
  // A tile an SM, then two: the tensor pipe is shared, waiting is not.
  Attention attention{.q_length = 128, .kv_length = 8192, .heads = 188, .kv_heads = 188};
  attention.causal = false;
  for (const auto fidelity : {gpu::Fidelity::cycle, gpu::Fidelity::analytical}) {
    const double alone = microseconds("flashinfer_client", attention, fidelity);
    Attention twice = attention;
    twice.batch = 2;
    const double together = microseconds("flashinfer_client", twice, fidelity);
    CHECK(together > 1.3 * alone);
    CHECK(together < 2.0 * alone);
  }
}

TEST_CASE("spilled registers cost time in every step", "[warps]") {
  auto implementation = *library().find("trtllm_fmha_mma_fp8_client");
  const auto device = device::load_device("rtx_pro_6000_server");
  const Attention attention{.q_length = 1024,
                            .kv_length = 1024,
                            .heads = 16,
                            .kv_heads = 16,
                            .qk_dim = 256,
                            .v_dim = 256,
                            .type = DataType::fp8,
                            .cache_type = DataType::fp8};
  const auto step = [&] {
    return kernels::make_warp_attention(attention, device, implementation, {}, device.sm.gpc_sizes)
        .front()
        ->plan()
        .step.shared_memory;
  };
  const double before = step();
  for (kernels::TileShape& tile : implementation.tiles) tile.spilled *= 2;
  CHECK(step() == Catch::Approx(2 * before).margin(1));
  CHECK(before > 0);
}

TEST_CASE("a prefill call has the casts and the rotation of its framework", "[warps]") {
  const auto streams = [](const calibrate::MeasuredCall& call) {
    std::vector<workload::StreamKind> kinds;
    for (const auto& query : call.kernels)
      if (const auto* stream = std::get_if<Stream>(&query.op)) kinds.push_back(stream->kind);
    return kinds;
  };
  using workload::StreamKind;
  using Kinds = std::vector<StreamKind>;
  CHECK(streams(context("b200_sxm", "sglang", "trtllm_mha", "bfloat16", "bfloat16")) ==
        Kinds{StreamKind::copy});
  // A cast to FP8 without a scale is a copy: with the append to the cache, and the queries'.
  const auto fused = context("b200_sxm", "sglang", "trtllm_mha", "fp8", "fp8");
  CHECK(streams(fused) == Kinds{StreamKind::copy, StreamKind::copy});
  const auto& attended = std::get<Attention>(fused.kernels.back().op);
  REQUIRE(attended.kv_heads <= 8);  // a CTA for the keys and one for the values of a token
  CHECK(fused.prepared_rows == static_cast<double>(2 * attended.batch * attended.q_length));
  CHECK(streams(context("rtx_pro_6000_server", "sglang", "flashinfer", "bfloat16", "fp8")) ==
        Kinds{StreamKind::copy, StreamKind::copy, StreamKind::copy});
  const auto call = context("b200_sxm", "trtllm", "torch_flow", "bfloat16", "bfloat16");
  CHECK(streams(call) == Kinds{StreamKind::rotary});
  CHECK(call.kernels.front().implementation == "trtllm_rotary");
  // FlashInfer attends to the keys as they came.
  const auto ragged = context("rtx_pro_6000_server", "sglang", "flashinfer", "bfloat16", "fp8");
  CHECK(std::get<Attention>(ragged.kernels.back().op).cache_type == DataType::bf16);
}

}  // namespace tessera
