/// Copies of device memory, read once and written once: how fast L2 and HBM stream.
#include <algorithm>
#include <cstdio>

#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/test_pattern.hpp"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

__global__ void fill(std::uint64_t seed, std::int64_t count, float* values) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x)
    values[i] = uniform_value(seed, static_cast<std::uint64_t>(i));
}

constexpr int kVectorsInFlight = 4;  ///< Independent 16-byte loads of a thread.

/// Grid-stride copy in 16-byte vectors, several in flight a thread.
__global__ void copy_vectors(const uint4* __restrict__ from, std::int64_t count,
                             uint4* __restrict__ to) {
  const std::int64_t threads = std::int64_t{gridDim.x} * blockDim.x;
  std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x;
  for (; i + (kVectorsInFlight - 1) * threads < count; i += kVectorsInFlight * threads) {
    uint4 vectors[kVectorsInFlight];
#pragma unroll
    for (int v = 0; v < kVectorsInFlight; ++v) vectors[v] = from[i + v * threads];
#pragma unroll
    for (int v = 0; v < kVectorsInFlight; ++v) to[i + v * threads] = vectors[v];
  }
  for (; i < count; i += threads) to[i] = from[i];
}

struct CopyOperands {
  DeviceBuffer<float> from;
  DeviceBuffer<float> to;
};

void measure_size(ProbeSession& session, MeasurementFile& file, std::int64_t bytes) {
  constexpr int kThreads = 512;
  constexpr int kCtasPerSm = 4;  // 2,048 threads: all that an SM of these generations holds
  const std::int64_t count = bytes / static_cast<std::int64_t>(sizeof(float));
  const int sets = session.sets(2 * bytes);
  std::vector<CopyOperands> operands;
  for (int set = 0; set < sets; ++set) {
    operands.push_back({DeviceBuffer<float>{count}, DeviceBuffer<float>{count}});
    fill<<<1024, kThreads>>>(static_cast<std::uint64_t>(set), count, operands.back().from.data());
    check_launch();
    operands.back().to.poison();
  }
  check(cudaDeviceSynchronize());
  const std::int64_t vectors = count / 4;
  const std::int64_t most = std::int64_t{kCtasPerSm} * session.device().multiProcessorCount;
  const int ctas = static_cast<int>(std::min((vectors + kThreads - 1) / kThreads, most));
  const TimedRun run =
      session.timer().time(session.options().replay, sets, [&](int set, cudaStream_t stream) {
        const CopyOperands& of = operands[static_cast<std::size_t>(set)];
        copy_vectors<<<ctas, kThreads, 0, stream>>>(reinterpret_cast<const uint4*>(of.from.data()),
                                                    vectors,
                                                    reinterpret_cast<uint4*>(of.to.data()));
        check_launch();
      });
  RelativeError error;
  for (const Place& place : sampled_places(1, count, 64, 7))
    error.add(operands[0].to.read(place.column),
              uniform_value(0, static_cast<std::uint64_t>(place.column)));
  session.record(
      file, {.op = "copy",
             .dtype = "bytes",
             .kernel = "vectors_16b",
             .columns = {{"bytes", number_text(bytes)}, {"ctas", number_text(std::int64_t{ctas})}},
             .timing = run,
             .error = error.value(),
             .allowed_error = 0});
}

void list(const SizeLimits& limits) {
  for (const std::int64_t bytes : copy_sizes(limits))
    std::printf("copy bytes=%lld\n", static_cast<long long>(bytes));
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open({.file = "copy", .shape = {"bytes", "ctas"}});
  for (const std::int64_t bytes : copy_sizes(session.limits()))
    session.attempt("copy of " + std::to_string(bytes) + " bytes",
                    [&] { measure_size(session, file, bytes); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_copy", "Copies of device memory, read once and written once", list, measure}, count,
      arguments);
}
