/// FP32, packed, integer, special-function and conversion instructions: latency of a chain in one
/// warp, and rate of an SM full of them.
#include <cstdio>
#include <string>

#include "calibrate/probes/arithmetic_reference.hpp"
#include "calibrate/probes/cycle_counter.cuh"
#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

/// One step of a dependent chain: exactly one instruction of the kind (arithmetic_reference.hpp has
/// the same in C++).
template <Arithmetic kind>
__device__ std::uint32_t step(std::uint32_t x) {
  if constexpr (kind == Arithmetic::ffma)
    asm volatile("fma.rn.f32 %0, %0, 0f3F000000, 0f3F800000;" : "+r"(x));  // x / 2 + 1
  else if constexpr (kind == Arithmetic::fma_bf16x2)
    asm volatile("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(x) : "r"(0x3F003F00U), "r"(0x3F803F80U));
  else if constexpr (kind == Arithmetic::imad)
    asm volatile("mad.lo.u32 %0, %0, 1664525, 1013904223;" : "+r"(x));
  else if constexpr (kind == Arithmetic::ex2)
    asm volatile("{.reg .f32 n; neg.f32 n, %0; ex2.approx.ftz.f32 %0, n;}" : "+r"(x));
  else if constexpr (kind == Arithmetic::rsqrt)
    asm volatile("rsqrt.approx.ftz.f32 %0, %0;" : "+r"(x));
  else if constexpr (kind == Arithmetic::rcp)
    asm volatile("rcp.approx.ftz.f32 %0, %0;" : "+r"(x));
  else
    asm volatile("cvt.rn.bf16x2.f32 %0, %0, %0;" : "+r"(x));
  return x;
}

template <Arithmetic kind, int chains>
__global__ void run_chains(int rounds, std::uint32_t* results, long long* cycles) {
  std::uint32_t values[chains];
#pragma unroll
  for (int chain = 0; chain < chains; ++chain)
    values[chain] = arithmetic_start(kind, static_cast<int>(threadIdx.x), chain);
  const CycleCounter counter{cycles};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int unrolled = 0; unrolled < kArithmeticUnroll; ++unrolled)
#pragma unroll
      for (int chain = 0; chain < chains; ++chain) values[chain] = step<kind>(values[chain]);
  }
  counter.stop();
#pragma unroll
  for (int chain = 0; chain < chains; ++chain)
    results[(blockIdx.x * blockDim.x + threadIdx.x) * chains + chain] = values[chain];
}

template <Arithmetic kind, int chains>
void measure_chains(ProbeSession& session, MeasurementFile& file, int warps) {
  constexpr int kRounds = 512;
  const int ctas = session.device().multiProcessorCount;
  DeviceBuffer<std::uint32_t> results{std::int64_t{ctas} * warps * 32 * chains};
  DeviceBuffer<long long> cycles{ctas};
  results.poison();
  ReplayRequest request = session.options().replay;
  request.state = OperandState::warm;
  const TimedRun run = session.timer().time(request, 1, [&](int, cudaStream_t stream) {
    run_chains<kind, chains>
        <<<ctas, warps * 32, 0, stream>>>(kRounds, results.data(), cycles.data());
    check_launch();
  });
  RelativeError error;
  for (const int thread : {0, 7, 31, warps * 32 - 1})
    for (int chain = 0; chain < chains; ++chain)
      error.add(arithmetic_number(kind, results.read(thread * chains + chain)),
                arithmetic_number(
                    kind, arithmetic_result(kind, thread, chain, kRounds * kArithmeticUnroll)));
  const double each = cycles_per_instruction(cycles.download(), warps,
                                             std::int64_t{kRounds} * kArithmeticUnroll * chains);
  session.record(file, {.op = "arithmetic",
                        .dtype = arithmetic_dtype(kind),
                        .kernel = arithmetic_name(kind),
                        .columns = {{"warps", number_text(std::int64_t{warps})},
                                    {"chains", number_text(std::int64_t{chains})},
                                    {"cycles", number_text(each)},
                                    {"lanes_per_cycle", number_text(32 / each)}},
                        .timing = run,
                        .error = error.value(),
                        .allowed_error = arithmetic_allowed_error(kind)});
}

template <Arithmetic kind>
void measure_kind(ProbeSession& session, MeasurementFile& file) {
  session.attempt(arithmetic_name(kind), [&] {
    measure_chains<kind, 1>(session, file, 1);   // latency
    measure_chains<kind, 8>(session, file, 4);   // one warp a sub-partition
    measure_chains<kind, 8>(session, file, 32);  // rate
  });
}

void list(const SizeLimits&) {
  for (const Arithmetic kind : kArithmeticKinds)
    std::printf("arithmetic %s\n", arithmetic_name(kind));
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open({.file = "arithmetic",
                                       .shape = {"warps", "chains"},
                                       .outcome = {"cycles", "lanes_per_cycle"}});
  measure_kind<Arithmetic::ffma>(session, file);
  measure_kind<Arithmetic::fma_bf16x2>(session, file);
  measure_kind<Arithmetic::imad>(session, file);
  measure_kind<Arithmetic::ex2>(session, file);
  measure_kind<Arithmetic::rsqrt>(session, file);
  measure_kind<Arithmetic::rcp>(session, file);
  measure_kind<Arithmetic::cvt_bf16x2>(session, file);
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe({"probe_arithmetic_rates",
                    "Latency and rate of FP32, packed, integer, special-function and conversion "
                    "instructions",
                    list, measure},
                   count, arguments);
}
