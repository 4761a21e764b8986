#pragma once

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "models/streams/network_timer.hpp"
#include "models/training/chunk.hpp"
#include "models/training/cost_table.hpp"
#include "models/training/layout.hpp"
#include "models/training/training.hpp"

/// What ranks that hold the same parameters send each other: weights gathered, gradients reduced.
namespace tessera::training {

/// What one chunk moves on the sharding lane.
struct ChunkTraffic {
  bool forward_gather = false;   ///< Weights, for the forward chunk.
  bool backward_gather = false;  ///< Weights, again, for the backward chunk.
  bool reduce = false;           ///< Gradients, as the backward chunk completes them.
  friend auto operator<=>(const ChunkTraffic&, const ChunkTraffic&) = default;
};

/// Parts of a stage whose weights are gathered, or whose gradients are reduced, together.
struct TrafficUnit {
  std::vector<std::string> parts;  ///< Names of PartWork, in forward order.
  workload::ParameterCount held;   ///< By one GPU, gathered.
};

/// FSDP's units of a stage: every layer and MTP module, and first the rest (embedding, head),
/// which stays gathered from forward to the end of backward, as the root module does
/// (torch/distributed/fsdp/fully_sharded_data_parallel.py).
[[nodiscard]] std::vector<TrafficUnit> layer_units(const Layout& layout, int stage);
/// Buckets of at least `elements` parameters in the order of the backward pass; the last may have
/// fewer (megatron/core/distributed/param_and_grad_buffer.py).
[[nodiscard]] std::vector<TrafficUnit> buckets(const Layout& layout, int stage, double elements);
/// The job's bucket size, or its default.
[[nodiscard]] double bucket_elements(const TrainingJob& job, const Layout& layout);

/// Times the collectives of every stage and writes them into plans of its chunks.
class ShardTraffic {
 public:
  /// All arguments outlive the object.
  ShardTraffic(const TrainingJob& job, const Layout& layout, NetworkTimer& network,
               CostTable& kernels);

  /// What `instruction` moves: with sharded weights or gradients the same in every chunk, otherwise
  /// only in the last backward chunk of a stage on a rank and in the first forward chunk of the
  /// first stage; later stages gather while their rank waits for its first activation.
  [[nodiscard]] ChunkTraffic of(const Instruction& instruction) const;

  /// Adds nodes to a plan of `forward_stage` (of actions that run one forward) or `backward_stage`.
  void add(ChunkPlan& plan, const ChunkTraffic& traffic, int forward_stage, int backward_stage);

  /// Collectives of a stage outside of its chunks: gradients that wait for the last one, then
  /// weights that were updated.
  [[nodiscard]] const std::vector<NetworkCost>& reductions(int stage) const {
    return reductions_[static_cast<std::size_t>(stage)];
  }
  [[nodiscard]] const std::vector<NetworkCost>& gathers(int stage) const {
    return gathers_[static_cast<std::size_t>(stage)];
  }
  /// Gathers of a stage that take no time of a step.
  [[nodiscard]] const std::vector<NetworkCost>& hidden_gathers(int stage) const {
    return hidden_gathers_[static_cast<std::size_t>(stage)];
  }

 private:
  enum class Kind { gather, scatter, reduce };
  class Writer;

  /// Weights of a unit: parameters outside of routed experts, then routed ones.
  std::vector<const NetworkCost*> gather(int stage, const workload::ParameterCount& held);
  /// Gradients of a unit.
  std::vector<const NetworkCost*> reduce(int stage, const workload::ParameterCount& held);
  /// What the framework does on the sharding lane to a unit's shard before it is gathered.
  std::vector<const KernelCost*> prepare_weights(int stage, const workload::ParameterCount& held);
  /// What the framework does to a unit's gradients on the sharding lane before they are reduced.
  std::vector<const KernelCost*> prepare_gradients(int stage, const workload::ParameterCount& held);
  const NetworkCost* collective(Kind kind, const std::vector<int>& gpus, double bytes);
  void find_ends();
  void time_stages();

  void gather_units_forward(Writer& writer, int stage);
  void gather_buckets_forward(Writer& writer, int stage);
  void move_units_backward(Writer& writer, int stage, const ChunkTraffic& traffic);
  void reduce_buckets_backward(Writer& writer, int stage);

  const TrainingJob& job_;
  const Layout& layout_;
  NetworkTimer& network_;
  CostTable& kernels_;
  std::map<std::tuple<Kind, std::vector<int>, std::int64_t>, NetworkCost> costs_;
  std::vector<Chunk> first_forward_, last_backward_;  ///< Sorted; micro-batches by stage and copy.
  std::vector<std::vector<NetworkCost>> reductions_, gathers_, hidden_gathers_;
};

}  // namespace tessera::training
