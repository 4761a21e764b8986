#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/workload/operators.hpp"
#include "models/workload/part_work.hpp"

/// What an inference engine launches where it is known better than by default.
namespace tessera::workload {

/// What an engine fuses, and what it runs beside each other.
struct EngineFusions {
  bool sum_normalises = false;       ///< Sums over tensor ranks add the residual and normalise.
  std::vector<DataType> sum_casts;   ///< Types that such sums write themselves.
  std::vector<DataType> norm_casts;  ///< Types that norms without a sum write themselves.
  std::vector<DataType> activation_casts;  ///< And activations of MLPs.
  bool joint_qk_norm = false;   ///< Heads of queries and keys are normalised by one kernel.
  bool rotation_apart = false;  ///< Rotation is a kernel of its own, before attention.
  /// Tokens of an iteration up to which shared experts run on a stream beside the routed ones.
  std::int64_t shared_beside_tokens = 0;
};

/// The routed experts of one GPU in one pass.
struct RoutedExperts {
  std::int64_t tokens = 0;  ///< Of all attention ranks.
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;  ///< Of the whole expert.
  std::int64_t top_k = 1;
  std::int64_t experts = 1;        ///< Of all GPUs.
  std::int64_t expert_ranks = 1;   ///< That share the experts, whole ones each.
  std::int64_t expert_tensor = 1;  ///< GPUs that share an expert.
  DataType type = DataType::bf16;
  std::vector<std::int64_t> rows;  ///< Of each expert on this GPU.
};

/// The kernels of one engine on one kind of GPU for one model. Each list runs in order. All throw
/// core::Refusal for what the engine is not known to run.
class EngineKernels {
 public:
  virtual ~EngineKernels() = default;

  [[nodiscard]] virtual const EngineFusions& fusions() const = 0;
  /// "trtllm 1.2.0rc2": for people.
  [[nodiscard]] virtual const std::string& name() const = 0;
  /// A product, its input cast before.
  [[nodiscard]] virtual Work product(std::string name, const Gemm& gemm) const = 0;
  /// Decode of the newest token, with what writes keys and values to the cache.
  [[nodiscard]] virtual Steps decode_attention(const Attention& attention) const = 0;
  [[nodiscard]] virtual Steps decode_attention(const AbsorbedAttention& attention) const = 0;
  /// Prefill likewise; `latent`: keys and values were expanded from latents, which the cache gets.
  [[nodiscard]] virtual Steps prefill_attention(const Attention& attention, bool latent) const = 0;
  /// From the choice of experts to the sum of each token's rows on this GPU.
  [[nodiscard]] virtual Steps routed_experts(const RoutedExperts& experts) const = 0;
};

}  // namespace tessera::workload
