/// Loads from shared memory by width and by bank conflicts: cycles of the SM per warp instruction.
#include <cstdio>
#include <string>

#include "calibrate/probes/cycle_counter.cuh"
#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/test_pattern.hpp"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

/// Sum of the 4-byte words that one load of `words` words brings.
template <int words>
__device__ std::uint32_t load_sum(unsigned address) {
  if constexpr (words == 1) {
    std::uint32_t a;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(a) : "r"(address));
    return a;
  } else if constexpr (words == 2) {
    std::uint32_t a, b;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "r"(address));
    return a + b;
  } else {
    std::uint32_t a, b, c, d;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"(address));
    return a + b + c + d;
  }
}

/// Lane l reads `words` words at word l * stride_words + 32 words * (load % kSharedLoads) of a
/// buffer that wraps around.
template <int words>
__global__ void read_shared(int stride_words, int rounds, std::uint32_t* sums, long long* cycles) {
  __shared__ __align__(16) std::uint32_t buffer[kSharedWords];
  for (int i = static_cast<int>(threadIdx.x); i < kSharedWords; i += static_cast<int>(blockDim.x))
    buffer[i] = static_cast<std::uint32_t>(scrambled(0, static_cast<std::uint64_t>(i)));
  const auto base = static_cast<unsigned>(__cvta_generic_to_shared(buffer));
  const unsigned lane = threadIdx.x % 32;
  std::uint32_t sum = 0;
  const CycleCounter counter{cycles};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int load = 0; load < kSharedLoads; ++load)
      sum += load_sum<words>(base + 4 * shared_word(lane, stride_words, load));
  }
  counter.stop();
  sums[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

template <int words>
void measure_stride(ProbeSession& session, MeasurementFile& file, int stride_words) {
  constexpr int kThreads = 512;
  constexpr int kRounds = 2048;
  const int ctas = session.device().multiProcessorCount;
  DeviceBuffer<std::uint32_t> sums{std::int64_t{ctas} * kThreads};
  DeviceBuffer<long long> cycles{ctas};
  sums.poison();
  ReplayRequest request = session.options().replay;
  request.state = OperandState::warm;
  const TimedRun run = session.timer().time(request, 1, [&](int, cudaStream_t stream) {
    read_shared<words>
        <<<ctas, kThreads, 0, stream>>>(stride_words, kRounds, sums.data(), cycles.data());
    check_launch();
  });
  RelativeError error;
  for (const int thread : {0, 1, 17, 31, kThreads - 1})
    error.add(sums.read(thread), shared_sum(thread % 32, stride_words, words, kRounds));
  const double each = cycles_per_instruction(cycles.download(), kThreads / 32,
                                             std::int64_t{kRounds} * kSharedLoads);
  session.record(file, {.op = "shared_read",
                        .dtype = "bytes",
                        .kernel = "ld_shared",
                        .columns = {{"width_bytes", number_text(std::int64_t{4 * words})},
                                    {"stride_words", number_text(std::int64_t{stride_words})},
                                    {"warps", number_text(std::int64_t{kThreads / 32})},
                                    {"cycles", number_text(each)}},
                        .timing = run,
                        .error = error.value(),
                        .allowed_error = 0});
}

void list(const SizeLimits& limits) {
  for (const int words : {1, 2, 4})
    for (const int stride : shared_strides(limits))
      if (stride >= words)
        std::printf("shared_read width_bytes=%d stride_words=%d\n", 4 * words, stride);
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open({.file = "shared_memory",
                                       .shape = {"width_bytes", "stride_words", "warps"},
                                       .outcome = {"cycles"}});
  for (const int stride : shared_strides(session.limits())) {
    measure_stride<1>(session, file, stride);
    if (stride >= 2 && stride % 2 == 0) measure_stride<2>(session, file, stride);
    if (stride >= 4 && stride % 4 == 0) measure_stride<4>(session, file, stride);
  }
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe({"probe_shared_memory", "Loads from shared memory by width and bank conflicts",
                    list, measure},
                   count, arguments);
}
