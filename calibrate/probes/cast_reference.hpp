#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/probes/number_format.hpp"
#include "calibrate/probes/test_pattern.hpp"

/// Casts of a BF16 matrix to narrow types on the CPU.
namespace tessera::calibrate::probes {

enum class CastKind {
  fp8,        ///< E4M3 by one scale that is known.
  fp8_amax,   ///< The pass that finds it.
  fp8_block,  ///< E4M3, FP32 scale for 1 x 128.
  mxfp8,      ///< E4M3, E8M0 scale for 1 x 32.
  nvfp4,      ///< E2M1, E4M3 scale for 1 x 16.
};

struct CastTraits {
  CastKind kind;
  const char* op;  ///< As measurement files name it.
  const char* dtype;
  int capability;  ///< First compute capability, times 10, that converts in hardware.
};
[[nodiscard]] const std::vector<CastTraits>& cast_kinds();

/// Consecutive elements that share a scale.
TESSERA_HOST_DEVICE constexpr int cast_group(CastKind kind) {
  return kind == CastKind::nvfp4 ? 16 : (kind == CastKind::mxfp8 ? 32 : 128);
}

struct BlockScale {
  float value;
  std::uint32_t bits;  ///< As stored, where it is not FP32.
};
/// The scale that brings a group's largest magnitude to the top of the type.
TESSERA_HOST_DEVICE inline BlockScale block_scale(CastKind kind, float largest) {
  if (largest == 0) largest = 1;
  if (kind == CastKind::mxfp8) {
    const std::uint32_t bits = encode_e8m0_up(largest / e4m3_format().largest);
    return {decode_e8m0(bits), bits};
  }
  if (kind == CastKind::nvfp4) {
    const std::uint32_t bits = encode(e4m3_format(), largest / e2m1_format().largest);
    const float value = decode(e4m3_format(), bits);
    return {value == 0 ? 1.0F : value, bits};
  }
  return {largest / e4m3_format().largest, 0};
}

/// Element `index` of the matrix that is cast.
TESSERA_HOST_DEVICE inline std::uint32_t cast_input_bits(std::uint64_t seed, std::int64_t index) {
  return encode(bf16_format(), 4 * uniform_value(seed, static_cast<std::uint64_t>(index)));
}
inline constexpr float kTensorScale = 1.0F / 64;  ///< 4 becomes 256: within E4M3.

/// What element `index` of the cast matrix stands for, scale included.
[[nodiscard]] double cast_result(CastKind kind, std::uint64_t seed, std::int64_t index);

/// Bytes of one matrix of `elements`: read, written, scales.
[[nodiscard]] std::int64_t cast_bytes(CastKind kind, std::int64_t elements);

}  // namespace tessera::calibrate::probes
