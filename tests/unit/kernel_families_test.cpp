#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/flash_attention.hpp"
#include "models/kernels/gemm_kernel.hpp"
#include "models/kernels/grouped_gemm.hpp"
#include "models/kernels/launch.hpp"
#include "models/kernels/stream.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera {
namespace {

using core::DataType;
using kernels::KeyRange;
using workload::Attention;
using workload::GroupedGemm;
using workload::Stream;
using workload::StreamKind;

const kernels::ImplementationLibrary& library() {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  return kLibrary;
}

gpu::KernelResult run(const std::string& device, const workload::Operator& op,
                      gpu::Fidelity fidelity, const gpu::ExecutionContext& context = {}) {
  gpu::Gpu on{device::load_device(device), {}, library(), fidelity};
  return on.run(op, context);
}

double time_us(const std::string& device, const workload::Operator& op, gpu::Fidelity fidelity,
               const gpu::ExecutionContext& context = {}) {
  return core::to_microseconds(run(device, op, fidelity, context).time);
}

bool same(const KeyRange& a, const KeyRange& b) { return a.first == b.first && a.last == b.last; }

}  // namespace

TEST_CASE("a tile of queries visits only the keys that it may see", "[flash_attention]") {
  const Attention causal{.q_length = 1024, .kv_length = 1024, .causal = true};
  CHECK(same(kernels::keys_needed(causal, 0, 128, 128), {0, 1}));
  CHECK(same(kernels::keys_needed(causal, 128, 256, 128), {0, 2}));
  CHECK(same(kernels::keys_needed(causal, 896, 1024, 128), {0, 8}));
  const Attention prefix{.q_length = 128, .kv_length = 1024, .causal = true};
  CHECK(same(kernels::keys_needed(prefix, 0, 128, 128), {0, 8}));
  const Attention window{.q_length = 1024, .kv_length = 1024, .causal = true, .window = 129};
  CHECK(same(kernels::keys_needed(window, 512, 640, 128), {3, 5}));
  const Attention both_ways{.q_length = 1024, .kv_length = 1000, .causal = false};
  CHECK(same(kernels::keys_needed(both_ways, 0, 128, 128), {0, 8}));
}

TEST_CASE("bytes of an element follow from the kind and its types", "[stream]") {
  const auto facts = [](const Stream& s) { return kernels::stream_facts(s); };
  const auto block = DataType::fp8_block;
  CHECK(facts({.kind = StreamKind::copy}).read_bytes == 2);
  CHECK(facts({.kind = StreamKind::swiglu}).read_bytes == 4);
  CHECK(facts({.kind = StreamKind::swiglu_backward}).write_bytes == 4);
  // One byte and 4/128 of a scale.
  CHECK(facts({.kind = StreamKind::quantize, .output = block}).write_bytes == 1.03125);
  CHECK(facts({.kind = StreamKind::quantize_transpose, .output = block}).write_bytes == 2.0625);
  CHECK(facts({.kind = StreamKind::rms_norm, .output = block}).write_bytes == 3.03125);
  CHECK(facts({.kind = StreamKind::permute, .columns = 4, .fan = 2}).write_bytes == 4);
  // Master, gradient, two FP32 moments; master, moments, bf16 weight.
  const auto adamw = facts({.kind = StreamKind::adamw, .input = DataType::fp32});
  CHECK(adamw.read_bytes == 16);
  CHECK(adamw.write_bytes == 14);
  const auto small =
      facts({.kind = StreamKind::adamw, .input = DataType::fp32, .state = DataType::bf16});
  CHECK(small.read_bytes == 12);
}

TEST_CASE("every kind of stream runs on every generation", "[stream]") {
  const std::string device = GENERATE("a100_sxm", "l40s", "h800_sxm", "b200_sxm");
  for (int kind = 0; kind <= static_cast<int>(StreamKind::compute_scale); ++kind) {
    const Stream stream{
        .kind = static_cast<StreamKind>(kind), .rows = 256, .columns = 512, .fan = 2};
    CAPTURE(device, workload::to_string(stream.kind));
    CHECK(time_us(device, stream, gpu::Fidelity::cycle) > 0);
  }
}

TEST_CASE("a group without rows costs nothing", "[grouped_gemm]") {
  const GroupedGemm dense{.sizes = {512, 256}, .n = 2048, .fixed = 1024};
  GroupedGemm sparse = dense;
  sparse.sizes = {0, 512, 0, 0, 256, 0};
  CHECK(run("h800_sxm", dense, gpu::Fidelity::cycle).cycles ==
        run("h800_sxm", sparse, gpu::Fidelity::cycle).cycles);
}

