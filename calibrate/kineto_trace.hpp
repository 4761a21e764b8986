#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>

namespace tessera::calibrate {

/// One complete event ("ph": "X") of a PyTorch profiler trace, as far as importing needs it.
struct TraceEvent {
  std::string category;  ///< kernel, cpu_op, cuda_runtime, ...
  std::string name;
  double begin_us = 0;      ///< "ts"
  double duration_us = -1;  ///< "dur"; below 0 when there is none.
  std::int64_t device = -1;
  std::int64_t external = -1;     ///< "External id": the operator that a launch belongs to.
  std::int64_t correlation = -1;  ///< Joins a kernel to its launch.
  // JSON text of the operator's inputs; empty when not recorded.
  std::string dims, types, concretes;
  // Of NCCL's kernels.
  std::string collective, element_type;
  std::int64_t in_elements = -1, out_elements = -1, ranks = -1;
  bool uneven = false;  ///< Splits of unequal size were given.
};

/// What a trace's preamble says.
struct TraceHeader {
  std::string nccl_version;
};

struct TraceConsumer {
  std::function<void(const TraceEvent&)> event;
  std::function<void(std::int64_t id, const std::string& name)> device;  ///< "deviceProperties"
};

/// Reads a Chrome-trace JSON as PyTorch's profiler writes it (an object with traceEvents, or the
/// bare list) from front to back, one event in memory at a time. Inputs of more than 64 KiB an
/// event are dropped. Throws core::ConfigError at line and column, with the byte's offset, where
/// the text is not JSON or ends early, and when it holds no list of events.
TraceHeader read_kineto_trace(std::istream& text, const std::string& file,
                              const TraceConsumer& consumer);

}  // namespace tessera::calibrate
