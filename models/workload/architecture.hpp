#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace tessera::workload {

/// How queries and keys are normalised before they meet.
enum class QkNorm {
  none,
  head,        ///< Each head on its own, with one weight vector for all heads.
  layer,       ///< All heads of a token together.
  unweighted,  ///< Each head on its own, without weights (L2 norm).
};

/// Multi-head attention whose `heads` query heads share `kv_heads` heads of keys and values:
/// multi-head when equal, multi-query when one. Source of the scheme: arXiv 2305.13245.
struct GroupedQueryAttention {
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;    ///< A divisor of heads.
  std::int64_t qk_dim = 0;      ///< Elements of a query or key head.
  std::int64_t v_dim = 0;       ///< Elements of a value head.
  std::int64_t rotary_dim = 0;  ///< Elements of each query and key head that are rotated; 0: none.
  std::int64_t window = 0;      ///< Tokens that a query sees, itself included; 0: all before it.
  bool chunked = false;      ///< The window starts anew every `window` tokens instead of sliding.
  bool qkv_bias = false;     ///< Of the query, key and value projections.
  bool output_bias = false;  ///< Of the output projection.
  bool sinks = false;        ///< A learned logit a head that takes part in the softmax's sum.
  QkNorm qk_norm = QkNorm::none;
  friend bool operator==(const GroupedQueryAttention&, const GroupedQueryAttention&) = default;
};

/// Chooses the tokens that a query of sparse attention sees: a small attention of its own, with
/// one key a token for all heads. Source: DeepSeek-V3.2's report, section 2.1.
struct Indexer {
  std::int64_t heads = 0;
  std::int64_t dim = 0;    ///< Elements of a query head and of the key.
  std::int64_t top_k = 0;  ///< Tokens chosen for each query.
  friend bool operator==(const Indexer&, const Indexer&) = default;
};

/// Multi-head latent attention: queries and keys/values pass through low-rank latents.
/// Source of the scheme: arXiv 2412.19437, section 2.1.1.
struct LatentAttention {
  std::int64_t heads = 0;
  std::int64_t query_rank = 0;      ///< Elements of the query latent.
  std::int64_t key_value_rank = 0;  ///< Elements of the shared key/value latent.
  std::int64_t nope_dim = 0;        ///< Per head, without position.
  std::int64_t rope_dim = 0;        ///< Per head of q, and one shared k, rotated.
  std::int64_t value_dim = 0;       ///< Per head.
  bool sparse = false;              ///< Queries see indexer.top_k chosen tokens.
  bool indexes = false;             ///< The layer chooses them itself, not an earlier layer.
  Indexer indexer;                  ///< When sparse.

  [[nodiscard]] std::int64_t qk_dim() const { return nope_dim + rope_dim; }
  friend bool operator==(const LatentAttention&, const LatentAttention&) = default;
};

using AttentionKind = std::variant<GroupedQueryAttention, LatentAttention>;

enum class Activation { silu, gelu, relu };

/// hidden -> intermediate -> hidden; gated ones multiply two projections of the input.
struct DenseFeedForward {
  std::int64_t intermediate = 0;
  bool gated = true;
  Activation activation = Activation::silu;
  bool bias = false;  ///< Of every projection.

  /// Output elements of the first product: gate and up together.
  [[nodiscard]] std::int64_t up_columns() const { return (gated ? 2 : 1) * intermediate; }
  friend bool operator==(const DenseFeedForward&, const DenseFeedForward&) = default;
};

enum class Scoring { sigmoid, softmax };

/// The mixture-of-experts half of a layer.
struct MixtureOfExperts {
  std::int64_t experts = 0;  ///< Routed; 0: the model has none.
  std::int64_t shared_experts = 0;
  std::int64_t top_k = 0;         ///< Routed experts a token.
  std::int64_t intermediate = 0;  ///< Of one expert.
  std::int64_t groups = 1;        ///< Experts are split into this many groups for the gate.
  std::int64_t group_limit = 1;   ///< Groups that one token may use.
  Scoring scoring = Scoring::sigmoid;
  bool gated = true;  ///< Experts are gated MLPs.
  Activation activation = Activation::silu;
  bool bias = false;       ///< Of every projection of an expert.
  bool gate_bias = false;  ///< An element an expert, learned or kept to balance the load.
  bool clamped = false;    ///< What enters the activation is held between bounds.

