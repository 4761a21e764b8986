#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "models/streams/costs.hpp"
#include "models/workload/operators.hpp"
#include "sim/core/units.hpp"

/// Kernels on the compute stream, exchanges with experts and collectives beside them, with the
/// dependencies between them.
namespace tessera::streams {

/// The streams of a GPU; each runs its nodes in order, one at a time.
enum class Lane {
  compute,
  communication,  ///< Exchanges and collectives inside of layers.
  sharding,       ///< Weights gathered and gradients reduced over ranks that hold the same ones.
};
inline constexpr std::size_t kLanes = 3;

/// A kernel, an exchange or a collective of a chunk: one of the three costs is there.
struct Node {
  std::string part;      ///< "layer 7"
  std::string name;      ///< "q_up", "dispatch"
  std::string category;  ///< forward, backward, weight or communication: a Span's category.
  Lane lane = Lane::compute;
  const KernelCost* kernel = nullptr;
  const ExchangeCost* exchange = nullptr;
  const NetworkCost* network = nullptr;       ///< Of a collective.
  workload::Exchange::Direction direction{};  ///< Of an exchange.
  workload::Pass pass = workload::Pass::forward;
  int after = -1;       ///< Node of another lane that must have ended; -1: none.
  int gathered = -1;    ///< Node of the sharding lane that brings this node's weights; -1: none.
  core::Time host{};    ///< The host takes this long to launch it; 0: it is replayed from a graph.
  int host_after = -1;  ///< Node that must have ended before the host goes on to this one, as it
                        ///< reads what that one computed; -1: none.

  [[nodiscard]] TimeRange time() const;
  [[nodiscard]] double hbm_bytes() const;
  /// SMs that the node takes from kernels that were timed on the whole GPU.
  [[nodiscard]] int sms_taken() const {
    return network ? network->sms : exchange ? exchange->network.sms : 0;
  }
};

/// What a rank runs in one instruction, before times are known.
struct ChunkPlan {
  std::vector<Node> nodes;   ///< In order of issue on each lane.
  int forward_output = -1;   ///< Node that completes the forward output; -1: none.
  int backward_output = -1;  ///< Node that completes the input gradient; -1: none.
  /// The chunk ends with its last kernel and exchange; what is left of the sharding lane goes on
  /// beside the chunks that follow.
  bool sharding_trails = false;
};

/// A plan with times.
struct ChunkRun {
  core::Time duration{};
  core::Time sharding_end{};    ///< Of the sharding lane; after `duration` where it trails.
  core::Time sharding_busy{};   ///< Sum of the sharding lane's nodes.
  core::Time forward_ready{};   ///< End of ChunkPlan::forward_output.
  core::Time backward_ready{};  ///< End of ChunkPlan::backward_output.
  std::vector<std::pair<core::Time, core::Time>> spans;  ///< Start and end of every node.
  core::Time exposed_dispatch{};                         ///< Dispatch runs and no kernel does.
  core::Time exposed_combine{};
  core::Time exposed_collectives{};  ///< Inside of layers.
  core::Time exposed_sharding{};
  std::vector<core::Time> exposed;  ///< By node, of those above: while no kernel ran.
  core::Time stretched{};           ///< Added to kernels and exchanges by sharing HBM.
  core::Time ceded{};               ///< Added to kernels by SMs that collectives took.
  core::Time host{};                ///< No kernel ran, and the next waited only for its launch.
};

/// Runs all lanes in order. While nodes run together and ask more of HBM than `hbm_rate`, all slow
/// down to what it gives. A kernel that was timed on all of the device's `sms` slows down while
/// collectives take some of them, unless HBM binds it; 0: no collective takes any. One whose tiles
/// were dealt to all SMs finishes the CTAs that found one taken after the others, and lets no
/// collective begin while it holds all SMs: NCCL's CTAs share none (nccl issue 689). The host
/// launches what is not on the sharding lane in the order of the plan, one after the other; the
/// first is there when the chunk starts.
[[nodiscard]] ChunkRun run_chunk(const ChunkPlan& plan, core::BytesPerSecond hbm_rate,
                                 const Variation& variation = {}, int sms = 0);

}  // namespace tessera::streams
