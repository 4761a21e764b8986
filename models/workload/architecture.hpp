#pragma once

#include <cstdint>
#include <string>

namespace tessera::workload {

/// Multi-head latent attention: queries and keys/values pass through low-rank latents.
/// Source of the scheme: arXiv 2412.19437, section 2.1.1.
struct LatentAttention {
  std::int64_t heads = 0;
  std::int64_t query_rank = 0;      ///< Elements of the query latent.
  std::int64_t key_value_rank = 0;  ///< Elements of the shared key/value latent.
  std::int64_t nope_dim = 0;        ///< Per head, without position.
  std::int64_t rope_dim = 0;        ///< Per head of q, and one shared k, rotated.
  std::int64_t value_dim = 0;       ///< Per head.

  [[nodiscard]] std::int64_t qk_dim() const { return nope_dim + rope_dim; }
};

enum class Scoring { sigmoid, softmax };

/// The mixture-of-experts half of a layer.
struct MixtureOfExperts {
  std::int64_t experts = 0;  ///< Routed.
  std::int64_t shared_experts = 0;
  std::int64_t top_k = 0;         ///< Routed experts a token.
  std::int64_t intermediate = 0;  ///< Of one expert.
  std::int64_t groups = 1;        ///< Experts are split into this many groups for the gate.
  std::int64_t group_limit = 1;   ///< Groups that one token may use.
  Scoring scoring = Scoring::sigmoid;
};

enum class LayerKind { dense, moe };

/// A decoder-only language model as published; no parallelism, no precision.
struct Architecture {
  std::string name;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;  ///< Main model, MTP modules not counted.
  std::int64_t dense_layers =
      0;  ///< The first layers, with one wide MLP; the others are mixtures of experts.
  std::int64_t dense_intermediate = 0;
  std::int64_t vocabulary = 0;
  std::int64_t mtp_modules = 0;  ///< Each: a projection 2 hidden -> hidden and one MoE layer.
  LatentAttention attention;
  MixtureOfExperts moe;

  [[nodiscard]] LayerKind kind(std::int64_t layer) const {
    return layer < dense_layers ? LayerKind::dense : LayerKind::moe;
  }
};

/// Trainable elements of one part of a model.
struct ParameterCount {
  double low_precision = 0;   ///< Linear layers that a low-precision recipe multiplies in FP8.
  double routed = 0;          ///< Routed experts; low precision too, sharded over expert ranks.
  double high_precision = 0;  ///< Norms, gates, embedding, head: BF16 in every recipe.

  [[nodiscard]] double total() const { return low_precision + routed + high_precision; }
  ParameterCount& operator+=(const ParameterCount& other);
};

/// Attention, both norms and the MLP or the experts (all of them, and the gate) of one layer.
[[nodiscard]] ParameterCount layer_parameters(const Architecture& architecture, LayerKind kind);
[[nodiscard]] ParameterCount attention_parameters(const Architecture& architecture);
/// The token embedding; the head without its final norm has as many.
[[nodiscard]] ParameterCount embedding_parameters(const Architecture& architecture);
[[nodiscard]] ParameterCount head_parameters(const Architecture& architecture);
/// What one MTP module adds: its projection, norms and layer. Embedding and head are shared.
[[nodiscard]] ParameterCount mtp_parameters(const Architecture& architecture);
/// Without MTP modules.
[[nodiscard]] ParameterCount main_parameters(const Architecture& architecture);

/// Parameters that take part in matrix products of one token, without embedding and MTP.
[[nodiscard]] double active_matrix_parameters(const Architecture& architecture);

/// Model FLOPs a token of training (forward and both gradients) for MFU: 6 per active matrix
/// parameter, head included, embedding, MTP and recomputation excluded, and 3 times attention's
/// forward products. `causal` counts half of the score matrix, as FlashAttention does; otherwise
/// all of it, as Megatron does. The report on DeepSeek-V3's hardware (arXiv 2505.09343) gives both.
[[nodiscard]] double training_flops_per_token(const Architecture& architecture,
                                              std::int64_t sequence_length, bool causal);

}  // namespace tessera::workload
