#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/engine_kernels.hpp"
#include "models/workload/part_work.hpp"
#include "sim/core/data_type.hpp"

/// From an architecture to what one GPU computes in one forward pass of inference.
namespace tessera::workload {

/// Which number format each part of a forward pass uses. What stays in BF16 whatever is chosen:
/// gate, norms, embedding, head, and MLA's absorbed products.
struct InferencePrecision {
  core::DataType linear = core::DataType::bf16;   ///< Every linear layer but the routed experts.
  core::DataType experts = core::DataType::bf16;  ///< Routed experts.
  /// Projections into attention, the one out of it; none: as `linear`. Checkpoints quantise them
  /// less than others.
  std::optional<core::DataType> query_key_value{};
  std::optional<core::DataType> output{};
  core::DataType attention = core::DataType::bf16;  ///< bf16 or fp8: queries and the MMA.
  core::DataType kv_cache = core::DataType::bf16;   ///< bf16 or fp8.
  core::DataType dispatch = core::DataType::bf16;   ///< Tokens on their way to experts.
  core::DataType combine = core::DataType::bf16;    ///< Experts' outputs on their way back.

  [[nodiscard]] core::DataType into_attention() const { return query_key_value.value_or(linear); }
  [[nodiscard]] core::DataType out_of_attention() const { return output.value_or(linear); }
  friend bool operator==(const InferencePrecision&, const InferencePrecision&) = default;
};

/// How tokens meet the experts of other GPUs.
enum class ExpertPath {
  /// DeepEP's low-latency kernels: a row an expert, straight to its rank, laid out by expert with
  /// room for the most that may come; products are masked, the combine adds a token's rows.
  low_latency,
  /// DeepEP's normal kernels: a row a rank, then copied to the experts' order; each rank adds its
  /// rows of a token before they return.
  normal,
  /// NCCL: a row an expert, sorted by rank before and added after.
  all_to_all,
  /// Every GPU has every token: experts' outputs are summed over all GPUs as MLPs' are.
  replicated,
};
[[nodiscard]] std::string to_string(ExpertPath path);

/// How one instance of the model is cut over its GPUs. Attention and dense layers are cut by
/// `tensor`; groups of so many GPUs ("attention ranks") each have sequences of their own. Experts
/// are cut over `expert` ranks of `expert_tensor` GPUs.
struct InferenceSplit {
  std::int64_t tensor = 1;
  std::int64_t expert = 1;
  std::int64_t expert_tensor = 1;
  ExpertPath path = ExpertPath::low_latency;

  [[nodiscard]] std::int64_t gpus() const {
    return expert * expert_tensor > tensor ? expert * expert_tensor : tensor;
  }
  [[nodiscard]] std::int64_t attention_ranks() const { return gpus() / tensor; }
  friend bool operator==(const InferenceSplit&, const InferenceSplit&) = default;
};

/// The tokens of one attention rank in one pass: the last `queries` tokens of each of `sequences`,
/// whose last one sees `context` tokens, itself included; earlier ones one less each.
struct ForwardPass {
  /// Whether MLA attends to latents with its up projections absorbed, against keys and values that
  /// are expanded before. Decode absorbs; prefill expands.
  bool absorbed = true;
  std::int64_t sequences = 1;
  std::int64_t queries = 1;
  std::int64_t context = 1;

  [[nodiscard]] std::int64_t tokens() const { return sequences * queries; }
  friend auto operator<=>(const ForwardPass&, const ForwardPass&) = default;
};

/// Kernels and collectives of one part (a layer, embedding, head, MTP module) on one GPU, in order.
/// `exchanges`: a dispatch lies between `attend` and `experts`, a combine after `experts`; what
/// `shared` holds needs neither.
struct ForwardPart {
  std::string name;
  bool exchanges = false;
  Steps project;         ///< Up to the core of attention.
  Steps attend;          ///< The core, output projection; norm and gate of a mixture of experts.
  Steps send, received;  ///< Of low-latency exchanges: kernels that fill and empty buffers
  Steps returning, returned;  ///< of the dispatch, and of the combine.
  Steps shared;               ///< Shared experts.
  Steps experts;              ///< A dense MLP, or the routed experts.
  Steps finish;               ///< What needs the routed experts' outputs.

  [[nodiscard]] std::vector<const Steps*> lists() const;
};

/// Lowers parts of one architecture to the kernels of one GPU for one pass.
///
/// Kernels are those that open engines run (SGLang, vLLM, TensorRT-LLM): residuals are added by the
/// norm that reads them; activations are cast by kernels of their own before products in narrower
/// types; rotation and the append to the cache are one kernel; gate and up projections, and
/// queries, keys and values (of MLA their down projections), are one product. Where an engine is
/// given, its fusions and its kernels for products, attention and experts that need no exchange
/// take the place of these.
class InferenceLowering {
 public:
  struct Job {
    Architecture architecture;
    InferencePrecision precision;
    InferenceSplit split;
    ForwardPass pass;
    std::vector<std::int64_t> expert_rows;          ///< Of each expert on this GPU, in this pass.
    std::shared_ptr<const EngineKernels> engine{};  ///< Null: the usual kernels of open engines.
  };

  /// Throws core::Refusal: outside_model for what is not modelled, illegal_combination for a split
  /// that does not divide the model.
  explicit InferenceLowering(Job job);

  [[nodiscard]] ForwardPart layer(std::int64_t number) const;
  [[nodiscard]] ForwardPart embedding() const;
  /// Final norm, logits of `rows` tokens and the choice of the next ones.
  [[nodiscard]] ForwardPart head(std::int64_t rows) const;
  /// One module, without its head: embedding, norms, projection, a layer.
  [[nodiscard]] ForwardPart mtp() const;

  /// Rows that one GPU sends to experts: its share of the attention rank's tokens.
  [[nodiscard]] std::int64_t sent_tokens() const;
  [[nodiscard]] const Job& job() const { return job_; }

 private:
  Job job_;
};

/// Whether products in `type` read activations that something has to cast first.
[[nodiscard]] bool needs_cast(core::DataType type);

}  // namespace tessera::workload
