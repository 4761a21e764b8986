#include <benchmark/benchmark.h>

#include <cstdint>

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
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(gemm, analytical, Fidelity::analytical)->Arg(8192)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tessera::gpu
