#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_timer.hpp"
#include "models/streams/network_timer.hpp"
#include "models/streams/slowest_part.hpp"
#include "models/training/rank_grid.hpp"
#include "models/training/schedule_kind.hpp"
#include "models/workload/architecture.hpp"
#include "models/workload/parallel_split.hpp"
#include "models/workload/precision.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/result.hpp"

namespace tessera::training {

using streams::NetworkTimer;

/// One thing that a pipeline stage computes.
struct StageEntry {
  enum class Kind { embedding, layer, head, mtp };
  Kind kind = Kind::layer;
  std::int64_t layer = 0;  ///< Number of the layer from 0; only for Kind::layer.
  friend auto operator<=>(const StageEntry&, const StageEntry&) = default;
};
using Stage = std::vector<StageEntry>;

/// What the ranks that hold the same parameters split among them (arXiv 1910.02054, section 5).
enum class Sharding {
  none,   ///< Nothing: every rank keeps and updates all of its parameters.
  zero1,  ///< Master weights and moments.
  zero2,  ///< Gradients too: they are reduced after every micro-batch.
  zero3,  ///< Weights too: gathered layer by layer, forward and again backward.
  fsdp,   ///< As zero3, but weights are cast from the master copy's shard, which alone is kept
          ///< (PyTorch's FSDP under mixed precision).
  hsdp,   ///< As fsdp inside of groups of `shard` GPUs, gradients summed across the groups.
};
/// Whether weights are gathered layer by layer while a chunk runs.
[[nodiscard]] constexpr bool shards_weights(Sharding sharding) {
  return sharding >= Sharding::zero3;
}
/// Whether gradients are reduced after every micro-batch, so that none is kept whole.
[[nodiscard]] constexpr bool shards_gradients(Sharding sharding) {
  return sharding >= Sharding::zero2;
}
[[nodiscard]] std::string to_string(Sharding sharding);

/// When gradients are reduced that wait for a rank's last micro-batch (none, zero1).
enum class ReductionOverlap {
  exposed,     ///< After the rank's last weight gradient.
  overlapped,  ///< A stage's reduction starts when all its holders have its last weight gradient.
  bucketed,    ///< A bucket's starts, beside the last backward chunk, when its layers' gradients
               ///< are there (Megatron-Core's overlap_grad_reduce).
};

/// When updated weights are gathered (zero1, zero2).
enum class GatherOverlap {
  exposed,     ///< After the update, before the next step begins.
  overlapped,  ///< Beside the next step's first forward chunk, a bucket at a time; later stages
               ///< gather while they wait for it (Megatron-Core's overlap_param_gather).
};

/// How layers are spread over stages that are not given.
enum class StageBalance {
  automatic,  ///< `layers` where it comes out even, else `work`.
  layers,     ///< As many layers a stage; embedding and head count as layers where only that comes
              ///< out even (Megatron-Core's account_for_{embedding,loss}_in_pipeline_split).
  work,       ///< assumed_stages().
};

/// What is kept in the host's memory instead of the GPU's.
enum class Offload {
  none,
  optimizer,    ///< Refused: not modelled.
  activations,  ///< Refused: not modelled.
};

/// Where the next layer's weights are gathered beside a layer's computation.
enum class Prefetch {
  none,
  forward,  ///< Backward, a layer's gather waits for the reduction of the layer before (PyTorch
            ///< FSDP without backward prefetch: arXiv 2304.11277, section 3.3.2).
  after,    ///< Backward, it goes before that reduction, once the gradients are computed (PyTorch
            ///< FSDP's BACKWARD_POST; forward gathers run ahead by themselves).
  both,     ///< Beside the computation of the layer before (BACKWARD_PRE).
};

/// What the host takes to launch what no graph replays.
struct HostCost {
  enum class Graphs {
    none,
    attention_and_router,  ///< What comes before tokens are sent to experts, and its gradients, is
                           ///< replayed from a graph a layer (Megatron-Core's cuda_graph_scope
                           ///< attn, moe_router, moe_preprocess).
  };
  core::Time launch{};  ///< Of a kernel, collective or message; 0: graphs replay everything.
  core::Time module{};  ///< Of entering a module, beside the launches of its kernels.
  Graphs graphs = Graphs::none;
};

/// One training run of one model on one cluster. Plain values; the scenario reader fills it.
struct TrainingJob {
  std::string name;
  workload::Architecture architecture;
  workload::PrecisionRecipe precision;
  workload::RecomputeChoice recompute;
  workload::KernelChoice framework;
  /// Standard deviation, over the mean, of how long GPUs of one kind take at their power limit.
  /// Every GPU of a step waits for the slowest.
  double part_spread = streams::kPartSpread;
  /// What frameworks leave unexplained beside their kernels: half-width of the 90 % interval of
  /// log(measured / predicted) of a step.
  double unexplained = 0;
  HostCost host;
  workload::RoutingSpec routing;
  device::DeviceSpec device;

  int gpus = 0;
  int gpus_per_node = 8;  ///< GPUs of one NVLink domain in use.
  Placement placement = Placement::expert_first;

