#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

#include "models/device/device_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"

/// What one kernel costs at each fidelity.
namespace tessera::gpu {
namespace {

/// Range: M = N = K of a bf16 product on H100.
void gemm(benchmark::State& state, Fidelity fidelity) {
  const device::DeviceSpec device = device::load_device("h100_sxm");
  Gpu gpu{device, device::load_fit_for(device), kernels::ImplementationLibrary::load(), fidelity};
  const std::int64_t size = state.range(0);
  const workload::Gemm op{.m = size, .n = size, .k = size, .type = core::DataType::bf16};
  std::uint64_t events = 0;
  for ([[maybe_unused]] auto _ : state) {
    const KernelResult result = gpu.run(op, {});
    events += result.events;
  }
  if (events > 0)  // the closed form has none
    state.counters["events/s"] =
        benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(gemm, cycle, Fidelity::cycle)
    ->Arg(1024)
    ->Arg(4096)
    ->Arg(8192)
    ->Arg(16384)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(gemm, analytical, Fidelity::analytical)->Arg(8192)->Unit(benchmark::kMicrosecond);

/// Products of the sizes that collections of measured GEMMs take, drawn evenly: what a whole file
/// of them costs. 50,000 take ten minutes on two cores at 42 kernels/s.
void measured_sizes(benchmark::State& state, const char* device_name, core::DataType type,
                    Fidelity fidelity) {
  constexpr std::array<std::int64_t, 22> kSides = {
      32,   64,   128,  256,  512,  768,  1024,  1536,  2048,  2560,  3072,
      3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288, 16384, 51200, 65536};
  constexpr std::array<std::int64_t, 18> kRows = {
      1, 4, 8, 13, 16, 32, 64, 80, 112, 160, 256, 512, 1024, 1537, 2305, 3584, 4352, 8192};
  constexpr int kDrawn = 100;
  const device::DeviceSpec device = device::load_device(device_name);
  Gpu gpu{device, device::load_fit_for(device), kernels::ImplementationLibrary::load(), fidelity};
  std::vector<double> milliseconds;
  for ([[maybe_unused]] auto _ : state) {
    std::mt19937_64 random{1};
    milliseconds.clear();
    for (int i = 0; i < kDrawn; ++i) {
      const workload::Gemm op{.m = kRows[random() % kRows.size()],
                              .n = kSides[random() % kSides.size()],
                              .k = kSides[random() % kSides.size()],
                              .type = type};
      const auto start = std::chrono::steady_clock::now();
      benchmark::DoNotOptimize(gpu.run(op, {.launches_before = 0}));
      milliseconds.push_back(
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
              .count());
    }
  }
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kDrawn / 2, milliseconds.end());
  state.counters["median_ms"] = milliseconds[kDrawn / 2];
  state.counters["kernels/s"] =
      benchmark::Counter(kDrawn, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(measured_sizes, a100_bf16, "a100_sxm", core::DataType::bf16, Fidelity::cycle)
    ->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(measured_sizes, h200_fp8_block, "h200_sxm", core::DataType::fp8_block,
                  Fidelity::cycle)
    ->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(measured_sizes, b200_bf16, "b200_sxm", core::DataType::bf16, Fidelity::cycle)
    ->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(measured_sizes, b200_bf16_analytical, "b200_sxm", core::DataType::bf16,
                  Fidelity::analytical)
    ->Unit(benchmark::kSecond);

}  // namespace
}  // namespace tessera::gpu
