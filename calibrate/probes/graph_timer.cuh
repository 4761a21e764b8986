#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "calibrate/probes/cuda_status.cuh"
#include "calibrate/probes/device_buffer.cuh"
#include "calibrate/probes/measurement_file.hpp"
#include "calibrate/probes/repeat_statistics.hpp"
#include "calibrate/probes/replay_plan.hpp"

namespace tessera::calibrate::probes {

/// Enqueues one operation on operand set `set`.
using Operation = std::function<void(int set, cudaStream_t stream)>;

/// Times operations by replaying CUDA graphs of them between two events, as the measurements are:
/// the host's launches then cost nothing, and the clock is that of a burst. The SM clock is counted
/// on the GPU itself right before and after the timed replays.
class GraphTimer {
 public:
  /// `l2_bytes`: of the current device, for flushing.
  explicit GraphTimer(std::int64_t l2_bytes);
  ~GraphTimer();
  GraphTimer(const GraphTimer&) = delete;
  GraphTimer& operator=(const GraphTimer&) = delete;

  /// Runs, estimates, warms up and times. Throws what `operation` throws and CudaFailure.
  TimedRun time(const ReplayRequest& request, int operand_sets, const Operation& operation);

  /// Counts the SM clock now, as both clocks of a run that was timed otherwise.
  void clocks_now(TimedRun& run);

  [[nodiscard]] cudaStream_t stream() const { return stream_; }

 private:
  double estimate_us(int operand_sets, const Operation& operation);
  double replay_us(cudaGraphExec_t graph, bool flush);
  void count_clock(int slot);
  [[nodiscard]] double counted_mhz(int slot) const;

  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t stop_ = nullptr;
  DeviceBuffer<unsigned char> flushed_;
  DeviceBuffer<long long> clock_counts_;  ///< Cycles and nanoseconds, two slots.
};

namespace timer_kernels {

/// Cycles and nanoseconds that pass while one thread spins for about `nanoseconds`.
__global__ void count_clock(long long nanoseconds, long long* counts) {
  long long begin = 0;
  long long now = 0;
  // The global timer advances in steps of up to a microsecond: begin and end at a step.
  long long first = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(first));
  do asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
  while (begin == first);
  const long long begin_cycle = clock64();
  do asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  while (now - begin < nanoseconds);
  counts[0] = clock64() - begin_cycle;
  counts[1] = now - begin;
}

}  // namespace timer_kernels

inline GraphTimer::GraphTimer(std::int64_t l2_bytes) : flushed_(2 * l2_bytes), clock_counts_(4) {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  check(cudaEventCreate(&start_));
  check(cudaEventCreate(&stop_));
}

inline GraphTimer::~GraphTimer() {
  cudaEventDestroy(start_);
  cudaEventDestroy(stop_);
  cudaStreamDestroy(stream_);
}

inline void GraphTimer::count_clock(int slot) {
  constexpr long long kNanoseconds = 200'000;  // 200 steps of the coarsest timer
  timer_kernels::count_clock<<<1, 1, 0, stream_>>>(kNanoseconds, clock_counts_.data() + 2 * slot);
  check_launch();
}

inline void GraphTimer::clocks_now(TimedRun& run) {
  count_clock(0);
  check(cudaStreamSynchronize(stream_));
  run.sm_clock_before_mhz = run.sm_clock_after_mhz = counted_mhz(0);
}

inline double GraphTimer::counted_mhz(int slot) const {
  const auto nanoseconds = static_cast<double>(clock_counts_.read(2 * slot + 1));
  return static_cast<double>(clock_counts_.read(2 * slot)) * 1e3 / nanoseconds;
}

/// Runs every operand set once, which also loads modules and lets libraries choose kernels, then
/// times a second round.
inline double GraphTimer::estimate_us(int operand_sets, const Operation& operation) {
  for (int set = 0; set < operand_sets; ++set) operation(set, stream_);
  check(cudaStreamSynchronize(stream_));
  check(cudaEventRecord(start_, stream_));
  for (int set = 0; set < operand_sets; ++set) operation(set, stream_);
  check(cudaEventRecord(stop_, stream_));
  check(cudaEventSynchronize(stop_));
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start_, stop_));
  return static_cast<double>(milliseconds) * 1e3 / operand_sets;
}

/// Device time of one replay. The flush runs before the first event, long enough for the launch to
/// be queued behind it.
inline double GraphTimer::replay_us(cudaGraphExec_t graph, bool flush) {
  if (flush) check(cudaMemsetAsync(flushed_.data(), 0x5A, flushed_.bytes(), stream_));
  check(cudaEventRecord(start_, stream_));
  check(cudaGraphLaunch(graph, stream_));
  check(cudaEventRecord(stop_, stream_));
  check(cudaEventSynchronize(stop_));
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start_, stop_));
  return static_cast<double>(milliseconds) * 1e3;
}

inline TimedRun GraphTimer::time(const ReplayRequest& request, int operand_sets,
                                 const Operation& operation) {
  const double estimate = std::max(0.5, estimate_us(operand_sets, operation));  // event resolution
  TimedRun run{.plan = plan_replays(request, operand_sets, estimate)};
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < run.plan.operations; ++i) operation(i % operand_sets, stream_);
  check(cudaStreamEndCapture(stream_, &graph));
  check(cudaGraphInstantiate(&executable, graph, 0));
  const bool flush = run.plan.state == OperandState::flushed;
  for (int i = 0; i < run.plan.warm_up; ++i) replay_us(executable, flush);
  count_clock(0);
  std::vector<double> repeats;
  for (int i = 0; i < run.plan.replays; ++i)
    repeats.push_back(replay_us(executable, flush) / run.plan.operations);
  count_clock(1);
  check(cudaStreamSynchronize(stream_));
  run.latency_us = summarize(repeats);
  run.sm_clock_before_mhz = counted_mhz(0);
  run.sm_clock_after_mhz = counted_mhz(1);
  check(cudaGraphExecDestroy(executable));
  check(cudaGraphDestroy(graph));
  return run;
}

}  // namespace tessera::calibrate::probes
