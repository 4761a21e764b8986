#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "models/streams/lanes.hpp"
#include "models/training/cost_table.hpp"
#include "models/workload/lowering.hpp"
#include "sim/core/units.hpp"

/// One pipeline chunk (a stage and a micro-batch) on one GPU: kernels on the compute stream,
/// exchanges with experts and collectives inside of layers on the communication stream, with the
/// dependencies between them.
namespace tessera::training {

using streams::ChunkPlan;
using streams::ChunkRun;
using streams::kLanes;
using streams::Lane;
using streams::Node;
using streams::run_chunk;

/// Parts of one stage in forward order.
using StageWork = std::vector<workload::PartWork>;

/// Builds plans. How compute SMs are given: a kernel that an exchange may run beside gets the
/// device's SMs less the communication SMs, any other gets all of them. In an overlapped pair every
/// kernel counts as one beside an exchange, as the kernels' launch sizes are set before.
class ChunkPlanner {
 public:
  /// `weights_beside_exchanges`: in a full backward, weight gradients run while exchanges of the
  /// input gradient do, as DualPipe's do; otherwise each follows its input gradient, as autograd
  /// runs them, and exchanges are exposed. A pair of chunks always does the first.
  ChunkPlanner(CostTable& costs, int communication_sms, int device_sms,
               bool weights_beside_exchanges = true, const HostCost& host = {});

  /// Exchanges are exposed.
  [[nodiscard]] ChunkPlan forward(const StageWork& stage);
  /// Parts that recompute their forward pass do so first. Without weight gradients exchanges are
  /// exposed.
  [[nodiscard]] ChunkPlan backward(const StageWork& stage, bool with_weight_gradient);
  [[nodiscard]] ChunkPlan weight_gradient(const StageWork& stage);
  /// DualPipe's pair (arXiv 2412.19437, figure 4): computation MLP(B) MLP(W) MLP(F) ATTN(B) ATTN(W)
  /// ATTN(F) over communication DISPATCH(F) DISPATCH(B) COMBINE(F) COMBINE(B), where (B) of an
  /// exchange is its gradient. Runs of kernels between two exchanges alternate, the backward's
  /// first; what one chunk has more of follows at the end.
  [[nodiscard]] ChunkPlan overlapped(const StageWork& forward_stage,
                                     const StageWork& backward_stage);

 private:
  struct Segment;
  class Writer;
  enum class Weights { none, beside_exchanges, in_place };
  static void append_forward(std::vector<Segment>& segments, const workload::PartWork& part,
                             bool again);
  static void append_backward(std::vector<Segment>& segments, const workload::PartWork& part,
                              Weights weights);
  static std::vector<Segment> forward_segments(const StageWork& stage);
  static std::vector<Segment> backward_segments(const StageWork& stage, Weights weights);

  CostTable& costs_;
  int shared_sms_;  ///< Left to kernels beside an exchange.
  bool weights_beside_exchanges_;
  HostCost host_;
};

}  // namespace tessera::training
