#pragma once

#include <cstdint>
#include <vector>

#include "models/fabric/fabric_parameters.hpp"
#include "models/workload/operators.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/data_type.hpp"
#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

namespace tessera::streams {

/// Time of one collective or message on the wire, on an otherwise idle fabric.
struct NetworkCost {
  core::Time time{};
  core::Time lower{};  ///< 90 % interval of `time`.
  core::Time upper{};
  core::Grade grade = core::Grade::assumed;
  double nvlink_bytes = 0;  ///< Sent by the busiest GPU.
  double rdma_bytes = 0;    ///< Sent by the busiest GPU.
  /// Of a collective or message: SMs that its kernel occupies on every GPU while it runs.
  int sms = 0;
  /// Of a collective or message: what its kernel and its peers read and write in one GPU's memory.
  double hbm_bytes = 0;
  /// Of a low-latency exchange: its first part, in which the SMs send, with its 90 % interval; what
  /// is left is the wire's alone.
  core::Time sending{}, sending_lower{}, sending_upper{};
  /// Of an exchange: the time counts the copying by SMs too. Otherwise a kernel is asked for it,
  /// and the slower of both decides.
  bool sms_included = false;
};

/// One dispatch or combine of one MoE layer and micro-batch in one expert-parallel group. Row
/// counts are of rows on the wire, one a token and rank or node reached, not one an expert.
struct ExpertExchange {
  workload::Exchange::Direction direction = workload::Exchange::Direction::dispatch;
  std::vector<int> gpus;  ///< Expert rank -> GPU of the cluster.
  std::int64_t tokens_per_rank = 0;
  std::int64_t hidden = 0;
  core::DataType type = core::DataType::bf16;  ///< On the wire.
  const workload::RoutedLoad* load = nullptr;  ///< Never null; loads and places per token.
  int sms = 0;                                 ///< Given to the exchange on every GPU.
  /// One copy an expert straight to its rank, whose SMs are free while it is on the wire (DeepEP's
  /// low-latency kernels); row counts are then of rows an expert.
  bool low_latency = false;
};

/// Answers how long communication takes. The fabric behind an adapter is one; tests have others.
///
/// Collectives are asked for one group of GPUs, in the order of its ranks, wherever they lie; every
/// other GPU of the cluster is taken to be in a group of the same shape that runs the same
/// collective at the same time, so groups that share NICs or switches slow each other, and the
/// slowest of them gives the time. A group of one GPU costs nothing.
class NetworkTimer {
 public:
  virtual ~NetworkTimer() = default;

  virtual NetworkCost exchange(const ExpertExchange& exchange) = 0;
  /// One message; the neighbours of `from_gpu` send theirs to the neighbours of `to_gpu`.
  virtual NetworkCost send(int from_gpu, int to_gpu, core::Bytes size) = 0;
  /// Every GPU of the group sends `size` to the next one, the last to the first: a step of ring
  /// attention.
  virtual NetworkCost ring_shift(const std::vector<int>& gpus, core::Bytes size) = 0;
  /// Every GPU of the group holds `size` and ends with the sum.
  virtual NetworkCost all_reduce(const std::vector<int>& gpus, core::Bytes size) = 0;
  /// The same by the kernels that an inference library has of its own inside a domain, and by NCCL
  /// where it leaves the sum to NCCL.
  virtual NetworkCost all_reduce_by(fabric::ReduceLibrary /*library*/, const std::vector<int>& gpus,
                                    core::Bytes size) {
    return all_reduce(gpus, size);
  }
  /// Every GPU of the group holds `size` and ends with its 1/n of the sum.
  virtual NetworkCost reduce_scatter(const std::vector<int>& gpus, core::Bytes size) = 0;
  /// Every GPU of the group holds 1/n of `size` and ends with all of it.
  virtual NetworkCost all_gather(const std::vector<int>& gpus, core::Bytes size) = 0;
  /// Every GPU of the group holds `size` and sends 1/n of it to each, itself included.
  virtual NetworkCost all_to_all(const std::vector<int>& gpus, core::Bytes size) = 0;
};

}  // namespace tessera::streams
