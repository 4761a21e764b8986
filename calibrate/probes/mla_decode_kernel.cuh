#pragma once

#include <cstdint>

#include "calibrate/probes/attention_kernel.cuh"
#include "calibrate/probes/tile_instructions.cuh"

namespace tessera::calibrate::probes {

inline constexpr int kMlaKey = 576;    ///< Latent 512 and rotary 64: what a query is multiplied by.
inline constexpr int kMlaValue = 512;  ///< The latent alone.
inline constexpr int kMlaHeads = 16;   ///< Of a CTA: the rows of one tensor-core tile.
inline constexpr int kMlaTokens = 32;  ///< Of a step.

/// Absorbed multi-head latent attention of one token a sequence: q [batch, heads, 576], cache
/// [batch, kv_length, 576], both BF16; keys are whole cache rows, values their first 512 elements.
/// Each split of the cache writes a part: values [batch, splits, heads, 512] and the base-2
/// logarithm of its softmax sum [batch, splits, heads], both FP32.
struct MlaDecodeArguments {
  const std::uint16_t* q;
  const std::uint16_t* cache;
  float* parts;
  float* sums_log2;
  int heads, kv_length;
  int split_tokens;  ///< Of one split; a multiple of kMlaTokens.
  float scale_log2;  ///< log2(e) / sqrt(192): of the head before absorption.
};

inline constexpr int kMlaScoreStride = kMlaTokens + 4;  ///< Floats a row of scores.
constexpr int mla_decode_shared_bytes() {
  return (kMlaHeads + 2 * kMlaTokens) * (kMlaKey + kPad) * 2 + kMlaHeads * kMlaScoreStride * 4;
}

/// Split-KV decode with mma.sync. Each of four warps scores 8 tokens of a step against all heads,
/// then multiplies all weights with a quarter of the value columns.
/// Grid: splits, ceil(heads / 16), batch.
__global__ void __launch_bounds__(kAttentionThreads) mla_decode(MlaDecodeArguments is) {
  auto* const q_tile = reinterpret_cast<std::uint16_t*>(dynamic_shared());
  std::uint16_t* const kv_tiles = q_tile + kMlaHeads * (kMlaKey + kPad);
  constexpr int kStage = kMlaTokens * (kMlaKey + kPad);
  auto* const scores = reinterpret_cast<float*>(kv_tiles + 2 * kStage);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int row = lane / 4;
  const int first_head = static_cast<int>(blockIdx.y) * kMlaHeads;
  const std::int64_t batch = blockIdx.z;
  const int begin = static_cast<int>(blockIdx.x) * is.split_tokens;
  const int end = begin + is.split_tokens < is.kv_length ? begin + is.split_tokens : is.kv_length;
  const std::uint16_t* const cache = is.cache + batch * is.kv_length * kMlaKey;

  load_rows<kMlaKey, kMlaHeads>(q_tile, is.q + (batch * is.heads + first_head) * kMlaKey, kMlaKey,
                                is.heads - first_head);
  load_rows<kMlaKey, kMlaTokens>(kv_tiles, cache + std::int64_t{begin} * kMlaKey, kMlaKey,
                                 end - begin);
  commit_copies();
  float out[kMlaValue / 4 / 8][4] = {};
  SoftmaxRows rows;
  int stage = 0;
  for (int token = begin; token < end; token += kMlaTokens, stage ^= 1) {
    const int next = token + kMlaTokens;
    if (next < end)
      load_rows<kMlaKey, kMlaTokens>(kv_tiles + (stage ^ 1) * kStage,
                                     cache + std::int64_t{next} * kMlaKey, kMlaKey, end - next);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    const std::uint16_t* const tile = kv_tiles + stage * kStage;
    float score[4] = {};
    TESSERA_UNROLL_4
    for (int step = 0; step < kMlaKey / 16; ++step) {
      std::uint32_t a[4];
      std::uint32_t b[2];
      load_left<kMlaKey>(a, q_tile, 16 * step);
      load_right<kMlaKey>(b, tile + 8 * warp * (kMlaKey + kPad), 16 * step);
      multiply_tile(score, a, b);
    }
    TESSERA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int column = 8 * warp + lane % 4 * 2 + i % 2;
      scores[(row + i / 2 * 8) * kMlaScoreStride + column] =
          token + column < end ? score[i] * is.scale_log2 : -INFINITY;
    }
    __syncthreads();
    float weights[kMlaTokens / 8][4];
    TESSERA_UNROLL
    for (int part = 0; part < kMlaTokens / 8; ++part) TESSERA_UNROLL
    for (int i = 0; i < 4; ++i)
      weights[part][i] =
          scores[(row + i / 2 * 8) * kMlaScoreStride + 8 * part + lane % 4 * 2 + i % 2];
    float rescale[2];
    rows.take(weights, rescale);
    TESSERA_UNROLL
    for (auto& four : out) TESSERA_UNROLL
    for (int i = 0; i < 4; ++i) four[i] *= rescale[i / 2];
    add_values<kMlaKey, kMlaTokens / 16>(out, weights, tile + warp * (kMlaValue / 4));
    __syncthreads();  // stage and scores may be overwritten
  }
  wait_copies<0>();
  rows.finish();
  TESSERA_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int head = first_head + row + 8 * half;
    if (head >= is.heads) continue;
    const std::int64_t part = (batch * gridDim.x + blockIdx.x) * is.heads + head;
    float* const to = is.parts + part * kMlaValue + warp * (kMlaValue / 4) + lane % 4 * 2;
    TESSERA_UNROLL
    for (int tile = 0; tile < kMlaValue / 4 / 8; ++tile) TESSERA_UNROLL
    for (int i = 0; i < 2; ++i) to[8 * tile + i] = out[tile][2 * half + i] / rows.sum[half];
    if (warp == 0 && lane % 4 == 0) is.sums_log2[part] = rows.largest[half] + log2f(rows.sum[half]);
  }
}

/// Joins the parts of all splits: out [batch, heads, 512] in BF16. Grid: heads, batch.
__global__ void __launch_bounds__(kAttentionThreads)
    mla_combine(const float* parts, const float* sums_log2, int splits, int heads,
                std::uint16_t* out) {
  const std::int64_t batch = blockIdx.y;
  const std::int64_t head = blockIdx.x;
  const auto at = [&](int split) { return (batch * splits + split) * heads + head; };
  float largest = -INFINITY;
  for (int split = 0; split < splits; ++split) largest = fmaxf(largest, sums_log2[at(split)]);
  float joined[kMlaValue / kAttentionThreads] = {};
  float total = 0;
  for (int split = 0; split < splits; ++split) {
    const float weight = exp2_fast(sums_log2[at(split)] - largest);
    total += weight;
    for (int i = 0; i < kMlaValue / kAttentionThreads; ++i)
      joined[i] +=
          weight * parts[at(split) * kMlaValue +
                         static_cast<int>(threadIdx.x) * (kMlaValue / kAttentionThreads) + i];
  }
  auto* const to =
      reinterpret_cast<std::uint32_t*>(out + (batch * heads + head) * kMlaValue) + threadIdx.x * 2;
  to[0] = bf16_pair(joined[0] / total, joined[1] / total);
  to[1] = bf16_pair(joined[2] / total, joined[3] / total);
}

}  // namespace tessera::calibrate::probes
