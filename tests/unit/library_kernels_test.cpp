#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "calibrate/measured_call.hpp"
#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/gpu/power.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/launch.hpp"

/// What libraries' kernels do differently, and what replays find in L2.
namespace tessera {
namespace {

using Catch::Approx;
using core::DataType;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

const kernels::ImplementationLibrary& library() {
  static const auto all = kernels::ImplementationLibrary::load();
  return all;
}

kernels::LaunchPlan plan_of(const workload::Operator& op, const device::DeviceSpec& device,
                            const std::string& implementation) {
  const kernels::Implementation& chosen = library().choose(op, device, implementation);
  return kernels::make_launches(op, device, chosen, {}, device.sm.gpc_sizes).front()->plan();
}

double time_us(const std::string& device, const workload::Operator& op,
               const std::string& implementation) {
  gpu::Gpu gpu{device::load_device(device), {}, library(), gpu::Fidelity::cycle};
  return core::to_microseconds(gpu.run(op, {}, implementation).time);
}

}  // namespace

TEST_CASE("replayed operands survive while they fit and are gone soon after", "[residency]") {
  CHECK(gpu::surviving_part(100, 100) == 1);
  CHECK(gpu::surviving_part(107.5, 100) == Approx(0.5));
  CHECK(gpu::surviving_part(115, 100) == Approx(0).margin(1e-9));
  CHECK(gpu::surviving_part(0, 100) == 1);
}

TEST_CASE("the surviving part of boxes is kept, whichever they are", "[residency]") {
  const auto kept = [](double part) {
    std::vector<kernels::WarmBox> boxes;
    for (std::uint32_t row = 0; row < 50; ++row)
      for (std::uint32_t column = 0; column < 20; ++column)
        kernels::add_survivor({.tensor = 1, .row = row, .column = column, .bytes = 64}, part,
                              boxes);
    return boxes.size();
  };
  CHECK(kept(0) == 0);
  CHECK(kept(1) == 1000);
  CHECK(kept(0.3) > 250);
  CHECK(kept(0.3) < 350);
}

TEST_CASE("weights that half survive take between cold and warm", "[residency]") {
  gpu::Gpu gpu{device::load_device("h100_sxm"), {}, library(), gpu::Fidelity::cycle};
  const Gemm gemm{.m = 16, .n = 4096, .k = 4096};
  const double l2 = 50.0 * 1024 * 1024 * 0.7;  // unfitted: 0.7 of L2 holds reused data
  const auto time = [&](double touched) {
    gpu::ExecutionContext context;
    context.warm_weights = true;
    context.weight_reuse_bytes = touched;
    return gpu.run(gemm, context).time;
  };
  CHECK(time(1.075 * l2) > time(l2));
  CHECK(time(1.075 * l2) < time(2 * l2));
  CHECK(time(2 * l2) == gpu.run(gemm, {}).time);
}

TEST_CASE("replays that leave an operand whole, or nothing of it, are one question",
          "[residency]") {
  gpu::Gpu gpu{device::load_device("h100_sxm"), {}, library(), gpu::Fidelity::cycle};
  const double l2 = 50.0 * 1024 * 1024 * 0.7;  // unfitted: 0.7 of L2 holds reused data
  const auto replayed = [](double activations, double weights) {
    gpu::ExecutionContext context;
    context.warm_activations = context.warm_weights = true;
    context.activation_reuse_bytes = activations;
    context.weight_reuse_bytes = weights;
    return context;
  };
  CHECK(gpu.as_seen(replayed(2 * l2, 3 * l2)) == gpu.as_seen({}));
  CHECK(gpu.as_seen(replayed(0.2 * l2, 0.9 * l2)) == gpu.as_seen(replayed(0, 0)));
  CHECK(gpu.as_seen(replayed(0, 2 * l2)) != gpu.as_seen({}));
  CHECK(gpu.as_seen(replayed(1.05 * l2, 0)) != gpu.as_seen(replayed(1.1 * l2, 0)));
  gpu::ExecutionContext share;
  share.hbm_share = 0.5;
  CHECK(gpu.as_seen(share) == share);
  const Gemm gemm{.m = 16, .n = 4096, .k = 4096};
  for (const auto& context : {replayed(0.9 * l2, 2 * l2), replayed(1.05 * l2, 0.5 * l2)})
    CHECK(gpu.run(gemm, gpu.as_seen(context)).time == gpu.run(gemm, context).time);
}

TEST_CASE("a tile is offered for the rows that its library gives it", "[tile_choice]") {
  const auto device = device::load_device("h200_sxm");
  const auto tiles = [&](std::int64_t m) {
    const Gemm gemm{.m = m, .n = 4096, .k = 4096, .type = DataType::fp8_token};
    return kernels::gemm_configurations(gemm, device,
                                        library().choose(gemm, device, "cutlass_scaled_hopper"));
  };
  REQUIRE(tiles(64).size() == 1);
  CHECK(tiles(64).front().tile.n == 64);
  REQUIRE(tiles(65).size() == 1);
  CHECK(tiles(65).front().tile.n == 128);
  CHECK(tiles(129).front().tile.m == 128);
}

TEST_CASE("mma.sync writes operands to shared memory once and reads them once a warp", "[gemm]") {
  const auto device = device::load_device("a100_sxm");
  kernels::Implementation ampere = library().choose(Gemm{.m = 64, .n = 64, .k = 64}, device, {});
  const auto shared = [&](int m, int n) {
    const kernels::GemmConfiguration configuration{
        {.m = m, .n = n, .k_bytes = 64, .schedule = kernels::GemmSchedule::multistage}, 1};
    const Gemm gemm{.m = m, .n = n, .k = 4096};
    return kernels::make_gemm(gemm, device, ampere, configuration, {}, device.sm.gpc_sizes)
        ->plan()
        .step.shared_memory;
  };
  // 128 rows of 64 B written, each read by two of four warps: 3 x 8,192 B at 128 B a cycle.
  CHECK(shared(64, 64) == Approx(192));
  // Eight warps of 64x64: 384 rows written, 256 read by two and 128 by four.
  CHECK(shared(256, 128) == Approx((384 + 128 * 4 + 256 * 2) * 64 / 128.0));
}

TEST_CASE("a library's cast is chosen by name, never by default", "[stream]") {
  const auto device = device::load_device("h200_sxm");
  const Stream cast{
      .kind = StreamKind::quantize, .rows = 1024, .columns = 4096, .output = DataType::fp8_block};
  CHECK(library().choose(cast, device, {}).name == "stream");
  CHECK(library().choose(cast, device, "trtllm_quantise_block").name == "trtllm_quantise_block");
  CHECK(time_us("h200_sxm", cast, "trtllm_quantise_block") > time_us("h200_sxm", cast, {}));
}

TEST_CASE("a maximum over a tensor keeps fewer bytes in flight than a cast", "[stream]") {
  const auto device = device::load_device("h200_sxm");
  const Stream amax{.kind = StreamKind::compute_scale, .rows = 8192, .columns = 8192};
  const Stream cast{.kind = StreamKind::quantize, .rows = 8192, .columns = 8192};
  CHECK(plan_of(amax, device, {}).step.load_bytes <= 3000);
  CHECK(plan_of(cast, device, {}).step.load_bytes > 3000);
}

TEST_CASE("accumulators of sglang's DeepGEMM spill where no pair shares operands", "[gemm]") {
  const auto device = device::load_device("h200_sxm");
  const Gemm gemm{.m = 1024, .n = 4096, .k = 4096, .type = DataType::fp8_block};
  const auto least_step = [&](const kernels::TileShape& tile, const std::string& implementation) {
    const kernels::Implementation deepgemm = library().choose(gemm, device, implementation);
    return kernels::make_gemm(gemm, device, deepgemm, {tile, 1}, {}, device.sm.gpc_sizes)
        ->plan()
        .least_step;
  };
  const std::string name = "deepgemm_sglang_hopper";
  const kernels::TileShape tall{.m = 256, .n = 128};
  kernels::TileShape paired = tall;
  paired.cluster = 2;
  // 64 x 128 values of one instruction and 128 x 128 sums in 128 threads: 192 registers.
  const double spilled = 192 * library().choose(gemm, device, name).parameters.at("spill");
  CHECK(least_step(tall, name) - least_step(paired, name) == Approx(spilled));
  CHECK(least_step(tall, name) - least_step(tall, "deepgemm_hopper") == Approx(spilled));
  // 64 x 112 and 128 x 112 values take 168.
  const kernels::TileShape narrow{.m = 256, .n = 112};
  CHECK(least_step(narrow, name) == least_step(narrow, "deepgemm_hopper"));
}

TEST_CASE("sglang's cast starts more CTAs where fewer groups divide all", "[stream]") {
  const auto time = [](std::int64_t rows) {
    const Stream cast{
        .kind = StreamKind::quantize, .rows = rows, .columns = 3584, .output = DataType::fp8_block};
    return time_us("h200_sxm", cast, "sglang_quantise_block");
  };
  // 28 groups a row: 16 divide those of 2,560 rows, 4 those of 2,561, which start 17,927 CTAs, 136
  // an SM, 200 cycles apart.
  CHECK(time(2561) > 1.5 * time(2560));
  CHECK(time(2561) > 136 * 200 / 1980.0);
}

TEST_CASE("low tiles of DeepGEMM multiply whole instructions", "[gemm]") {
  const auto device = device::load_device("h200_sxm");
  const auto step = [&](const kernels::TileShape& tile) {
    const Gemm gemm{.m = 16, .n = 4096, .k = 4096, .type = DataType::fp8_block};
    const kernels::Implementation deepgemm =
        library().choose(gemm, device, "deepgemm_sglang_hopper");
    return kernels::make_gemm(gemm, device, deepgemm, {tile, 1}, {}, device.sm.gpc_sizes)
        ->plan()
        .step;
  };
  const auto low = step({.m = 16, .n = 128});
  const auto full = step({.m = 64, .n = 128});
  const auto turned = step({.m = 16, .n = 128, .swapped = true});
  CHECK(low.tensor == Approx(full.tensor));
  CHECK(low.fp32 == Approx(full.fp32));
  CHECK(turned.tensor < low.tensor);
  CHECK(low.filled_bytes < full.filled_bytes);  // but loads no more than its 16 rows
}

TEST_CASE("warpgroups that promote begin and store each tile together", "[gemm]") {
  const auto us = [](bool each_for_itself) {
    const Gemm gemm{.m = 4096,
                    .n = 16384,
                    .k = 256,
                    .type = DataType::fp8_block,
                    .both_operands_row_scaled = each_for_itself};
    return time_us("h100_sxm", gemm, "trtllm_block_hopper");
  };
  // 31 tiles of two steps an SM: nothing of a tile's end hides behind the next one's products,
  // though scales of both operands take one more product each.
  CHECK(us(false) > 1.15 * us(true));
}

TEST_CASE("one accumulator stays in TMEM where two and their scales do not fit", "[gemm]") {
  const device::DeviceSpec b200 = device::load_device("b200_sxm");
  const Gemm gemm{.m = 4096, .n = 4096, .k = 512, .type = DataType::fp8_block};
  const auto plan = [&](const std::string& name, int n) {
    return kernels::make_gemm(gemm, b200, library().choose(gemm, b200, name),
                              {{.m = 128, .n = n, .schedule = kernels::GemmSchedule::tmem}, 1}, {},
                              b200.sm.gpc_sizes)
        ->plan();
  };
  CHECK(plan("deepgemm_blackwell", 240).overlapped_epilogue);
  CHECK(!plan("deepgemm_blackwell", 256).overlapped_epilogue);
  // Warps read an accumulator column by column.
  const double drain = library().choose(gemm, b200, "deepgemm_blackwell").parameters.at("drain");
  CHECK(plan("deepgemm_blackwell", 240).epilogue_cycles -
            plan("deepgemm_blackwell", 120).epilogue_cycles ==
        Approx(120 * drain));
}

TEST_CASE("what a narrow MMA waits for shared memory does not grow where math is slow", "[gemm]") {
  const auto h100 = device::load_device("h100_sxm");
  const auto h20 = device::load_device("h20_sxm");
  const auto cycles = [](const device::DeviceSpec& device, double n) {
    return kernels::mma_cycles(device, DataType::fp8, 64, n, 128);
  };
  CHECK(cycles(h100, 16) == Approx(4 * 20));   // 16 + n/4 an instruction, against n/2
  CHECK(cycles(h100, 128) == Approx(4 * 64));  // bound by math
  CHECK(cycles(h20, 16) == Approx(4 * 32));    // 2n an instruction: math hides the reads
  CHECK(cycles(h20, 128) == Approx(4 * 256));
  CHECK(kernels::mma_cycles(device::load_device("b200_sxm"), DataType::nvfp4, 128, 32, 64) ==
        Approx(44));
}

TEST_CASE("weights narrower than the MMA are widened on the CUDA cores", "[gemm]") {
  const auto device = device::load_device("a100_sxm");
  const Gemm narrow{.m = 16, .n = 4096, .k = 4096, .type = DataType::int4_wo};
  const Gemm wide{.m = 16, .n = 4096, .k = 4096};
  CHECK(plan_of(narrow, device, {}).step.fp32 > 0);
  CHECK(plan_of(wide, device, {}).step.fp32 == 0);
}

TEST_CASE("experts run on the tiles that were fastest with even rows", "[gemm]") {
  workload::GroupedGemm skewed{.sizes = std::vector<std::int64_t>(32, 4), .n = 4096, .fixed = 4096};
  skewed.sizes.front() = 2048;
  workload::GroupedGemm planned = skewed;
  planned.planned_rows = 8;
  workload::GroupedGemm even = planned;
  even.sizes.assign(32, 8);
  const std::string name = "cutlass_grouped_hopper";
  gpu::Gpu gpu{device::load_device("h200_sxm"), {}, library(), gpu::Fidelity::analytical};
  const auto run = [&](const workload::GroupedGemm& gemm) { return gpu.run(gemm, {}, name); };
  CHECK(run(planned).implementation == run(even).implementation);
  CHECK(run(skewed).implementation != run(even).implementation);
  CHECK(run(planned).time > run(skewed).time);
}

TEST_CASE("CTAs for rows that other ranks' experts got take their turn and end", "[gemm]") {
  const auto device = device::load_device("b200_sxm");
  const auto waited = [&](DataType type, std::int64_t planned) {
    const workload::GroupedGemm gemm{.sizes = std::vector<std::int64_t>(32, 32),
                                     .n = 4096,
                                     .fixed = 2048,
                                     .type = type,
                                     .planned_rows = planned};
    return plan_of(gemm, device, "flashinfer_untuned_grouped_blackwell").walk_cycles;
  };
  // Tiles of 128 tokens by 128 weights: 32 experts of 256 planned rows and 127 of padding at most
  // could fill 95 and fill 32, each in 32 columns; 280 cycles each over 148 SMs.
  CHECK(waited(DataType::nvfp4, 256) == std::round((95 - 32) * 32 * 280 / 148.0));
  CHECK(waited(DataType::nvfp4, 1) == 0);
  CHECK(waited(DataType::bf16, 256) == 0);  // persistent
}

TEST_CASE("floats of 4 bits are widened by an instruction, integers by several", "[gemm]") {
  const auto widening = [](DataType type) {
    const workload::GroupedGemm gemm{.sizes = {8, 8}, .n = 512, .fixed = 2048, .type = type};
    return plan_of(gemm, device::load_device("b200_sxm"), "trtllm_gen_grouped_blackwell").step.fp32;
  };
  CHECK(widening(DataType::w4a16_mxfp4) == Approx(128 * 64 * 3.0 / 128));  // 3 a weight
  CHECK(widening(DataType::int4_wo) == Approx(128 * 64 * 5.0 / 128));
  CHECK(widening(DataType::w4a8_mxfp4_mxfp8) == 0);
}

TEST_CASE("tiles of a part of a wave run side by side, though roles look ahead", "[tile_engine]") {
  const auto gemm = [](std::int64_t n) {
    return Gemm{.m = 32, .n = n, .k = 3072, .type = DataType::nvfp4};
  };
  const std::string name = "cutlass_block_client";  // ping-pong: one consumer looks a tile ahead
  CHECK(time_us("rtx_pro_6000_server", gemm(3072), name) <
        1.2 * time_us("rtx_pro_6000_server", gemm(128), name));
}

TEST_CASE("a launch draws its mean power over its run and the idle time beside it", "[power]") {
  const auto device = device::load_device("h200_sxm");
  const gpu::PowerState state = gpu::settle_power(device, core::Joules{1e-3}, core::Seconds{8e-6},
                                                  core::Seconds{2e-6}, {.limit = core::Watts{1e4}});
  CHECK(state.energy.value() == Approx(device.power.idle.value() * 10e-6 + 1e-3));
  CHECK(state.power.value() == Approx(state.energy.value() / 10e-6));
}

TEST_CASE("a burst draws more than the limit until load has lasted for its response", "[power]") {
  const auto device = device::load_device("h200_sxm");
  gpu::Gpu gpu{device, {}, kernels::ImplementationLibrary::load(), gpu::Fidelity::analytical};
  const auto run = [&](std::int64_t m, double launches_before) {
    return gpu.run(Gemm{.m = m, .n = 16384, .k = 8192}, {.launches_before = launches_before});
  };
  const gpu::KernelResult burst = run(16384, 0);
  const double launches = core::to_seconds(device.power.response) / core::to_seconds(burst.time);
  const double sustained = core::to_microseconds(run(16384, INFINITY).time);
  CHECK(sustained > 1.05 * core::to_microseconds(burst.time));
  CHECK(burst.power.value() > 1.2 * device.power.limit.value());
  CHECK(core::to_microseconds(run(16384, 0.5 * launches).time) ==
        core::to_microseconds(burst.time));
  CHECK(core::to_microseconds(run(16384, 1.5 * launches).time) == sustained);
  // Reading weights stays below either.
  CHECK(run(16, 0).time == run(16, INFINITY).time);
}

TEST_CASE("the time that a harness adds is spent idle", "[power]") {
  CHECK(calibrate::MeasuredCall::mean_watts(10, 600, 0, 100) == 600);
  CHECK(calibrate::MeasuredCall::mean_watts(10, 600, 30, 100) == Approx(225));
}

}  // namespace tessera