  std::int64_t sequences = 0;        ///< Global batch.
  std::int64_t sequence_length = 0;  ///< Tokens.
  std::int64_t micro_batch = 1;      ///< Sequences.

  int tensor = 1;
  bool sequence_parallel = false;  ///< Norms and residuals split along the sequence by `tensor`.
  bool tensor_overlap = false;     ///< workload::ParallelSplit::tensor_overlap
  int context = 1;
  workload::ContextKind context_kind = workload::ContextKind::ring;
  int pipeline = 1;
  int virtual_stages = 1;  ///< Stages that a pipeline rank holds under an interleaved schedule.
  int expert = 1;
  int expert_tensor = 1;
  Sharding sharding = Sharding::zero1;
  int shard = 0;  ///< hsdp: GPUs that split one copy of the weights; 0: `gpus_per_node`.
  /// zero3, fsdp, hsdp: weights are given up after a layer's forward and gathered again for its
  /// backward; otherwise they stay (FSDP's SHARD_GRAD_OP).
  bool reshard_after_forward = true;
  Prefetch prefetch = Prefetch::both;  ///< zero3, fsdp, hsdp.

  ScheduleKind schedule = ScheduleKind::dualpipe;
  int micro_batch_group = 0;  ///< Of interleaved; 0: `pipeline`.
  /// Of one_f_one_b and interleaved: a forward chunk and another's backward run as a pair, so that
  /// exchanges with experts hide behind kernels.
  bool overlap_exchanges = false;
  std::optional<CustomSchedule> custom;  ///< Exactly for ScheduleKind::custom.
  int communication_sms = 20;            ///< Of every GPU, while it exchanges tokens with experts.
  ReductionOverlap reduction = ReductionOverlap::exposed;
  GatherOverlap gather = GatherOverlap::exposed;
  /// Parameters of a bucket of reductions or gathers. 0: max(40e6, 1e6 a data-parallel rank)
  /// (megatron/core/distributed/distributed_data_parallel.py).
  double bucket = 0;
  /// Of reduced gradients on the wire; none: as they are accumulated (`precision.gradients`).
  std::optional<core::DataType> reduce_in;
  /// Weights that a low-precision recipe multiplies are gathered in its type; otherwise in bf16.
  bool gather_low_precision = true;
  StageBalance balance = StageBalance::automatic;
  std::vector<Stage> stages;  ///< In forward order; empty: spread_stages().

  double tokens = 0;  ///< Of the whole run; 0: no GPU-hours are given.
  /// Memory that no tensor of the model accounts for: CUDA context, libraries, fragmentation.
  core::Bytes reserved{4LL << 30};  // assumed
  Offload offload = Offload::none;
  bool must_fit = true;  ///< Refuse what does not fit; otherwise its memory is only reported.
};

/// DeepSeek-V3's layout is not published. This one puts embedding with the first layers, the head
/// with all MTP modules last (so that DualPipe's mirror shares both matrices, arXiv 2412.19437,
/// section 2.2), and spreads the layers so that the work of a rank, both its stages together,
/// varies least.
/// `mtp_stage` puts the MTP modules on an earlier stage; no layer follows it then.
[[nodiscard]] std::vector<Stage> assumed_stages(const TrainingJob& job,
                                                std::optional<int> mtp_stage = std::nullopt);

/// Stages of a job that gives none, as its `balance` says. Throws core::Refusal
/// (illegal_combination) when layers are to be even and do not come out even.
[[nodiscard]] std::vector<Stage> spread_stages(const TrainingJob& job);

/// "embedding", "mtp", "head", or the layer's number: how the scenario writes it.
[[nodiscard]] std::string to_string(const StageEntry& entry);

/// What the simulation of one step gives. `result` has quantities, phases, memory, kernels,
/// network, assumptions, warnings and timeline; title, scenario, cost, energy and published rows
/// are left to the caller.
struct TrainingResult {
  core::Result result;
  core::Estimate step;                ///< Seconds.
  double joules_per_gpu_step = 0;     ///< Mean over ranks, from kernel energies and idle power.
  std::uint64_t kernels = 0;          ///< Distinct kernels asked of the timer.
  std::uint64_t kernel_events = 0;    ///< Simulated inside them.
  std::uint64_t pipeline_events = 0;  ///< Of the system's event kernel.
};

/// Memory by rank and kind ("free" is negative where it does not fit), without any time. Throws
/// core::Refusal (illegal_combination, outside_model).
[[nodiscard]] std::vector<core::MemoryRow> training_memory(const TrainingJob& job);

/// Simulates one training step on every pipeline rank: operators of every stage timed by `kernels`,
/// exchanges by `network`, chunks on two streams of a GPU, ranks as processes that pass messages.
/// Data-parallel replicas do the same and are folded into one. Throws core::Refusal
/// (illegal_combination, does_not_fit, outside_model).
[[nodiscard]] TrainingResult simulate_training(const TrainingJob& job, gpu::KernelTimer& kernels,
                                               NetworkTimer& network);

}  // namespace tessera::training
