#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <random>

#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"

/// Does skipping the steady waves of a launch change what it takes?
namespace tessera {
namespace {

using core::DataType;
using workload::Operator;

constexpr int kKernels = 200;
constexpr double kTolerance = 0.01;

/// Shapes whose launches have many waves, so that there is something to skip, and take well under a
/// second to simulate whole. One seed: the same kernels everywhere.
class AnyKernel {
 public:
  Operator next() {
    switch (any(0, 7)) {
      case 0:
        return grouped();
      case 1:
        return attention();
      case 2:
        return stream();
      case 3:
        return workload::Gemm{.m = any(1, 64) * 512, .n = any(1, 64) * 256, .k = any(1, 16) * 16};
      default:
        return gemm();
    }
  }

  std::int64_t any(std::int64_t low, std::int64_t high) {
    // Not std::uniform_int_distribution, whose draws differ between libraries.
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }

 private:
  std::int64_t spread(std::int64_t low, std::int64_t high) {
    const double share = static_cast<double>(any(0, 1000)) / 1000;
    return std::llround(static_cast<double>(low) *
                        std::pow(static_cast<double>(high) / static_cast<double>(low), share));
  }
  Operator gemm() {
    return workload::Gemm{.m = spread(512, 65536), .n = 64 * spread(8, 512), .k = 64 * any(1, 64)};
  }
  Operator grouped() {
    workload::GroupedGemm grouped{.n = 256 * any(2, 16), .fixed = 256 * any(1, 12)};
    for (std::int64_t g = any(2, 12); g > 0; --g) grouped.sizes.push_back(any(1, 6000));
    return grouped;
  }
  Operator attention() {
    const std::int64_t kv_heads = any(1, 8);
    const std::int64_t length = spread(512, 12288);
    return workload::Attention{.batch = any(1, 6),
                               .q_length = length,
                               .kv_length = length,
                               .heads = kv_heads * (std::int64_t{1} << any(0, 3)),
                               .kv_heads = kv_heads,
                               .causal = any(0, 1) == 1};
  }
  Operator stream() {
    return workload::Stream{
        .kind = any(0, 1) == 0 ? workload::StreamKind::quantize : workload::StreamKind::rms_norm,
        .rows = spread(5000, 400000),
        .columns = 128 * any(4, 56),
        .output = DataType::fp8_block};
  }

  std::mt19937_64 random_{20};
};

}  // namespace

TEST_CASE("skipped waves take what they would have taken", "[property][exact][slow]") {
  const auto library = kernels::ImplementationLibrary::load();
  std::vector<gpu::Gpu> gpus;
  for (const char* name : {"a100_sxm", "h100_sxm", "h20_sxm", "b200_sxm"}) {
    const device::DeviceSpec device = device::load_device(name);
    gpus.emplace_back(device, device::load_fit_for(device), library, gpu::Fidelity::cycle);
  }
  AnyKernel kernels;
  int skipped = 0;
  for (int i = 0; i < kKernels; ++i) {
    const Operator op = kernels.next();
    gpu::Gpu& gpu = gpus[static_cast<std::size_t>(kernels.any(0, 3))];
    gpu::ExecutionContext whole;
    whole.exact = true;
    const gpu::KernelResult quick = gpu.run(op, {});
    const gpu::KernelResult exact = gpu.run(op, whole);
    const double error =
        static_cast<double>(quick.cycles.value()) / static_cast<double>(exact.cycles.value()) - 1;
    if (quick.events < exact.events) ++skipped;
    INFO(fmt::format("{} on {}: {} cycles, {} simulated whole ({}, {}; {} of {} events)",
                     workload::describe(op), gpu.device().name, quick.cycles.value(),
                     exact.cycles.value(), quick.implementation, exact.implementation, quick.events,
                     exact.events));
    CHECK(std::abs(error) <= kTolerance);
  }
  CHECK(skipped > kKernels / 10);  // the others are short, or their waves too unequal
}

}  // namespace tessera
