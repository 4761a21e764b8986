#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/fabric/fabric_parameters.hpp"
#include "models/gpu/kernel_timer.hpp"
#include "models/serving/memory.hpp"
#include "models/streams/network_timer.hpp"
#include "models/streams/slowest_part.hpp"
#include "models/workload/architecture.hpp"
#include "models/workload/inference_lowering.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

/// Inference at steady state: one iteration of an engine, over and over.
namespace tessera::serving {

enum class Phase { prefill, decode };
[[nodiscard]] std::string to_string(Phase phase);

/// Who sums what tensor ranks computed.
enum class ReduceBy { nccl, vllm, sglang, trtllm };

/// Drafts of the model's multi-token prediction module, verified by the next iteration.
struct Speculation {
  std::int64_t tokens = 0;  ///< Drafted for each sequence and iteration; 0: none.
  double acceptance = 0;    ///< Chance that a draft is right when those before it were, [0, 1].

  /// Tokens that an iteration brings each sequence: 1 + a + a^2 + ...
  [[nodiscard]] double tokens_per_iteration() const;
};

/// One model served on one instance of GPUs. Plain values; the scenario reader fills it.
struct InferenceJob {
  std::string name;
  workload::Architecture architecture;
  workload::InferencePrecision precision;
  workload::RoutingSpec routing;
  /// Of uniform routing, experts in order: every token chooses by itself, so that few tokens load
  /// ranks unevenly; the heaviest one's expected rows set the pace. Otherwise shares are equal.
  bool independent_choices = false;
  device::DeviceSpec device;

  int gpus = 0;  ///< Of the cluster; instances beside the one that is simulated do the same.
  int gpus_per_node = 8;  ///< GPUs of one NVLink domain in use.

  Phase phase = Phase::decode;
  // Decode, of an attention rank.
  std::int64_t sequences = 1;
  std::int64_t context =
      1;  ///< Mean tokens of a sequence that attention sees, the new one included.
  // Prefill.
  std::int64_t prompt = 1;
  std::int64_t prefix = 0;  ///< Tokens of the prompt that the cache holds already.
  std::int64_t tokens = 1;  ///< New tokens of an iteration and attention rank.

  workload::InferenceSplit split;
  int pipeline = 1;
  bool two_batch_overlap = false;
  int communication_sms = 0;  ///< Of every GPU, kept for normal exchanges.
  ReduceBy reduce_by = ReduceBy::vllm;
  /// Whose kernels run; null: the usual ones of open engines.
  std::shared_ptr<const workload::EngineKernels> engine;
  /// Of an iteration: while the GPU waits, or, `eager`, what launching its kernels takes while the
  /// GPU works on those launched.
  core::Time host_overhead{};
  bool eager = false;  ///< The host launches kernels one by one, not as a graph.
  /// Servers that `host_overhead` was fitted to, for people; "": it was given.
  std::string host_overhead_of;
  /// What those leave unexplained beside their kernels: half-width of the 90 % interval of
  /// log(measured / predicted) of an iteration.
  double unexplained = 0;
  /// Standard deviation, over the mean, of how long GPUs of one kind take at their power limit. The
  /// GPUs of an instance wait for the slowest of them.
  double part_spread = streams::kPartSpread;
  Speculation speculation;
  std::int64_t kv_block = 64;  ///< Tokens of a page of the cache.
  /// Part of the GPU's memory that weights, workspace and cache may fill.
  double memory_utilisation = 0.9;
  bool must_fit = true;  ///< Refuse what does not fit; otherwise its memory is only reported.

  /// GPUs of an instance.
  [[nodiscard]] std::int64_t instance_gpus() const { return split.gpus() * pipeline; }
};

/// What the simulation gives. `result` has quantities, phases, kernels, network, memory,
/// assumptions, warnings, binding and timeline; title, scenario, cost and published rows are left
/// to the caller.
struct InferenceResult {
  core::Result result;
  core::Estimate iteration;   ///< Seconds; of chunked prefill, all iterations of a prompt.
  double joules_per_gpu = 0;  ///< In that time, from kernel energies and idle power.
  double tokens_per_gpu = 0;  ///< In that time: new prompt tokens, or generated ones.
  workload::RoutedLoad load;  ///< Of an iteration's layers; empty without experts.
};

/// What the job's memory depends on.
[[nodiscard]] MemoryJob memory_job(const InferenceJob& job);
/// One GPU's memory by kind, with what is free ("free" is negative where it does not fit). Throws
/// core::Refusal (illegal_combination).
[[nodiscard]] std::vector<core::MemoryRow> memory_rows(const InferenceJob& job);

/// Passes of an attention rank over which the job's iterations repeat: one, or as many as a prompt
/// has chunks. Throws core::Refusal (illegal_combination) when whole prompts do not fill an
/// iteration.
[[nodiscard]] std::vector<workload::ForwardPass> passes_of(const InferenceJob& job);

/// Simulates an iteration on the GPU with the most work. Throws core::Refusal
/// (illegal_combination, does_not_fit, outside_model).
[[nodiscard]] InferenceResult simulate_inference(const InferenceJob& job, gpu::KernelTimer& kernels,
                                                 streams::NetworkTimer& network);

}  // namespace tessera::serving
