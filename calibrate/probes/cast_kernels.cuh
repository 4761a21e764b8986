#pragma once

#include <cstdint>

#include "calibrate/probes/cast_reference.hpp"
#include "calibrate/probes/tile_instructions.cuh"

namespace tessera::calibrate::probes {

inline constexpr int kCastThreads = 256;

/// A matrix of `count` BF16 elements, two to a word, cast in groups of consecutive elements.
struct CastArguments {
  const std::uint32_t* from;
  std::int64_t count;
  unsigned char* to;
  float* scale;                 ///< Per tensor: divides what is cast; amax: what it raises.
  unsigned char* block_scales;  ///< One of each group, in order: FP32, E8M0 or E4M3.
};

/// Four elements a thread and step.
__device__ inline void load_four(const std::uint32_t* from, float (&values)[4]) {
  struct alignas(8) Words {  // one load of 8 bytes
    std::uint32_t low, high;
  };
  const Words words = *reinterpret_cast<const Words*>(from);
  values[0] = bf16_first(words.low);
  values[1] = bf16_second(words.low);
  values[2] = bf16_first(words.high);
  values[3] = bf16_second(words.high);
}

__device__ inline float largest_of(const float (&values)[4]) {
  return fmaxf(fmaxf(fabsf(values[0]), fabsf(values[1])),
               fmaxf(fabsf(values[2]), fabsf(values[3])));
}

__device__ inline void store_e4m3(unsigned char* to, const float (&values)[4], float scale) {
  *reinterpret_cast<std::uint32_t*>(to) = e4m3_pair(values[0] / scale, values[1] / scale) |
                                          e4m3_pair(values[2] / scale, values[3] / scale) << 16;
}

/// The largest magnitude of the matrix. Requires: count a multiple of 4; *scale 0 or an earlier
/// result of the same matrix.
__global__ void __launch_bounds__(kCastThreads) raise_amax(CastArguments is) {
  const std::int64_t step = std::int64_t{gridDim.x} * kCastThreads * 4;
  float largest = 0;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kCastThreads + threadIdx.x) * 4; i < is.count;
       i += step) {
    float values[4];
    load_four(is.from + i / 2, values);
    largest = fmaxf(largest, largest_of(values));
  }
  for (int mask = 16; mask > 0; mask /= 2) largest = fmaxf(largest, shuffle_xor(largest, mask));
  if (threadIdx.x % 32 == 0) atomic_raise(is.scale, largest);
}

/// To E4M3 by one scale that is known before.
__global__ void __launch_bounds__(kCastThreads) cast_tensor(CastArguments is) {
  const std::int64_t step = std::int64_t{gridDim.x} * kCastThreads * 4;
  const float scale = *is.scale;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kCastThreads + threadIdx.x) * 4; i < is.count;
       i += step) {
    float values[4];
    load_four(is.from + i / 2, values);
    store_e4m3(is.to + i, values, scale);
  }
}

/// In groups with a scale each, four elements a lane. Requires: count a multiple of 128.
template <CastKind kind>
__global__ void __launch_bounds__(kCastThreads) cast_groups(CastArguments is) {
  constexpr int kGroup = cast_group(kind);
  const std::int64_t step = std::int64_t{gridDim.x} * kCastThreads * 4;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kCastThreads + threadIdx.x) * 4; i < is.count;
       i += step) {
    float values[4];
    load_four(is.from + i / 2, values);
    float largest = largest_of(values);
    // A warp reads 128 elements, so groups never reach beyond it, and it leaves the loop as one.
    for (int mask = kGroup / 8; mask > 0; mask /= 2)
      largest = fmaxf(largest, shuffle_xor(largest, mask));
    const BlockScale scale = block_scale(kind, largest);
    if (i % kGroup == 0) {
      if constexpr (kind == CastKind::fp8_block)
        reinterpret_cast<float*>(is.block_scales)[i / kGroup] = scale.value;
      else
        is.block_scales[i / kGroup] = static_cast<unsigned char>(scale.bits);
    }
    if constexpr (kind == CastKind::nvfp4)
      *reinterpret_cast<std::uint16_t*>(is.to + i / 2) = static_cast<std::uint16_t>(
          e2m1_pair(values[0] / scale.value, values[1] / scale.value) |
          e2m1_pair(values[2] / scale.value, values[3] / scale.value) << 8);
    else
      store_e4m3(is.to + i, values, scale.value);
  }
}

}  // namespace tessera::calibrate::probes
