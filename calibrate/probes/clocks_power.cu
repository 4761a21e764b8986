/// Board power and clock through nvidia-smi: idle, and under products that run long enough for the
/// power limit to act.
#include <cublasLt.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "calibrate/probes/cublaslt_gemm.cuh"
#include "calibrate/probes/device_state.hpp"
#include "calibrate/probes/probe_session.cuh"

namespace tessera::calibrate::probes {
namespace {

constexpr int kSampleMs = 50;           // NVML averages over 25 to 100 ms
constexpr double kLoadUs = 2e6;         // the power controller settles in some tenths of a second
constexpr std::size_t kSettlePart = 2;  // of the samples, one in two is taken while it settles

std::string watts(const std::optional<double>& value) {
  return value ? number_text(std::round(*value * 10) / 10) : std::string{};
}

PowerSummary power_of(DeviceSampler& sampler) {
  const std::vector<DeviceState> samples = sampler.stop();
  const auto summary = summarize_power(samples, samples.size() / kSettlePart);
  if (!summary) throw NotSupported("nvidia-smi reports no power for this GPU");
  return *summary;
}

void measure_idle(ProbeSession& session, MeasurementFile& file) {
  constexpr std::chrono::seconds kIdle{4};
  std::this_thread::sleep_for(kIdle);  // what came before has cooled and clocks have fallen
  DeviceSampler sampler{session.options().smi, session.uuid(), kSampleMs};
  std::this_thread::sleep_for(kIdle);
  const PowerSummary power = power_of(sampler);
  TimedRun run{.plan = {.state = OperandState::warm, .warm_up = 0, .replays = power.samples},
               .latency_us = summarize({std::chrono::duration<double, std::micro>(kIdle).count()}),
               .sm_clock_before_mhz = power.sm_clock_mhz,
               .sm_clock_after_mhz = power.sm_clock_mhz};
  session.record(file, {.op = "idle",
                        .dtype = "none",
                        .kernel = "none",
                        .columns = {{"power_w", watts(power.power_w)},
                                    {"power_limit_w", watts(session.environment().power_limit_w)}},
                        .timing = run});
}

/// Replays of about 20 ms each that fill the time of the load when one operation takes
/// `latency_us`.
ReplayRequest sustained(const ProbeSession& session, int sets, double latency_us) {
  ReplayRequest request = session.options().replay;
  request.state = sets > 1 ? OperandState::cycled : OperandState::warm;
  request.graph_us = 2e4;
  const int operations = plan_replays(request, sets, latency_us).operations;
  request.replays = static_cast<int>(std::ceil(kLoadUs / (operations * latency_us)));
  return request;
}

void measure_gemm(ProbeSession& session, MeasurementFile& file, CublasLt& library,
                  const GemmTypeTraits& traits, const GemmShape& shape) {
  const LtGemm gemm{library, traits, shape};
  std::vector<GemmOperands> operands;
  const int sets = session.sets(gemm_bytes(traits, shape.m, shape.n, shape.k));
  for (int set = 0; set < sets; ++set)
    operands.emplace_back(traits, shape, gemm_seeds(set), session.timer().stream());
  const Operation operation = [&](int set, cudaStream_t stream) {
    gemm.enqueue(operands[static_cast<std::size_t>(set)], stream);
  };
  const double burst_us =
      session.timer().time(session.options().replay, sets, operation).latency_us.median;
  DeviceSampler sampler{session.options().smi, session.uuid(), kSampleMs};
  const TimedRun run = session.timer().time(sustained(session, sets, burst_us), sets, operation);
  const PowerSummary power = power_of(sampler);
  session.record(file, {.op = "gemm",
                        .dtype = traits.dtype,
                        .kernel = "cublaslt",
                        .columns = {{"M", number_text(shape.m)},
                                    {"N", number_text(shape.n)},
                                    {"K", number_text(shape.k)},
                                    {"power_w", watts(power.power_w)},
                                    {"power_limit_w", watts(session.environment().power_limit_w)}},
                        .library = library.version(),
                        .timing = run,
                        .error = operands[0].error(traits, shape, gemm_seeds(0)),
                        .allowed_error = traits.allowed_error});
}

std::string label(const GemmTypeTraits& traits, const GemmShape& shape) {
  return std::string{"power of gemm "} + traits.dtype + " M=" + std::to_string(shape.m) +
         " N=" + std::to_string(shape.n) + " K=" + std::to_string(shape.k);
}

void list(const SizeLimits& limits) {
  std::printf("power idle\n");
  for (const GemmTypeTraits& traits : gemm_types())
    for (const GemmShape& shape : power_shapes(limits))
      std::printf("%s\n", label(traits, shape).c_str());
}

void measure(ProbeSession& session) {
  MeasurementFile idle =
      session.open({.file = "power_idle", .outcome = {"power_w", "power_limit_w"}});
  session.attempt("power when idle", [&] { measure_idle(session, idle); });
  MeasurementFile file = session.open(
      {.file = "power_gemm", .shape = {"M", "N", "K"}, .outcome = {"power_w", "power_limit_w"}});
  CublasLt library;
  for (const GemmTypeTraits& traits : gemm_types())
    for (const GemmShape& shape : power_shapes(session.limits()))
      session.attempt(label(traits, shape),
                      [&] { measure_gemm(session, file, library, traits, shape); });
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_clocks_power", "Board power and clock, idle and under long products", list, measure},
      count, arguments);
}
