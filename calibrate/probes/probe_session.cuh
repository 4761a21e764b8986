#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "calibrate/probes/cuda_status.cuh"
#include "calibrate/probes/device_state.hpp"
#include "calibrate/probes/graph_timer.cuh"
#include "calibrate/probes/measurement_file.hpp"
#include "calibrate/probes/probe_options.hpp"
#include "calibrate/probes/sizes.hpp"

namespace tessera::calibrate::probes {

/// One run of one probe on one GPU: options, the GPU, the timer, and the count of what came out.
class ProbeSession {
 public:
  /// Takes the GPU. Throws CudaFailure; std::runtime_error when Tessera has no name for it and the
  /// options give none.
  explicit ProbeSession(const ProbeOptions& options);

  [[nodiscard]] const ProbeOptions& options() const { return options_; }
  [[nodiscard]] const Environment& environment() const { return environment_; }
  [[nodiscard]] const cudaDeviceProp& device() const { return device_; }
  [[nodiscard]] const std::string& uuid() const { return uuid_; }
  [[nodiscard]] int compute_capability() const { return 10 * device_.major + device_.minor; }
  [[nodiscard]] SizeLimits limits() const;
  [[nodiscard]] std::int64_t free_bytes() const;
  [[nodiscard]] GraphTimer& timer() { return *timer_; }
  [[nodiscard]] MeasurementFile open(const Family& family) const {
    return {options_.out, family, environment_};
  }

  /// Operand sets of `set_bytes` for this GPU's free memory; throws NotSupported when not even one
  /// fits.
  [[nodiscard]] int sets(std::int64_t set_bytes) const;

  /// Writes the row when its error is allowed, else says so on stderr and counts it as wrong.
  void record(MeasurementFile& file, const Measurement& row);

  /// Runs `measure`, which records rows; what the GPU or a library does not support is counted and
  /// said on stderr.
  void attempt(const std::string& what, const std::function<void()>& measure);

  /// One line of totals on stderr; 1 when a kernel computed something wrong or nothing was
  /// recorded, else 0.
  [[nodiscard]] int finish() const;

 private:
  ProbeOptions options_;
  cudaDeviceProp device_{};
  Environment environment_;
  std::string uuid_;
  std::unique_ptr<GraphTimer> timer_;
  int recorded_ = 0;
  int wrong_ = 0;
  int skipped_ = 0;
};

inline ProbeSession::ProbeSession(const ProbeOptions& options) : options_(options) {
  check(cudaSetDevice(options.device));
  check(cudaGetDeviceProperties(&device_, options.device));
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime));
  unsigned char uuid_bytes[16];
  for (int i = 0; i < 16; ++i) uuid_bytes[i] = static_cast<unsigned char>(device_.uuid.bytes[i]);
  uuid_ = uuid_text(uuid_bytes);
  const auto state = query_device_state(options.smi, uuid_);
  if (!state)
    std::fprintf(stderr, "%s does not answer: driver, memory clock and power limit stay empty\n",
                 options.smi.c_str());
  environment_.gpu = options.gpu;
  if (environment_.gpu.empty())
    environment_.gpu =
        tessera_device(device_.name, static_cast<std::int64_t>(device_.totalGlobalMem))
            .value_or("");
  if (environment_.gpu.empty())
    throw std::runtime_error(std::string{"no device file is known for '"} + device_.name +
                             "': give its name with --gpu (tessera list devices)");
  environment_.version = TESSERA_VERSION;
  environment_.device = device_.name;
  environment_.cuda = std::to_string(runtime / 1000) + "." + std::to_string(runtime % 1000 / 10);
  environment_.sms = device_.multiProcessorCount;
  environment_.l2_bytes = device_.l2CacheSize;
  if (state) {
    environment_.driver = state->driver;
    environment_.memory_clock_mhz = state->memory_clock_mhz;
    environment_.power_limit_w = state->power_limit_w;
  }
  timer_ = std::make_unique<GraphTimer>(device_.l2CacheSize);
}

inline SizeLimits ProbeSession::limits() const {
  return {.l2_bytes = device_.l2CacheSize, .memory_bytes = free_bytes(), .quick = options_.quick};
}

inline std::int64_t ProbeSession::free_bytes() const {
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(free);
}

inline int ProbeSession::sets(std::int64_t set_bytes) const {
  const std::int64_t free = free_bytes();
  if (set_bytes > free / 10 * 9) throw NotSupported("does not fit the memory that is free");
  return operand_sets(options_.replay, set_bytes, free);
}

inline void ProbeSession::record(MeasurementFile& file, const Measurement& row) {
  if (!(row.error <= row.allowed_error)) {  // also true of NaN
    ++wrong_;
    std::string shape;
    for (const auto& [name, value] : row.columns) shape += " " + name + "=" + value;
    std::fprintf(stderr, "WRONG RESULT, not written: %s %s %s%s: error %.3g, allowed %.3g\n",
                 row.op.c_str(), row.dtype.c_str(), row.kernel.c_str(), shape.c_str(), row.error,
                 row.allowed_error);
    return;
  }
  file.write(row);
  ++recorded_;
}

inline void ProbeSession::attempt(const std::string& what, const std::function<void()>& measure) {
  try {
    measure();
  } catch (const NotSupported& reason) {
    ++skipped_;
    std::fprintf(stderr, "left out: %s: %s\n", what.c_str(), reason.what());
  }
}

inline int ProbeSession::finish() const {
  std::fprintf(stderr, "%d rows written, %d left out, %d with a wrong result\n", recorded_,
               skipped_, wrong_);
  return wrong_ > 0 || recorded_ == 0 ? 1 : 0;
}

/// A probe: what it says of itself, the sizes it would measure, and the measuring.
struct Probe {
  std::string name;
  std::string description;
  std::function<void(const SizeLimits&)> list;  ///< Prints one line a size.
  std::function<void(ProbeSession&)> measure;
};

/// Exit codes: 0 done; 1 no GPU, a CUDA failure, a wrong result or no row; 2 wrong command line.
inline int run_probe(const Probe& probe, int count, char** arguments) {
  const ParsedOptions parsed = parse_options(probe.name, probe.description, count, arguments);
  if (parsed.exit_code) {
    std::fputs(parsed.message.c_str(), *parsed.exit_code == 0 ? stdout : stderr);
    return *parsed.exit_code;
  }
  const ProbeOptions& options = parsed.options;
  if (options.list) {
    probe.list({.l2_bytes = options.listed_l2_bytes,
                .memory_bytes = options.listed_memory_bytes,
                .quick = options.quick});
    return 0;
  }
  try {
    ProbeSession session{options};
    probe.measure(session);
    return session.finish();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", probe.name.c_str(), error.what());
    return 1;
  }
}

}  // namespace tessera::calibrate::probes