  [[nodiscard]] std::int64_t up_columns() const { return (gated ? 2 : 1) * intermediate; }
  friend bool operator==(const MixtureOfExperts&, const MixtureOfExperts&) = default;
};

using FeedForwardKind = std::variant<DenseFeedForward, MixtureOfExperts>;
enum class LayerKind { dense, moe };

/// What one layer computes between its two norms and residuals.
struct LayerSpec {
  AttentionKind attention;
  FeedForwardKind feed_forward;
  friend bool operator==(const LayerSpec&, const LayerSpec&) = default;
};

enum class NormKind { rms, layer };
enum class Positions {
  rotary,   ///< Queries and keys are rotated.
  learned,  ///< A table of vectors is added to the embedding.
  alibi,    ///< A bias on the scores that grows with distance.
};

/// What the attention of a layer sees.
enum class Reach {
  full,
  window,        ///< The last `window` tokens, or its chunk of as many.
  full_no_rope,  ///< Everything, without rotation.
};

/// A vision transformer before the language model: patches -> blocks -> merged tokens.
struct VisionEncoder {
  std::int64_t layers = 0;
  std::int64_t hidden = 0;
  std::int64_t heads = 0;
  std::int64_t intermediate = 0;    ///< Of its ungated MLP.
  std::int64_t channels = 3;        ///< Of a pixel.
  std::int64_t patch = 0;           ///< Pixels of a patch's side.
  std::int64_t temporal_patch = 1;  ///< Frames of a patch.
  std::int64_t merge = 1;           ///< Patches of a token's side.
  std::int64_t positions = 0;       ///< Learned position vectors.
  std::int64_t output = 0;          ///< Elements of a token for the language model.
  std::int64_t taps = 0;  ///< Blocks whose output is merged for a layer of the language model too.
  friend bool operator==(const VisionEncoder&, const VisionEncoder&) = default;
};

/// A decoder-only language model as published; no parallelism, no precision.
struct Architecture {
  std::string name;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;  ///< Main model, MTP modules not counted.
  std::int64_t vocabulary = 0;
  bool tied_embeddings = false;  ///< The head multiplies with the embedding's table.
  NormKind norm = NormKind::rms;
  bool norm_bias = false;
  Positions positions = Positions::rotary;
  std::int64_t learned_positions = 0;  ///< Rows of the table, when learned.

  AttentionKind attention;   ///< Of every layer, but for what `reach` and `indexed` take away.
  std::vector<Reach> reach;  ///< Layer n has entry n mod size; empty: as `attention` says.
  std::vector<std::int64_t>
      indexed;  ///< Layers with an indexer of their own; empty: all, when sparse.

  DenseFeedForward dense;                 ///< Of layers without experts.
  MixtureOfExperts moe;                   ///< Of the others; moe.experts == 0: there are none.
  std::int64_t dense_layers = 0;          ///< The first layers, without experts.
  std::int64_t moe_step = 1;              ///< Layer n has experts only if n + 1 is a multiple.
  std::vector<std::int64_t> dense_among;  ///< Further layers without experts.

  std::int64_t mtp_modules = 0;  ///< Each: a projection 2 hidden -> hidden and one layer.
  std::optional<VisionEncoder> vision;

  [[nodiscard]] bool has_experts() const { return moe.experts > 0; }
  /// Whether some layer has none.
  [[nodiscard]] bool has_dense_layers() const;
  /// Query heads, the same in every layer.
  [[nodiscard]] std::int64_t heads() const;
  [[nodiscard]] LayerKind kind(std::int64_t layer) const;
  /// Requires 0 <= layer < layers.
  [[nodiscard]] LayerSpec layer(std::int64_t layer) const;
  /// The first layer that computes the same as this one.
  [[nodiscard]] std::int64_t first_like(std::int64_t layer) const;
  /// The layer of an MTP module: full attention, experts if the model has any.
  [[nodiscard]] LayerSpec mtp_layer() const;
  /// Whether every layer attends with a GroupedQueryAttention; otherwise with a LatentAttention.
  [[nodiscard]] bool grouped_query() const {
    return std::holds_alternative<GroupedQueryAttention>(attention);
  }
  /// Names are not compared.
  friend bool operator==(const Architecture& a, const Architecture& b);

 private:
  [[nodiscard]] AttentionKind attention_of(Reach reach, bool indexes) const;
};

}  // namespace tessera::workload
