/// Reads of one footprint by some or all SMs, again and again past L1: the ports from L2 into the
/// SMs, the bandwidth of L2, and beyond its capacity that of HBM.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/test_pattern.hpp"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

__global__ void fill(std::uint64_t seed, std::int64_t count, std::uint32_t* words) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x)
    words[i] = static_cast<std::uint32_t>(scrambled(seed, static_cast<std::uint64_t>(i)));
}

__device__ uint4 load_past_l1(const uint4* from) {
  uint4 vector;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(vector.x), "=r"(vector.y), "=r"(vector.z), "=r"(vector.w)
               : "l"(from));
  return vector;
}

constexpr int kThreads = 1024;
constexpr int kInFlight = 4;  ///< Loads of a thread: 64 KiB in flight on an SM.

/// Adds all words of the footprint, `passes` times, into sums[CTA]. `count` vectors are a multiple
/// of what the grid reads at once.
__global__ void __launch_bounds__(kThreads)
    read_all(const uint4* from, std::int64_t count, int passes, std::uint32_t* sums) {
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  std::uint32_t sum = 0;
  for (int pass = 0; pass < passes; ++pass) {
    for (std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x; i < count;
         i += kInFlight * step) {
      uint4 vectors[kInFlight];
#pragma unroll
      for (int v = 0; v < kInFlight; ++v)
        vectors[v] = i + v * step < count ? load_past_l1(from + i + v * step) : uint4{0, 0, 0, 0};
#pragma unroll
      for (int v = 0; v < kInFlight; ++v)
        sum += vectors[v].x + vectors[v].y + vectors[v].z + vectors[v].w;
    }
  }
  __shared__ std::uint32_t total;
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  atomicAdd(&total, sum);
  __syncthreads();
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

std::uint32_t expected_sum(std::int64_t words, int passes) {
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i < words; ++i)
    sum += static_cast<std::uint32_t>(scrambled(0, static_cast<std::uint64_t>(i)));
  return sum * static_cast<std::uint32_t>(passes);
}

void measure_read(ProbeSession& session, MeasurementFile& file, const L2Read& read) {
  const std::int64_t words = read.footprint_bytes / 4;
  DeviceBuffer<std::uint32_t> data{words};
  DeviceBuffer<std::uint32_t> sums{read.sms};
  sums.poison();
  fill<<<1024, 256>>>(0, words, data.data());
  check_launch();
  check(cudaDeviceSynchronize());
  ReplayRequest request = session.options().replay;
  request.state = OperandState::warm;
  const TimedRun run = session.timer().time(request, 1, [&](int, cudaStream_t stream) {
    read_all<<<read.sms, kThreads, 0, stream>>>(reinterpret_cast<const uint4*>(data.data()),
                                                words / 4, read.passes, sums.data());
    check_launch();
  });
  std::uint32_t sum = 0;
  for (const std::uint32_t part : sums.download()) sum += part;
  RelativeError error;
  error.add(sum, expected_sum(words, read.passes));
  const double bytes = static_cast<double>(read.footprint_bytes) * read.passes;
  session.record(
      file, {.op = "l2_read",
             .dtype = "bytes",
             .kernel = "ld_cg_16b",
             .columns = {{"footprint_bytes", number_text(read.footprint_bytes)},
                         {"passes", number_text(std::int64_t{read.passes})},
                         {"ctas", number_text(std::int64_t{read.sms})},
                         {"gigabytes_per_s", number_text(bytes / run.latency_us.median / 1e3)}},
             .timing = run,
             .error = error.value(),
             .allowed_error = 0});
}

void list(const SizeLimits& limits) {
  constexpr int kListedSms = 132;
  for (const L2Read& read : l2_reads(limits, kListedSms))
    std::printf("l2_read footprint_bytes=%lld passes=%d ctas=%d\n",
                static_cast<long long>(read.footprint_bytes), read.passes, read.sms);
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open({.file = "l2",
                                       .shape = {"footprint_bytes", "passes", "ctas"},
                                       .outcome = {"gigabytes_per_s"}});
  for (const L2Read& read : l2_reads(session.limits(), session.device().multiProcessorCount))
    session.attempt("reads of " + std::to_string(read.footprint_bytes) + " bytes",
                    [&] { measure_read(session, file, read); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_l2_bandwidth", "Reads past L1 by footprint and number of SMs", list, measure}, count,
      arguments);
}
