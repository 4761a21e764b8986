#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "sim/core/data_type.hpp"
#include "sim/core/units.hpp"

/// What must be computed, whatever computes it: one struct an operator family, shapes in elements.
namespace tessera::workload {

using core::Bytes;
using core::DataType;
using core::Flops;

/// Which third of training an operator belongs to.
enum class Pass { forward, input_gradient, weight_gradient, optimizer };
[[nodiscard]] std::string to_string(Pass pass);

/// C[m,n] = A[m,k] B[k,n]. FLOPs 2mnk. Bytes read (mk + kn)|T| and scales, written mn|C|, read
/// again if accumulated.
struct Gemm {
  std::int64_t m = 0, n = 0, k = 0;
  DataType type = DataType::bf16;  ///< Of the MMA.
  DataType output = DataType::bf16;
  bool accumulate = false;  ///< C += A B: reads C as well.
  std::int64_t batch = 1;   ///< Independent products of one shape.
  /// Weight gradient of a block-scaled recipe: both operands carry 1x128 scales along k.
  bool both_operands_row_scaled = false;
  friend auto operator<=>(const Gemm&, const Gemm&) = default;
};

/// Products of one weight shape with different row counts, as an MoE rank has them.
/// rows: C_g[m_g,n] = A_g[m_g,k] B_g[k,n]. depth: C_g[m,n] = A_g[m,k_g] B_g[k_g,n] (weight
/// gradient), `fixed` is m. FLOPs 2 sum(m_g) n k, or 2 m n sum(k_g).
struct GroupedGemm {
  enum class Varying { rows, depth };
  Varying varying = Varying::rows;
  std::vector<std::int64_t> sizes;  ///< m_g or k_g of every group; zeros allowed.
  std::int64_t n = 0;
  std::int64_t fixed = 0;  ///< k when rows vary, m when depth varies.
  DataType type = DataType::bf16;
  DataType output = DataType::bf16;
  bool accumulate = false;
  bool both_operands_row_scaled = false;
  bool masked = false;  ///< Groups padded to a common capacity and masked; contiguous otherwise.
  /// Rows of a group that the host plans for or times tiles with, blind to routing; 0: the mean.
  std::int64_t planned_rows = 0;
  friend auto operator<=>(const GroupedGemm&, const GroupedGemm&) = default;
};

/// softmax(Q K^T) V. Forward FLOPs 2 b h q kv (qk_dim + v_dim), halved when causal and q = kv;
/// backward 2.5 times for equal dims (five products instead of two).
struct Attention {
  std::int64_t batch = 1, q_length = 0, kv_length = 0;
  std::int64_t heads = 1, kv_heads = 1, qk_dim = 128, v_dim = 128;
  bool causal = true;
  std::int64_t window = 0;  ///< 0: none.
  DataType type = DataType::bf16;
  DataType cache_type = DataType::bf16;
  bool backward = false;
  friend auto operator<=>(const Attention&, const Attention&) = default;
};

/// Multi-head latent attention with the up-projections absorbed: softmax(Q C^T) C[:, :latent],
/// where all heads share one cache C of `latent + rotary` elements a token, read once for keys and
/// values. Q is [batch, q_length, heads, latent + rotary]; the last query sees the whole cache, the
/// ones before it one token less each. FLOPs 2 b h (2 latent + rotary) times the pairs of query and
/// token. Bytes read: Q and the cache; written: b q h latent.
struct AbsorbedAttention {
  std::int64_t batch = 1, q_length = 1, kv_length = 0, heads = 1;
  std::int64_t latent = 512, rotary = 64;
  DataType type = DataType::bf16;        ///< Of the MMA and of queries.
  DataType cache_type = DataType::bf16;  ///< A narrower one is widened before it is multiplied.
  /// Tokens that each query attends to, chosen beforehand and gathered one by one; 0: all of them.
  std::int64_t selected = 0;
  friend auto operator<=>(const AbsorbedAttention&, const AbsorbedAttention&) = default;
};

/// The lightning indexer of sparse attention: logit[q,s] = sum over heads of w[q,h] relu(Q[q,h] .
/// K[s]), where all heads share one narrow key of `dim` elements. Causal: the last query of a
/// sequence sees all of its `kv_length` tokens, the ones before it one less each; a key stands for
/// `compression` tokens and is seen when all of them are. FLOPs 2 b h dim times the pairs of query
/// and key. Bytes read: Q, w (FP32), keys with one FP32 scale each; written: an FP32 logit a pair.
/// Source: DeepSeek-V3.2, technical report section 2.1; DeepGEMM, fp8_mqa_logits.
struct IndexScores {
  std::int64_t batch = 1, q_length = 1, kv_length = 0;
  std::int64_t heads = 64, dim = 128;
  std::int64_t compression = 1;
  DataType type = DataType::fp8;  ///< Of queries, keys and the MMA.
  friend auto operator<=>(const IndexScores&, const IndexScores&) = default;
};

/// Keys that query `query` of a sequence sees.
[[nodiscard]] std::int64_t visible_keys(const IndexScores& scores, std::int64_t query);
/// Pairs of query and key, over all sequences.
[[nodiscard]] double index_pairs(const IndexScores& scores);

/// The places of the `selected` largest of `columns` FP32 logits, in each of `rows`. Bytes read 4
/// rows columns, as often as the kernel passes over them; written 4 rows selected (int32).
struct SelectTopK {
  std::int64_t rows = 0, columns = 0, selected = 2048;
  /// Part of the columns whose logits a coarse look cannot tell from the smallest selected one; 1
  /// when all are equal.
  double contested = 0;
  friend auto operator<=>(const SelectTopK&, const SelectTopK&) = default;
};

/// Kernels that stream rows through the CUDA cores: what they move and compute follows from the
/// kind.
enum class StreamKind {
  rms_norm,      ///< y = x / rms(x) * w. Reads x, writes y (and its quantised copy when `output` is
                 ///< block-scaled).
  add_rms_norm,  ///< r += x; y = r / rms(r) * w. Reads x, r; writes r, y.
  rms_norm_backward,   ///< Reads x, dy; writes dx; reduces dw.
  rotary,              ///< In place on the rotary part of q and k.
  swiglu,              ///< y[m,n] = silu(a[m,n]) b[m,n]. Reads 2mn, writes mn.
  swiglu_backward,     ///< Reads 2mn and dy, writes 2mn.
  gate_top_k,          ///< Scores of `columns` experts -> `fan` ids and weights a row.
  permute,             ///< Copies each row to `fan` places.
  unpermute,           ///< Sums `fan` rows to one, weighted.
  quantize,            ///< Reads `input`, writes `output` with its scales.
  quantize_transpose,  ///< As quantize, and writes the transpose, scaled along the other dimension.
  transpose,           ///< Reads and writes `input`.
  add,                 ///< y = a + b.
  copy,
  embedding,              ///< Gathers a row of the table per token.
  embedding_backward,     ///< Adds a row of gradients per token.
  softmax_cross_entropy,  ///< Reads logits, writes their gradient in place.
  adamw,             ///< `rows` parameters: master weight, gradient, two moments -> updated, and a
                     ///< low-precision copy.
  gradient_clip,     ///< Reads gradients once for the norm.
  compute_scale,     ///< The maximum of |x| over a tensor.
  gelu,              ///< y = gelu(x), or another function of one input.
  gelu_backward,     ///< Reads x and dy, writes dx.
  softmax,           ///< Of scaled and masked rows. Reads x, writes y.
  softmax_backward,  ///< Reads y and dy, writes dx.
  dropout,           ///< Reads x, writes y and a mask of a byte an element.
  column_sum,        ///< Sums rows: gradients of a bias.
};
[[nodiscard]] std::string to_string(StreamKind kind);

/// `rows` x `columns` elements through one StreamKind.
struct Stream {
  StreamKind kind = StreamKind::copy;
  std::int64_t rows = 0, columns = 0;
  DataType input = DataType::bf16;
  DataType output = DataType::bf16;
  int fan = 1;                      ///< Copies or summands per row; experts chosen by gate_top_k.
  DataType state = DataType::fp32;  ///< Of the moments, for adamw.
  std::int64_t padding_rows = 0;    ///< Visited beside `rows`, to clear what lies between groups.
  friend auto operator<=>(const Stream&, const Stream&) = default;
};

/// The part of an expert-parallel exchange that one GPU's SMs do: read rows, write them to send
/// buffers or peers, and the reverse. Time on the wire belongs to the fabric.
struct Exchange {
  enum class Direction { dispatch, combine };
  Direction direction = Direction::dispatch;
  std::int64_t tokens = 0, hidden = 0;
  double copies = 1;               ///< Rows sent per token (distinct ranks or nodes reached).
  DataType type = DataType::bf16;  ///< On the wire.
  friend auto operator<=>(const Exchange&, const Exchange&) = default;
};

using Operator = std::variant<Gemm, GroupedGemm, Attention, AbsorbedAttention, Stream, Exchange,
                              IndexScores, SelectTopK>;

/// Multiply-adds count 2; elementwise work is not counted, as MFU definitions do not.
[[nodiscard]] Flops flops(const Operator& op);
/// "gemm 4096x2112x7168 fp8_block -> bf16": stable, unique per distinct operator; part of cache
/// keys.
[[nodiscard]] std::string describe(const Operator& op);
/// gemm, grouped_gemm, attention, absorbed_attention, stream, exchange, index_scores, select_top_k.
[[nodiscard]] std::string family(const Operator& op);

}  // namespace tessera::workload
