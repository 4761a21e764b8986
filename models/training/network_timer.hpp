#pragma once

#include <cstdint>
#include <vector>

#include "models/workload/operators.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/data_type.hpp"
#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

namespace tessera::training {

/// Time of one collective or message on the wire, on an otherwise idle fabric.
struct NetworkCost {
  core::Time time{};
  core::Time lower{};  ///< 90 % interval of `time`.
  core::Time upper{};
  core::Grade grade = core::Grade::assumed;
  double nvlink_bytes = 0;  ///< Sent by the busiest GPU.
  double rdma_bytes = 0;    ///< Sent by the busiest GPU.
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
};

/// Answers how long communication takes. The fabric behind an adapter is one; tests have others.
class NetworkTimer {
 public:
  virtual ~NetworkTimer() = default;

  virtual NetworkCost exchange(const ExpertExchange& exchange) = 0;
  /// Activations or their gradient from one pipeline rank to the next.
  virtual NetworkCost pipeline_send(int from_gpu, int to_gpu, core::Bytes size) = 0;
  /// Every GPU of the group holds `size` and ends with its 1/n of the sum.
  virtual NetworkCost reduce_scatter(const std::vector<int>& gpus, core::Bytes size) = 0;
  /// Every GPU of the group holds 1/n of `size` and ends with all of it.
  virtual NetworkCost all_gather(const std::vector<int>& gpus, core::Bytes size) = 0;
};

}  // namespace tessera::training
