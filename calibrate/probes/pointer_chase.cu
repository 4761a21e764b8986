/// Dependent loads over a footprint: the latency of L1, L2 and HBM.
#include <cstdio>
#include <string>
#include <vector>

#include "calibrate/probes/chase_chain.hpp"
#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

/// Where the walk is, and how many loads brought it there.
struct Walk {
  const void* at;
  unsigned long long loads;
};

/// One thread follows `loads` pointers; every load waits for the one before. `through_l1` says
/// whether a load may hit L1 (ld.ca) or goes to L2 (ld.cg).
template <bool through_l1>
__global__ void chase(Walk* walk, int loads) {
  const void* at = walk->at;
  for (int i = 0; i < loads; ++i) {
    if constexpr (through_l1)
      asm volatile("ld.global.ca.u64 %0, [%1];" : "=l"(at) : "l"(at) : "memory");
    else
      asm volatile("ld.global.cg.u64 %0, [%1];" : "=l"(at) : "l"(at) : "memory");
  }
  walk->at = at;
  walk->loads += static_cast<unsigned long long>(loads);
}

struct Line {
  const void* next;
  unsigned char rest[kLineBytes - sizeof(void*)];
};
static_assert(sizeof(Line) == kLineBytes);

template <bool through_l1>
void measure_footprint(ProbeSession& session, MeasurementFile& file, std::int64_t bytes) {
  const std::vector<std::uint32_t> next = random_cycle(bytes / kLineBytes, 1);
  DeviceBuffer<Line> lines{static_cast<std::int64_t>(next.size())};
  std::vector<Line> host(next.size());
  for (std::size_t i = 0; i < next.size(); ++i) host[i].next = lines.data() + next[i];
  lines.upload(host);
  DeviceBuffer<Walk> walk{1};
  walk.upload({{.at = lines.data(), .loads = 0}});
  const cudaStream_t stream = session.timer().stream();
  check(cudaDeviceSynchronize());
  // A whole round first: every line has then been where it stays.
  chase<through_l1><<<1, 1, 0, stream>>>(walk.data(), static_cast<int>(next.size()));
  check_launch();
  ReplayRequest request = session.options().replay;
  request.state = OperandState::warm;
  request.graph_us = 1;
  TimedRun run = session.timer().time(request, 1, [&](int, cudaStream_t on) {
    chase<through_l1><<<1, 1, 0, on>>>(walk.data(), kChaseLoads);
    check_launch();
  });
  run.latency_us = scaled(run.latency_us, 1.0 / kChaseLoads);
  const Walk end = walk.read(0);
  RelativeError error;
  error.add(static_cast<double>(static_cast<const Line*>(end.at) - lines.data()) + 1,
            static_cast<double>(place_after(next, end.loads)) + 1);  // + 1: never zero
  const double cycles =
      run.latency_us.median * 0.5 * (run.sm_clock_before_mhz + run.sm_clock_after_mhz);
  session.record(file, {.op = "pointer_chase",
                        .dtype = "bytes",
                        .kernel = through_l1 ? "ld_ca" : "ld_cg",
                        .columns = {{"footprint_bytes", number_text(bytes)},
                                    {"line_bytes", number_text(std::int64_t{kLineBytes})},
                                    {"cycles", number_text(cycles)}},
                        .timing = run,
                        .error = error.value(),
                        .allowed_error = 0});
}

void list(const SizeLimits& limits) {
  for (const std::int64_t bytes : chase_footprints(limits))
    std::printf("pointer_chase footprint_bytes=%lld\n", static_cast<long long>(bytes));
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open(
      {.file = "pointer_chase", .shape = {"footprint_bytes", "line_bytes"}, .outcome = {"cycles"}});
  for (const std::int64_t bytes : chase_footprints(session.limits())) {
    const std::string what = "pointer chase over " + std::to_string(bytes) + " bytes";
    session.attempt(what, [&] { measure_footprint<true>(session, file, bytes); });
    session.attempt(what, [&] { measure_footprint<false>(session, file, bytes); });
  }
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe(
      {"probe_pointer_chase", "Latency of dependent loads over a footprint", list, measure}, count,
      arguments);
}
