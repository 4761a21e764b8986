#pragma once

#include <string>
#include <vector>

#include "calibrate/measured_call.hpp"
#include "calibrate/served_as.hpp"
#include "models/workload/architecture.hpp"

/// One iteration of a served model as the kernels and collectives of one GPU.
namespace tessera::calibrate {

/// Sequences of one attention replica that an iteration works on, all alike.
struct ServedPass {
  std::int64_t sequences = 1;
  std::int64_t tokens = 1;   ///< New ones of each: 1 decodes, more is a whole prompt.
  std::int64_t context = 1;  ///< Held by each, the new ones included.

  [[nodiscard]] bool decodes() const { return tokens == 1; }
  [[nodiscard]] std::int64_t rows() const { return sequences * tokens; }
};

struct ServedKernel {
  std::string name;
  KernelQuery query;
  double count = 1;
  /// It runs beside others that wait for HBM too: it adds what its bytes take, no latency.
  bool beside = false;
};

struct ServedTransfer {
  enum class Kind {
    all_reduce,      ///< By the server's own kernels.
    all_gather,      ///< By NCCL; bytes of the gathered tensor.
    reduce_scatter,  ///< By NCCL; bytes that each GPU brings.
  };
  std::string name;
  Kind kind = Kind::all_reduce;
  double bytes = 0;
  int ranks = 1;
  double count = 1;
};

struct ServedIteration {
  std::vector<ServedKernel> kernels;
  std::vector<ServedTransfer> transfers;
  /// Of all weights that the iteration must read on this GPU, embedding table excluded.
  double weight_bytes = 0;
};

/// The busiest GPU's work. Throws core::Refusal for what served kernels do not cover.
[[nodiscard]] ServedIteration served_iteration(const workload::Architecture& architecture,
                                               const ServedAs& as, const ServedLayout& layout,
                                               const ServedPass& pass,
                                               const device::DeviceSpec& device,
                                               const ServedMap& served, const MeasurementMap& map);

}  // namespace tessera::calibrate