TEST_CASE("a contiguous layout pads each group to 128 rows, a masked one does not",
          "[grouped_gemm]") {
  const GroupedGemm uneven{
      .sizes = {1, 1, 1, 1}, .n = 2048, .fixed = 1024, .type = DataType::fp8_block};
  GroupedGemm masked = uneven;
  masked.masked = true;
  const auto padded = run("h800_sxm", uneven, gpu::Fidelity::cycle);
  const auto exact = run("h800_sxm", masked, gpu::Fidelity::cycle);
  CHECK(padded.l2_bytes > exact.l2_bytes);
  CHECK(padded.time >= exact.time);
}

TEST_CASE("a persistent CTA waits for the descriptors of each new group", "[grouped_gemm]") {
  const auto time = [](const std::vector<std::int64_t>& sizes, double cycles,
                       gpu::Fidelity fidelity) {
    device::FitSet fits;
    fits.parameters["cutlass_grouped_hopper.group_switch"] = {.value = cycles};
    gpu::Gpu on{device::load_device("h800_sxm"), fits, library(), fidelity};
    const GroupedGemm grouped{.sizes = sizes, .n = 256, .fixed = 256};
    return core::to_microseconds(on.run(grouped, {}).time);
  };
  const std::vector<std::int64_t> many(512, 16);
  const std::vector<std::int64_t> one = {8192};
  for (const auto fidelity : {gpu::Fidelity::cycle, gpu::Fidelity::analytical}) {
    // 512 tiles or more on 132 SMs: each waits at least four times, partly beside its tile before.
    CHECK(time(many, 8000, fidelity) > time(many, 100, fidelity) + 1);
    CHECK(time(one, 8000, fidelity) < time(one, 100, fidelity) + 8);
  }
}

TEST_CASE("weights stream slowly where one step is in flight", "[grouped_gemm]") {
  const GroupedGemm few{.sizes = std::vector<std::int64_t>(64, 2), .n = 2048, .fixed = 4096};
  const auto rate = [&](const std::string& implementation) {
    gpu::Gpu on{device::load_device("h200_sxm"), {}, library(), gpu::Fidelity::cycle};
    const auto result = on.run(few, {}, implementation);
    return result.hbm_bytes / core::to_seconds(result.time).value();
  };
  CHECK(rate("cutlass_grouped_hopper") > 3e12);
  CHECK(rate("flashinfer_untuned_grouped_hopper") < 1.5e12);
}

TEST_CASE("block-scaled types run on tiles that hold whole atoms of scales", "[grouped_gemm]") {
  const auto tile = [](const std::string& device, DataType type) {
    const GroupedGemm few{
        .sizes = std::vector<std::int64_t>(8, 2), .n = 2048, .fixed = 4096, .type = type};
    return run(device, few, gpu::Fidelity::analytical).implementation;
  };
  CHECK(tile("rtx_pro_6000_server", DataType::fp8).find(" 16x") != std::string::npos);
  const std::string client = tile("rtx_pro_6000_server", DataType::nvfp4);
  CHECK((client.find(" 128x") != std::string::npos || client.find(" 256x") != std::string::npos));
  const std::string blackwell = tile("b200_sxm", DataType::nvfp4);
  CHECK((blackwell.find(" 64x") != std::string::npos ||
         blackwell.find(" 128x") != std::string::npos));
}

TEST_CASE("4-bit weights are widened for BF16 products on CUDA cores, not for 8-bit ones",
          "[grouped_gemm]") {
  const auto time = [](DataType type, double operations) {
    device::FitSet fits;
    fits.parameters["trtllm_gen_grouped_blackwell.widen_fp32"] = {.value = operations};
    gpu::Gpu on{device::load_device("b200_sxm"), fits, library(), gpu::Fidelity::cycle};
    const GroupedGemm many{
        .sizes = std::vector<std::int64_t>(16, 256), .n = 4096, .fixed = 4096, .type = type};
    return core::to_microseconds(on.run(many, {}, "trtllm_gen_grouped_blackwell").time);
  };
  CHECK(time(DataType::w4a16_mxfp4, 12) > 2.0 * time(DataType::w4a16_mxfp4, 3));
  CHECK(time(DataType::w4a8_mxfp4_mxfp8, 12) == time(DataType::w4a8_mxfp4_mxfp8, 3));
}

