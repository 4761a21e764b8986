#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"

/// What a model holds: its weights one by one, and what follows from them for counts of
/// parameters, FLOPs and bytes.
namespace tessera::workload {

enum class WeightKind {
  linear,  ///< Of a product that a low-precision recipe computes in its type.
  expert,  ///< Likewise, of routed experts.
  gate,    ///< Of products that stay in BF16: expert gates and indexer weights.
  table,   ///< Embedding or head.
  vector,  ///< Biases, norm weights, sinks.
};

/// How ranks of a tensor-parallel group may share one weight (arXiv 1909.08053, section 3).
enum class Split {
  none,     ///< Every rank holds all of it.
  outputs,  ///< Each rank some of the output features.
  inputs,   ///< Each rank some of the input features; the products are summed over ranks.
};

/// y[outputs] = W[outputs, inputs] x[inputs], or a vector of `outputs` elements (inputs = 1).
struct Weight {
  std::string name;
  WeightKind kind = WeightKind::linear;
  std::int64_t outputs = 0;
  std::int64_t inputs = 1;
  std::int64_t copies = 1;  ///< Weights of this shape: one an expert.
  Split split = Split::none;
  /// Parts that cannot be split further (heads); ranks beyond that hold one each. 0: no limit.
  std::int64_t parts = 0;

  [[nodiscard]] double elements() const {
    return static_cast<double>(outputs) * static_cast<double>(inputs) * static_cast<double>(copies);
  }
  /// Share that one of `tensor` ranks holds.
  [[nodiscard]] double share(std::int64_t tensor) const;
};

/// Trainable elements of one part of a model.
struct ParameterCount {
  double low_precision = 0;   ///< Linear layers that a low-precision recipe multiplies in FP8.
  double routed = 0;          ///< Routed experts; low precision too, sharded over expert ranks.
  double high_precision = 0;  ///< Norms, biases, gates, embedding, head: BF16 in every recipe.

  [[nodiscard]] double total() const { return low_precision + routed + high_precision; }
  ParameterCount& operator+=(const ParameterCount& other);
};

/// In the order of execution, norms included.
[[nodiscard]] std::vector<Weight> attention_weights(const Architecture& architecture,
                                                    const AttentionKind& attention);
[[nodiscard]] std::vector<Weight> feed_forward_weights(const Architecture& architecture,
                                                       const FeedForwardKind& feed_forward);
/// Attention, MLP or experts (all of them, and the gate) and both norms.
[[nodiscard]] std::vector<Weight> layer_weights(const Architecture& architecture,
                                                const LayerSpec& layer);
/// The token embedding, and the table of learned positions.
[[nodiscard]] std::vector<Weight> embedding_weights(const Architecture& architecture);
/// Final norm and the table of logits, which is the embedding's own where embeddings are tied.
[[nodiscard]] std::vector<Weight> head_weights(const Architecture& architecture);
/// What one MTP module adds: its projection, norms and layer. Embedding and head are shared.
[[nodiscard]] std::vector<Weight> mtp_weights(const Architecture& architecture);
/// Blocks, patch embedding and mergers of a vision encoder.
[[nodiscard]] std::vector<Weight> vision_weights(const VisionEncoder& vision);

/// Elements that one of `tensor` tensor-parallel ranks holds. Routed experts are counted whole:
/// expert and expert-tensor parallelism share them.
[[nodiscard]] ParameterCount count(const std::vector<Weight>& weights, std::int64_t tensor = 1);

/// The same for parts of the model.
[[nodiscard]] ParameterCount layer_parameters(const Architecture& architecture, std::int64_t layer,
                                              std::int64_t tensor = 1);
[[nodiscard]] ParameterCount embedding_parameters(const Architecture& architecture,
                                                  std::int64_t tensor = 1);
[[nodiscard]] ParameterCount head_parameters(const Architecture& architecture,
                                             std::int64_t tensor = 1);
[[nodiscard]] ParameterCount mtp_parameters(const Architecture& architecture,
                                            std::int64_t tensor = 1);
/// The language model, without MTP modules; tied tables once.
[[nodiscard]] ParameterCount main_parameters(const Architecture& architecture);
[[nodiscard]] ParameterCount vision_parameters(const Architecture& architecture);

/// Multiply-adds of one token forward in the products with weights: of each expert's its share of
/// tokens.
[[nodiscard]] double weight_products(const Architecture& architecture, const LayerSpec& layer);
[[nodiscard]] double head_products(const Architecture& architecture);
/// One module with its layer and the shared head.
[[nodiscard]] double mtp_products(const Architecture& architecture);
/// Multiply-adds of one token forward in scores and weighted values, indexer included, a mean over
/// the sequence. `causal` counts the tokens that a query sees; otherwise twice as many: all pairs
/// of full attention.
[[nodiscard]] double attention_products(const LayerSpec& layer, std::int64_t sequence_length,
                                        bool causal);

/// Parameters that take part in matrix products of one token, without embedding and MTP.
[[nodiscard]] double active_matrix_parameters(const Architecture& architecture);
/// Parameters that one token uses: of routed experts the top_k, of embedding and head all.
[[nodiscard]] double active_parameters(const Architecture& architecture);

/// Model FLOPs a token of training (forward and both gradients) for MFU: 6 per active matrix
/// parameter, head included, embedding, MTP and recomputation excluded, and 3 times attention's
/// forward products. `causal` counts half of the score matrix, as FlashAttention does; otherwise
/// all of it, as Megatron does. The report on DeepSeek-V3's hardware (arXiv 2505.09343) gives both.
[[nodiscard]] double training_flops_per_token(const Architecture& architecture,
                                              std::int64_t sequence_length, bool causal);

/// What attention keeps of one token for later ones, in elements.
struct CacheElements {
  double always = 0;     ///< Of layers that see the whole context.
  double in_window = 0;  ///< Of layers that see a window, while the token is in it.
  double index = 0;      ///< Keys of sparse attention's indexers.
};
[[nodiscard]] CacheElements cache_elements(const Architecture& architecture);

}  // namespace tessera::workload
