#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_timer.hpp"
#include "models/training/network_timer.hpp"
#include "models/workload/architecture.hpp"
#include "models/workload/precision.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/result.hpp"

namespace tessera::training {

enum class ScheduleKind {
  one_f_one_b,  ///< One direction, one forward and one full backward in turn.
  dualpipe,     ///< Both directions, overlapped forward and backward chunks.
};

/// One thing that a pipeline stage computes.
struct StageEntry {
  enum class Kind { embedding, layer, head, mtp };
  Kind kind = Kind::layer;
  std::int64_t layer = 0;  ///< Number of the layer from 0; only for Kind::layer.
  friend auto operator<=>(const StageEntry&, const StageEntry&) = default;
};
using Stage = std::vector<StageEntry>;

/// Who keeps optimizer state.
enum class Sharding {
  none,   ///< Every rank all of its parameters'.
  zero1,  ///< Master weights and moments split over the ranks that hold a parameter.
};

/// Whether the reduction of gradients waits for the last backward chunk of a rank.
enum class ReductionOverlap {
  exposed,     ///< All of it after the rank's last weight gradient.
  overlapped,  ///< A stage's reduction starts when both its holders have its last weight gradient.
};

/// Which GPUs form an expert-parallel group.
enum class Placement {
  expert_first,    ///< Consecutive GPUs: pipeline ranks are blocks of data-parallel GPUs.
  pipeline_first,  ///< GPUs `pipeline` apart: consecutive GPUs are consecutive pipeline ranks.
};

/// One training run of one model on one cluster. Plain values; the scenario reader fills it.
struct TrainingJob {
  std::string name;
  workload::Architecture architecture;
  workload::PrecisionRecipe precision;
  workload::RecomputeChoice recompute;
  workload::RoutingSpec routing;
  device::DeviceSpec device;

  int gpus = 0;
  int gpus_per_node = 8;  ///< GPUs of one NVLink domain in use.
  Placement placement = Placement::expert_first;

  std::int64_t sequences = 0;        ///< Global batch.
  std::int64_t sequence_length = 0;  ///< Tokens.
  std::int64_t micro_batch = 1;      ///< Sequences.

  int tensor = 1;   ///< Anything but 1 is refused.
  int context = 1;  ///< Anything but 1 is refused.
  int pipeline = 1;
  int expert = 1;
  Sharding sharding = Sharding::zero1;

  ScheduleKind schedule = ScheduleKind::dualpipe;
  int communication_sms = 20;  ///< Of every GPU, while it exchanges tokens with experts.
  ReductionOverlap reduction = ReductionOverlap::exposed;
  std::vector<Stage> stages;  ///< `pipeline` of them in forward order; empty: assumed_stages().

  double tokens = 0;  ///< Of the whole run; 0: no GPU-hours are given.
  /// Memory that no tensor of the model accounts for: CUDA context, libraries, fragmentation.
  core::Bytes reserved{4LL << 30};  // assumed
};

/// DeepSeek-V3's layout is not published. This one puts embedding with the first layers, the head
/// with all MTP modules last (so that DualPipe's mirror shares both matrices, arXiv 2412.19437,
/// section 2.2), and spreads the layers so that the work of a rank, both its stages together,
/// varies least.
/// `mtp_stage` puts the MTP modules on an earlier stage; no layer follows it then.
[[nodiscard]] std::vector<Stage> assumed_stages(const TrainingJob& job,
                                                std::optional<int> mtp_stage = std::nullopt);

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
