#pragma once

#include <cstdint>

#include "calibrate/probes/tile_instructions.cuh"

namespace tessera::calibrate::probes {

/// softmax(q k^T scale + mask) v in BF16. q and out are [batch, q_length, heads, dim], k and v
/// [batch, kv_length, kv_heads, dim]; the last query sees the last key.
struct AttentionArguments {
  const std::uint16_t* q;
  const std::uint16_t* k;
  const std::uint16_t* v;
  std::uint16_t* out;
  int heads, kv_heads;
  int q_length, kv_length;
  int window;  ///< Keys that a query sees, itself included; 0: all before it.
  bool causal;
  float scale_log2;  ///< log2(e) / sqrt(dim).
};

inline constexpr int kAttentionThreads = 128;
inline constexpr int kAttentionRows = 64;  ///< Queries of a CTA: 16 a warp.
inline constexpr int kAttentionKeys = 64;  ///< Keys of a step.
inline constexpr int kPad = 8;  ///< BF16 after each row in shared memory: no bank conflicts.

constexpr int attention_shared_bytes(int dim) {
  return (kAttentionRows + 4 * kAttentionKeys) * (dim + kPad) * 2;
}

/// `rows` rows of `dim` BF16, `stride` apart, into shared memory; rows from `valid_rows` on are 0.
template <int dim, int rows>
__device__ inline void load_rows(std::uint16_t* to, const std::uint16_t* from, std::int64_t stride,
                                 int valid_rows) {
  constexpr int kPieces = dim / 8;
  for (int piece = static_cast<int>(threadIdx.x); piece < rows * kPieces;
       piece += kAttentionThreads) {
    const int row = piece / kPieces;
    const int column = piece % kPieces * 8;
    const bool valid = row < valid_rows;
    copy_async(to + row * (dim + kPad) + column, from + (valid ? row : 0) * stride + column, valid);
  }
}

__device__ inline std::uint32_t word_at(const std::uint16_t* pair) {
  return *reinterpret_cast<const std::uint32_t*>(pair);
}

/// The a of multiply_tile: 16 rows and columns of a padded tile.
template <int dim>
__device__ inline void load_left(std::uint32_t (&a)[4], const std::uint16_t* tile, int column) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::uint16_t* at = tile + lane / 4 * (dim + kPad) + column + lane % 4 * 2;
  a[0] = word_at(at);
  a[1] = word_at(at + 8 * (dim + kPad));
  a[2] = word_at(at + 8);
  a[3] = word_at(at + 8 * (dim + kPad) + 8);
}

/// The b of multiply_tile whose columns are 8 rows of a padded tile.
template <int dim>
__device__ inline void load_right(std::uint32_t (&b)[2], const std::uint16_t* tile, int column) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::uint16_t* at = tile + lane / 4 * (dim + kPad) + column + lane % 4 * 2;
  b[0] = word_at(at);
  b[1] = word_at(at + 8);
}

/// Running softmax of the two rows that a thread holds parts of (g and g + 8 of its warp's tile).
struct SoftmaxRows {
  float largest[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};

  /// Takes `tiles` scores tiles in as base-2 exponents, turns them into weights, and returns in
  /// `rescale` what earlier weights must be multiplied by.
  template <int tiles>
  __device__ void take(float (&scores)[tiles][4], float (&rescale)[2]) {
    for (int half = 0; half < 2; ++half) {
      float now = largest[half];
      for (int tile = 0; tile < tiles; ++tile)
        now = fmaxf(now, fmaxf(scores[tile][2 * half], scores[tile][2 * half + 1]));
      now = fmaxf(now, shuffle_xor(now, 1));
      now = fmaxf(now, shuffle_xor(now, 2));
      const float origin = now == -INFINITY ? 0 : now;  // nothing was visible yet
      rescale[half] = exp2_fast(largest[half] - origin);
      largest[half] = now;
      float added = 0;
      for (int tile = 0; tile < tiles; ++tile)
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[tile][i] = exp2_fast(scores[tile][i] - origin);
          added += scores[tile][i];
        }
      sum[half] = sum[half] * rescale[half] + added;
    }
  }

  /// The sums over the four threads that share a row.
  __device__ void finish() {
    for (float& half : sum) {
      half += shuffle_xor(half, 1);
      half += shuffle_xor(half, 2);
    }
  }
};

/// One step's weights (16 rows by 16 `steps`) times values [16 steps, 8 tiles] added to `out`.
template <int dim, int steps, int tiles>
__device__ inline void add_values(float (&out)[tiles][4], const float (&weights)[2 * steps][4],
                                  const std::uint16_t* values) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  TESSERA_UNROLL
  for (int step = 0; step < steps; ++step) {
    const auto& left = weights[2 * step];
    const auto& right = weights[2 * step + 1];
    const std::uint32_t a[4] = {bf16_pair(left[0], left[1]), bf16_pair(left[2], left[3]),
                                bf16_pair(right[0], right[1]), bf16_pair(right[2], right[3])};
    const std::uint16_t* row = values + (16 * step + lane % 16) * (dim + kPad);
    TESSERA_UNROLL
    for (int tile = 0; tile < tiles; ++tile) {
      std::uint32_t b[2];
      load_transposed(b, row + 8 * tile);
      multiply_tile(out[tile], a, b);
    }
  }
}

