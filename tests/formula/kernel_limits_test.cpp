#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"

/// Large kernels against the closed form of the resource that binds them.
namespace tessera {
namespace {

using core::DataType;
using workload::Stream;
using workload::StreamKind;

struct Case {
  device::DeviceSpec device;
  gpu::Gpu gpu;
  explicit Case(const std::string& name)
      : device(device::load_device(name)),
        gpu(device, {}, kernels::ImplementationLibrary::load(), gpu::Fidelity::cycle) {}
};

}  // namespace

TEST_CASE("a large stream takes its bytes over reachable HBM", "[stream]") {
  for (const std::string name : {"a100_sxm", "h800_sxm", "b200_sxm"}) {
    Case on{name};
    // Row kernels reach a part of HBM of their own.
    const auto library = kernels::ImplementationLibrary::load();
    const double rate = on.device.hbm.peak_rate.value() *
                        library.choose(Stream{}, on.device, {}).parameters.at("hbm_reachable");
    const Stream adamw{
        .kind = StreamKind::adamw, .rows = 1'000'000'000, .columns = 1, .input = DataType::fp32};
    // 16 bytes read and 14 written an element; an unfitted device writes at 0.8 of its read rate.
    const double bound = (16e9 + 14e9 / 0.8) / rate;
    const double time = core::to_seconds(on.gpu.run(adamw, {}).time).value();
    CAPTURE(name, time, bound);
    CHECK(time > 0.99 * bound);
    CHECK(time < 1.05 * bound);
    const Stream clip{.kind = StreamKind::gradient_clip,
                      .rows = 1'000'000'000,
                      .columns = 1,
                      .input = DataType::fp32};
    const double read = core::to_seconds(on.gpu.run(clip, {}).time).value();
    CHECK(read > 0.99 * 4e9 / rate);
    CHECK(read < 1.05 * 4e9 / rate);
  }
}

TEST_CASE("half of HBM takes a stream twice as long", "[stream]") {
  Case on{"h800_sxm"};
  const Stream copy{.kind = StreamKind::copy, .rows = 65536, .columns = 7168};
  const double whole = core::to_seconds(on.gpu.run(copy, {}).time).value();
  const double half = core::to_seconds(on.gpu.run(copy, {.hbm_share = 0.5}).time).value();
  CHECK(half > 1.9 * whole);
  CHECK(half < 2.1 * whole);
}

TEST_CASE("a short kernel launched by the host waits for the next launch, a long one does not",
          "[stream]") {
  Case on{"h800_sxm"};
  const Stream small{.kind = StreamKind::copy, .rows = 8, .columns = 128};
  const Stream large{.kind = StreamKind::copy, .rows = 65536, .columns = 7168};
  const auto time = [&](const Stream& stream, double enqueue_us) {
    return core::to_microseconds(on.gpu.run(stream, {.enqueue_us = enqueue_us}).time);
  };
  CHECK(time(small, 0) < 3);
  CHECK(time(small, 5) > 4.999);
  CHECK(time(small, 5) < 5.001);
  CHECK(time(small, 0.1) == time(small, 0));
  CHECK(time(large, 5) == time(large, 0));
}

TEST_CASE("long attention keeps the tensor pipe most of its time", "[flash_attention]") {
  Case on{"h800_sxm"};
  const workload::Attention attention{
      .q_length = 8192, .kv_length = 8192, .heads = 16, .kv_heads = 16, .causal = false};
  const auto result = on.gpu.run(attention, {.launches_before = 0});
  const double peak = on.device.sm.tensor_flops.at(DataType::bf16) * on.device.sm.count;
  const double reached = result.flops / static_cast<double>(result.cycles.value()) / peak;
  CHECK(reached > 0.55);
  CHECK(reached < 0.85);
}

TEST_CASE("a causal mask halves long attention", "[flash_attention]") {
  Case on{"h800_sxm"};
  workload::Attention attention{
      .q_length = 8192, .kv_length = 8192, .heads = 32, .kv_heads = 32, .causal = false};
  const double full = core::to_seconds(on.gpu.run(attention, {}).time).value();
  attention.causal = true;
  const double causal = core::to_seconds(on.gpu.run(attention, {}).time).value();
  CHECK(causal > 0.5 * full);
  CHECK(causal < 0.6 * full);
}

}  // namespace tessera