TEST_CASE("instructions of 64 rows halve the rate of promoted tiles alone", "[grouped_gemm]") {
  const auto tensor_cycles = [](DataType type, double rows) {
    kernels::Implementation generated = *library().find("trtllm_gen_grouped_blackwell");
    generated.parameters["instruction_rows"] = rows;
    const GroupedGemm grouped{
        .sizes = std::vector<std::int64_t>(8, 128), .n = 1024, .fixed = 1024, .type = type};
    const device::DeviceSpec device = device::load_device("b200_sxm");
    const auto tiles = kernels::grouped_gemm_configurations(grouped, device, generated, 148);
    REQUIRE_FALSE(tiles.empty());
    return kernels::make_grouped_gemm(grouped, device, generated, tiles.back(), {}, {148})
               ->plan()
               .step.tensor -
           generated.costs.step_cycles;
  };
  CHECK(tensor_cycles(DataType::fp8_block, 64) == 2 * tensor_cycles(DataType::fp8_block, 128));
  CHECK(tensor_cycles(DataType::nvfp4, 64) == tensor_cycles(DataType::nvfp4, 128));
}

TEST_CASE("rows of padding cost time and move nothing", "[stream]") {
  const auto permuted = [](std::int64_t padding, gpu::Fidelity fidelity) {
    gpu::Gpu on{device::load_device("b200_sxm"), {}, library(), fidelity};
    return on.run(
        Stream{.kind = StreamKind::permute, .rows = 64, .columns = 4096, .padding_rows = padding},
        {}, "trtllm_moe_rows");
  };
  for (const auto fidelity : {gpu::Fidelity::cycle, gpu::Fidelity::analytical}) {
    const auto none = permuted(0, fidelity);
    const auto some = permuted(128LL * 256, fidelity);
    CHECK(some.hbm_bytes == none.hbm_bytes);
    // 32,768 rows are 222 for each of 148 SMs, of 110 cycles.
    CHECK((some.cycles - none.cycles).value() == Catch::Approx(24'420).epsilon(0.01));
  }
}

TEST_CASE("a token's rows are summed as many at once as divide their number, at most four",
          "[stream]") {
  const auto device = device::load_device("b200_sxm");
  const auto box = [&](int fan, const std::string& by) {
    const Stream sum{.kind = StreamKind::unpermute, .rows = 1 << 20, .columns = 4096, .fan = fan};
    const kernels::Implementation& rows = library().choose(sum, device, by);
    const auto plan =
        kernels::make_launches(sum, device, rows, {}, device.sm.gpc_sizes).front()->plan();
    return plan.step.load_bytes;
  };
  const double one = box(1, "trtllm_gen_rows");
  CHECK(box(8, "trtllm_gen_rows") == Catch::Approx(4 * one).epsilon(0.01));
  CHECK(box(22, "trtllm_gen_rows") == Catch::Approx(2 * one).epsilon(0.01));
  CHECK(box(8, "trtllm_moe_rows") == Catch::Approx(one).epsilon(0.01));
}

TEST_CASE("CUDA cores promote products of FP32 scales alone", "[grouped_gemm]") {
  const kernels::Implementation* triton = library().find("triton_grouped");
  REQUIRE(triton != nullptr);
  CHECK(kernels::promotes(*triton, DataType::fp8_block));
  CHECK_FALSE(kernels::promotes(*triton, DataType::bf16));
  CHECK_FALSE(kernels::promotes(*triton, DataType::fp8));
}

TEST_CASE("per-tensor FP8 is promoted where an implementation says so", "[gemm]") {
  const kernels::Implementation* split = library().find("cublas_split_accumulation_hopper");
  const kernels::Implementation* fast = library().find("cublas_hopper");
  REQUIRE(split != nullptr);
  CHECK(kernels::promotes(*split, DataType::fp8));
  CHECK_FALSE(kernels::promotes(*fast, DataType::fp8));
  const workload::Gemm gemm{.m = 8192, .n = 8192, .k = 8192, .type = DataType::fp8};
  for (const kernels::GemmConfiguration& each :
       kernels::gemm_configurations(gemm, device::load_device("h100_sxm"), *split)) {
    // Two FP32 accumulators an element in the registers of two warpgroups.
    CHECK(2 * each.tile.m * each.tile.n / 256 <= 160);
    CHECK(each.split == 1);
  }
}

TEST_CASE("what is out of an implementation's reach is refused", "[flash_attention]") {
  const Attention wide{.q_length = 512, .kv_length = 512, .qk_dim = 1024, .v_dim = 1024};
  CHECK_THROWS_AS(run("h800_sxm", wide, gpu::Fidelity::cycle), core::Refusal);
  const Attention narrow{
      .q_length = 512, .kv_length = 512, .type = DataType::nvfp4, .backward = true};
  CHECK_THROWS_AS(run("b200_sxm", narrow, gpu::Fidelity::cycle), core::Refusal);
}

TEST_CASE("dispatch to peers leaves no trace in HBM beyond the rows read", "[exchange]") {
  const workload::Exchange dispatch{
      .tokens = 4096, .hidden = 7168, .copies = 4, .type = DataType::fp8_block};
  const auto result = run("h800_sxm", dispatch, gpu::Fidelity::cycle, {.sms = 20});
  CHECK(result.hbm_bytes == Catch::Approx(4096 * 7168 * 1.03125).epsilon(0.01));
}

TEST_CASE("both fidelities agree on typical kernels", "[fidelity]") {
  const std::string device = GENERATE("a100_sxm", "h800_sxm", "b200_sxm");
  const std::vector<workload::Operator> operators = {
      Stream{.kind = StreamKind::rms_norm, .rows = 4096, .columns = 7168},
      Stream{.kind = StreamKind::swiglu, .rows = 4096, .columns = 2048},
      Stream{.kind = StreamKind::gate_top_k, .rows = 4096, .columns = 256, .fan = 8},
      Stream{.kind = StreamKind::adamw, .rows = 100'000'000, .columns = 1, .input = DataType::fp32},
      GroupedGemm{.sizes = {2048, 1024, 4096}, .n = 4096, .fixed = 2048},
      GroupedGemm{.varying = GroupedGemm::Varying::depth,
                  .sizes = {2048, 1024},
                  .n = 4096,
                  .fixed = 2048,
                  .output = DataType::fp32,
                  .accumulate = true},
      Attention{.q_length = 2048,
                .kv_length = 2048,
                .heads = 64,
                .kv_heads = 64,
                .qk_dim = 192,
                .v_dim = 128},
      Attention{.q_length = 4096, .kv_length = 4096, .heads = 32, .kv_heads = 8, .causal = false},
      Attention{.q_length = 2048, .kv_length = 2048, .heads = 32, .kv_heads = 32, .backward = true},
  };
  for (const workload::Operator& op : operators) {
    const double cycle = time_us(device, op, gpu::Fidelity::cycle);
    const double analytical = time_us(device, op, gpu::Fidelity::analytical);
    CAPTURE(device, workload::describe(op), cycle, analytical);
    CHECK(analytical > 0.8 * cycle);
    CHECK(analytical < 1.2 * cycle);
  }
}

TEST_CASE("backward tiles keep their accumulators in registers", "[flash_attention]") {
  const Attention equal{.q_length = 4096,
                        .kv_length = 4096,
                        .heads = 128,
                        .kv_heads = 128,
                        .qk_dim = 128,
                        .v_dim = 128,
                        .backward = true};
  Attention wide = equal;
  wide.qk_dim = 192;
  CHECK(run("h100_sxm", equal, gpu::Fidelity::analytical).implementation.find("x128 backward") !=
        std::string::npos);
  // 64 keys a warpgroup would need 280 registers a thread for dK and dV of 192 columns.
  CHECK(run("h100_sxm", wide, gpu::Fidelity::analytical).implementation ==
        "flash_attention_3_backward 64x96 backward");
}

TEST_CASE("padded values cost copies, and products as wide as keys", "[flash_attention]") {
  const Attention unequal{.q_length = 4096,
                          .kv_length = 4096,
                          .heads = 16,
                          .kv_heads = 16,
                          .qk_dim = 192,
                          .v_dim = 128};
  Attention padded = unequal;
  padded.v_dim = 192;
  gpu::Gpu on{device::load_device("h100_sxm"), {}, library(), gpu::Fidelity::cycle};
  for (const bool backward : {false, true}) {
    Attention narrow = unequal;
    Attention whole = padded;
    narrow.backward = whole.backward = backward;
    const std::string name =
        backward ? "flash_attention_2_backward_hopper" : "flash_attention_2_hopper";
    const gpu::KernelResult as_is = on.run(narrow, {}, name);
    const gpu::KernelResult already = on.run(whole, {}, name);
    CHECK(as_is.time > already.time);
    CHECK(as_is.flops < already.flops);
    CHECK(as_is.hbm_bytes > already.hbm_bytes);
  }
}

TEST_CASE("old values that an epilogue waits for cost time", "[gemm]") {
  // One wave whose results stay in L2: nothing else hides or outlasts the wait.
  workload::Gemm gemm{.m = 1024, .n = 1024, .k = 1024};
  gemm.output = DataType::fp32;
  gemm.accumulate = true;
  std::vector<kernels::Implementation> waiting = library().all();
  std::vector<kernels::Implementation> adding = waiting;
  for (kernels::Implementation& each : adding)
    each.accumulation = kernels::Accumulation::reducing_store;
  const device::DeviceSpec h100 = device::load_device("h100_sxm");
  gpu::Gpu slow{h100, {}, kernels::ImplementationLibrary{std::move(waiting)}, gpu::Fidelity::cycle};
  gpu::Gpu fast{h100, {}, kernels::ImplementationLibrary{std::move(adding)}, gpu::Fidelity::cycle};
  CHECK(slow.run(gemm, {}).time > fast.run(gemm, {}).time);
}

}  // namespace tessera