/// FlashAttention-2 (arXiv 2307.08691) with mma.sync: a CTA has 64 queries of one head, a warp 16;
/// keys and values come 64 at a time through two stages of shared memory.
/// Grid: ceil(q_length / 64), heads, batch.
template <int dim>
__global__ void __launch_bounds__(kAttentionThreads) attend(AttentionArguments is) {
  auto* const q_tile = reinterpret_cast<std::uint16_t*>(dynamic_shared());
  std::uint16_t* const k_tiles = q_tile + kAttentionRows * (dim + kPad);
  constexpr int kStage = kAttentionKeys * (dim + kPad);
  std::uint16_t* const v_tiles = k_tiles + 2 * kStage;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16;
  const int first_row = static_cast<int>(blockIdx.x) * kAttentionRows;
  const int head = static_cast<int>(blockIdx.y);
  const std::int64_t batch = blockIdx.z;
  const std::int64_t q_stride = std::int64_t{is.heads} * dim;
  const std::int64_t kv_stride = std::int64_t{is.kv_heads} * dim;
  const std::int64_t q_start =
      (batch * is.q_length + first_row) * q_stride + std::int64_t{head} * dim;
  const std::int64_t kv_start =
      batch * is.kv_length * kv_stride + std::int64_t{head / (is.heads / is.kv_heads)} * dim;

  // Keys that any query of the CTA sees.
  const int first_position = is.kv_length - is.q_length + first_row;
  const int last_position = first_position + kAttentionRows - 1;
  const int end_key =
      is.causal && last_position + 1 < is.kv_length ? last_position + 1 : is.kv_length;
  const int begin_key = is.window > 0 && first_position - is.window + 1 > 0
                            ? (first_position - is.window + 1) / kAttentionKeys * kAttentionKeys
                            : 0;
  const auto load_keys = [&](int key, int stage) {
    const std::int64_t start = kv_start + key * kv_stride;
    load_rows<dim, kAttentionKeys>(k_tiles + stage * kStage, is.k + start, kv_stride,
                                   is.kv_length - key);
    load_rows<dim, kAttentionKeys>(v_tiles + stage * kStage, is.v + start, kv_stride,
                                   is.kv_length - key);
  };
  load_rows<dim, kAttentionRows>(q_tile, is.q + q_start, q_stride, is.q_length - first_row);
  load_keys(begin_key, 0);
  commit_copies();
  wait_copies<0>();
  __syncthreads();
  std::uint32_t q[dim / 16][4];
  TESSERA_UNROLL
  for (int step = 0; step < dim / 16; ++step)
    load_left<dim>(q[step], q_tile + warp_row * (dim + kPad), 16 * step);

  float out[dim / 8][4] = {};
  SoftmaxRows rows;
  int stage = 0;
  for (int key = begin_key; key < end_key; key += kAttentionKeys, stage ^= 1) {
    if (key + kAttentionKeys < end_key) load_keys(key + kAttentionKeys, stage ^ 1);
    commit_copies();
    wait_copies<1>();  // all but the group just committed
    __syncthreads();
    float scores[kAttentionKeys / 8][4] = {};
    TESSERA_UNROLL
    for (int step = 0; step < dim / 16; ++step) TESSERA_UNROLL
    for (int tile = 0; tile < kAttentionKeys / 8; ++tile) {
      std::uint32_t b[2];
      load_right<dim>(b, k_tiles + stage * kStage + 8 * tile * (dim + kPad), 16 * step);
      multiply_tile(scores[tile], q[step], b);
    }
    TESSERA_UNROLL
    for (int tile = 0; tile < kAttentionKeys / 8; ++tile) TESSERA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int at = key + 8 * tile + lane % 4 * 2 + i % 2;
      const int position = first_position + warp_row + lane / 4 + i / 2 * 8;
      const bool seen = at < is.kv_length && (!is.causal || at <= position) &&
                        (is.window == 0 || at > position - is.window);
      scores[tile][i] = seen ? scores[tile][i] * is.scale_log2 : -INFINITY;
    }
    float rescale[2];
    rows.take(scores, rescale);
    TESSERA_UNROLL
    for (int tile = 0; tile < dim / 8; ++tile) TESSERA_UNROLL
    for (int i = 0; i < 4; ++i) out[tile][i] *= rescale[i / 2];
    add_values<dim, kAttentionKeys / 16>(out, scores, v_tiles + stage * kStage);
    __syncthreads();  // the stage may be overwritten
  }
  rows.finish();
  TESSERA_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = warp_row + lane / 4 + 8 * half;
    if (first_row + row >= is.q_length) continue;
    std::uint16_t* const to = is.out + q_start + row * q_stride + lane % 4 * 2;
    TESSERA_UNROLL
    for (int tile = 0; tile < dim / 8; ++tile)
      *reinterpret_cast<std::uint32_t*>(to + 8 * tile) =
          bf16_pair(out[tile][2 * half] / rows.sum[half], out[tile][2 * half + 1] / rows.sum[half]);
  }
}

}  // namespace tessera::calibrate::probes
