/// What starting a kernel costs: as one of many in a stream, as a node of a graph, and as a whole
/// graph.
#include <chrono>
#include <cstdio>

#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/probe_session.cuh"
#include "calibrate/probes/verification.hpp"

namespace tessera::calibrate::probes {
namespace {

/// Does nothing but count that it ran.
__global__ void tick(unsigned long long* count) {
  if (blockIdx.x == 0 && threadIdx.x == 0) *count += 1;
}

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

/// Counted launches against those that were made: 0 when all ran, in order, once.
double lost_launches(const DeviceBuffer<unsigned long long>& count, std::int64_t made) {
  RelativeError error;
  error.add(static_cast<double>(count.read(0)), static_cast<double>(made));
  return error.value();
}

Measurement row(const std::string& kernel, std::int64_t kernels, std::int64_t ctas,
                const TimedRun& timing, double error) {
  return {.op = "launch",
          .dtype = "none",
          .kernel = kernel,
          .columns = {{"kernels", number_text(kernels)}, {"ctas", number_text(ctas)}},
          .timing = timing,
          .error = error,
          .allowed_error = 0};
}

/// Time of one kernel among `kernels` dependent ones of a graph.
void measure_graph_nodes(ProbeSession& session, MeasurementFile& file, std::int64_t kernels,
                         std::int64_t ctas) {
  DeviceBuffer<unsigned long long> count{1};
  check(cudaMemset(count.data(), 0, count.bytes()));
  check(cudaDeviceSynchronize());
  std::int64_t eager = 0;  // launches outside capture
  ReplayRequest request = session.options().replay;
  request.state = OperandState::warm;
  request.graph_us = 1;  // one operation, which is `kernels` kernels
  TimedRun run = session.timer().time(request, 1, [&](int, cudaStream_t stream) {
    cudaStreamCaptureStatus status{};
    check(cudaStreamIsCapturing(stream, &status));
    if (status == cudaStreamCaptureStatusNone) eager += kernels;
    for (std::int64_t i = 0; i < kernels; ++i)
      tick<<<static_cast<unsigned>(ctas), 128, 0, stream>>>(count.data());
    check_launch();
  });
  const std::int64_t replays = run.plan.warm_up + run.plan.replays;
  const double error = lost_launches(count, eager + replays * run.plan.operations * kernels);
  run.latency_us = scaled(run.latency_us, 1.0 / static_cast<double>(kernels));
  session.record(file, row("graph_node", kernels, ctas, run, error));
}

/// Host-side time: `kernels` launches into a stream, or one graph of them, until the GPU is done.
void measure_host(ProbeSession& session, MeasurementFile& file, std::int64_t kernels, bool graph) {
  const cudaStream_t stream = session.timer().stream();
  DeviceBuffer<unsigned long long> count{1};
  check(cudaMemset(count.data(), 0, count.bytes()));
  check(cudaDeviceSynchronize());
  cudaGraph_t recorded = nullptr;
  cudaGraphExec_t executable = nullptr;
  const auto launch_all = [&] {
    for (std::int64_t i = 0; i < kernels; ++i) tick<<<1, 128, 0, stream>>>(count.data());
    check_launch();
  };
  if (graph) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    launch_all();
    check(cudaStreamEndCapture(stream, &recorded));
    check(cudaGraphInstantiate(&executable, recorded, 0));
  }
  constexpr int kRepeatFactor = 20;  // host times scatter more than device times
  const ReplayRequest& request = session.options().replay;
  TimedRun run{.plan = {.state = OperandState::warm,
                        .warm_up = request.warm_up,
                        .replays = request.replays * kRepeatFactor}};
  std::vector<double> repeats;
  for (int i = 0; i < run.plan.warm_up + run.plan.replays; ++i) {
    const Clock::time_point start = Clock::now();
    if (graph)
      check(cudaGraphLaunch(executable, stream));
    else
      launch_all();
    check(cudaStreamSynchronize(stream));
    if (i >= run.plan.warm_up)
      repeats.push_back(microseconds_since(start) / static_cast<double>(kernels));
  }
  run.latency_us = summarize(repeats);
  session.timer().clocks_now(run);
  if (graph) {
    check(cudaGraphExecDestroy(executable));
    check(cudaGraphDestroy(recorded));
  }
  const std::int64_t made = (run.plan.warm_up + run.plan.replays) * kernels;
  session.record(
      file, row(graph ? "host_graph" : "host_stream", kernels, 1, run, lost_launches(count, made)));
}

void list(const SizeLimits& limits) {
  for (const std::int64_t kernels : launch_counts(limits))
    std::printf("launch kernels=%lld\n", static_cast<long long>(kernels));
}

void measure(ProbeSession& session) {
  MeasurementFile file = session.open({.file = "launch", .shape = {"kernels", "ctas"}});
  const std::int64_t sms = session.device().multiProcessorCount;
  for (const std::int64_t kernels : launch_counts(session.limits())) {
    measure_host(session, file, kernels, false);
    measure_host(session, file, kernels, true);
    // One CTA, one a SM, and waves of them: what dispatching a CTA adds.
    for (const std::int64_t ctas : {std::int64_t{1}, sms, 16 * sms, 256 * sms})
      measure_graph_nodes(session, file, kernels, ctas);
  }
}

}  // namespace
}  // namespace tessera::calibrate::probes

int main(int count, char** arguments) {
  using namespace tessera::calibrate::probes;
  return run_probe({"probe_launch_latency", "What starting a kernel costs", list, measure}, count,
                   arguments);
}
