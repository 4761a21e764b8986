#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/kv_cache.hpp"
#include "sim/core/data_type.hpp"
#include "sim/core/units.hpp"

/// What one GPU of a serving instance holds, and how many sequences it has room for.
namespace tessera::serving {

/// Buffers that exchanges of a mixture of experts hold from start to end.
enum class ExchangeBuffers {
  none,  ///< Of collectives only.
  deepep_low_latency,
  deepep_normal,
};

/// What memory depends on. An attention rank is a group of `tensor` GPUs with sequences of its own.
struct MemoryJob {
  workload::Architecture architecture;
  core::DataType linear = core::DataType::bf16;   ///< Of every linear layer but routed experts.
  core::DataType experts = core::DataType::bf16;  ///< Of routed experts.
  /// Of projections into attention, and out of it; none: as `linear`.
  std::optional<core::DataType> query_key_value{};
  std::optional<core::DataType> output{};
  workload::CacheFormat cache = workload::CacheFormat::bf16;

  std::int64_t tensor = 1;         ///< GPUs that share attention and dense layers.
  std::int64_t expert = 1;         ///< Ranks that share the experts of a layer, whole ones each.
  std::int64_t expert_tensor = 1;  ///< GPUs that share every expert.
  std::int64_t pipeline = 1;       ///< Stages that share the layers.
  std::int64_t redundant_experts = 0;  ///< Further copies of experts in every layer.
  ExchangeBuffers exchange = ExchangeBuffers::none;
  /// Shared experts are on every GPU, as where GPUs exchange tokens of their own; otherwise they
  /// are cut by `tensor`.
  bool whole_shared_experts = false;

  std::int64_t tokens_per_sequence = 1;  ///< Of a decode iteration: 1 and what is speculated.
  bool mtp = false;                      ///< MTP modules are loaded and keep tokens.
  std::int64_t prompt_tokens = 0;        ///< Of the largest prefill iteration; 0: decode only.
  std::int64_t prompt_seen = 0;     ///< With the cached ones before them, whose latents MLA expands
                                    ///< too; fewer than a sequence has: those of one sequence.
  std::int64_t block = 64;          ///< Tokens of a page.
  double memory_utilisation = 0.9;  ///< Share of the device that the engine may fill.
  core::Bytes device_memory{};
  std::int64_t sms = 0;  ///< Of the device: split attention writes a part each.

  /// GPUs of a stage.
  [[nodiscard]] std::int64_t stage_gpus() const;
  [[nodiscard]] std::int64_t gpus() const { return stage_gpus() * pipeline; }
  [[nodiscard]] std::int64_t attention_ranks() const { return stage_gpus() / tensor; }
};

/// Bytes of one kind: weights, weight_scales, bf16_weights, experts, redundant_experts,
/// absorbed_projections, activations, workspace, exchange_buffers, collective_buffers,
/// cuda_context, held_back, kv_cache.
struct MemoryKind {
  std::string kind;
  double bytes = 0;
};

/// One GPU of the fullest stage.
struct MemoryPlan {
  std::int64_t stage = 0;
  std::vector<MemoryKind> kinds;
  [[nodiscard]] double total() const;
  [[nodiscard]] double of(const std::string& kind) const;  ///< 0 when there is none.
};

/// Memory of one serving instance.
///
/// Weights are kept once, in the job's types with their scales; embedding, head, norms, gates and
/// biases in BF16. A quantised up projection of MLA's keys and values is kept in BF16 too, because
/// decode absorbs it. Activations are the residual stream, a norm's output and the widest part of a
/// layer, of the largest iteration, keys and values that prefill expands from latents all at once;
/// low-latency exchanges pad every expert's rows to what all ranks
/// could send. Experts' rows are counted balanced. What is not modelled (fragments of the
/// allocator, CUDA graphs, sampling) is to fit into what `memory_utilisation` holds back.
class InferenceMemory {
 public:
  /// Throws core::Refusal (illegal_combination) for a split that does not divide the model.
  explicit InferenceMemory(MemoryJob job);

  /// With `sequences` on each attention rank that hold `context` tokens each, a mean.
  [[nodiscard]] MemoryPlan plan(std::int64_t sequences, double context) const;
  /// The most sequences of an attention rank that fit, at a mean of `context` tokens; 0: not one.
  [[nodiscard]] std::int64_t largest_batch(double context) const;
  /// Throws core::Refusal (does_not_fit) with what is needed by kind, and the largest batch.
  void require_fit(std::int64_t sequences, double context) const;
  [[nodiscard]] const MemoryJob& job() const { return job_; }

 private:
  struct Stage {
    std::vector<MemoryKind> resident;  ///< Whatever the batch.
    workload::KvCache cache;
    bool head = false;
  };
  [[nodiscard]] MemoryPlan plan_stage(std::size_t stage, std::int64_t sequences,
                                      double context) const;
  [[nodiscard]] bool fits(std::int64_t sequences, double context) const;

  MemoryJob job_;
  std::vector<Stage> stages_;
};

/// Bytes of DeepEP's low-latency buffers: two of each, to send and to receive, with room for
/// `tokens` of a rank on every expert.
[[nodiscard]] double low_latency_buffer_bytes(std::int64_t tokens, std::int64_t hidden,
                                              std::int64_t experts);

}  // namespace tessera::serving
