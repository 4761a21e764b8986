#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/probes/test_pattern.hpp"

/// The operands of a GEMM in each data type as functions of position, and its result on the CPU.
namespace tessera::calibrate::probes {

enum class GemmType { bf16, fp16, tf32, fp8, fp8_block, mxfp8, nvfp4, int8 };

/// Scales of one operand.
enum class ScaleKind {
  none,
  tensor,         ///< One FP32.
  vector128,      ///< FP32 for 1 x 128 elements of k.
  block128,       ///< FP32 for 128 x 128.
  vector32_e8m0,  ///< Power of two for 1 x 32.
  vector16_e4m3,  ///< E4M3 for 1 x 16.
};

struct GemmTypeTraits {
  GemmType type;
  const char* dtype;        ///< As measurement files name it.
  int element_bits;         ///< Of x and w.
  ScaleKind activation;     ///< Scales of x[m,k].
  ScaleKind weight;         ///< Scales of w[n,k].
  double allowed_error;     ///< Relative, of the result in its output type.
  std::int64_t k_multiple;  ///< What k must be a multiple of.
};
[[nodiscard]] const std::vector<GemmTypeTraits>& gemm_types();

/// Seeds of the operands' patterns; a set of operands has its own.
struct GemmSeeds {
  std::uint64_t activation, weight;
};
[[nodiscard]] GemmSeeds gemm_seeds(int operand_set);

/// Bits of element (row, k) of an operand with `columns` = k elements a row.
TESSERA_HOST_DEVICE inline std::uint32_t element_bits_at(GemmType type, std::uint64_t seed,
                                                         std::int64_t row, std::int64_t column,
                                                         std::int64_t columns) {
  const float value = uniform_value(seed, static_cast<std::uint64_t>(row * columns + column));
  switch (type) {
    case GemmType::bf16:
      return encode(bf16_format(), value);
    case GemmType::fp16:
      return encode(fp16_format(), value);
    case GemmType::tf32:  // bits of FP32 that TF32 keeps: 10 of the mantissa, so exact in both
      return encode(fp16_format(), value);
    case GemmType::fp8:
    case GemmType::fp8_block:
    case GemmType::mxfp8:
      return encode(e4m3_format(), 8 * value);
    case GemmType::nvfp4:
      return encode(e2m1_format(), 6 * value);
    case GemmType::int8:
      return static_cast<std::uint32_t>(static_cast<std::int32_t>(rintf(100 * value))) & 0xFFU;
  }
  return 0;
}

/// The number that those bits stand for, before scales.
TESSERA_HOST_DEVICE inline float element_value(GemmType type, std::uint32_t bits) {
  switch (type) {
    case GemmType::bf16:
      return decode(bf16_format(), bits);
    case GemmType::fp16:
    case GemmType::tf32:
      return decode(fp16_format(), bits);
    case GemmType::fp8:
    case GemmType::fp8_block:
    case GemmType::mxfp8:
      return decode(e4m3_format(), bits);
    case GemmType::nvfp4:
      return decode(e2m1_format(), bits);
    case GemmType::int8:
      return static_cast<float>(static_cast<std::int32_t>(bits << 24) >> 24);
  }
  return 0;
}

/// Where the scale of (row, column) of a [rows, columns] operand lies, in scales, and which scale
/// it is (its own index, of which the value is a function). Layouts: cuBLASLt 13, "Scaling factors
/// layout"; verified by the result of every run.
struct ScalePlace {
  std::int64_t offset;
  std::int64_t block;
};
TESSERA_HOST_DEVICE inline ScalePlace scale_place(ScaleKind kind, std::int64_t row,
                                                  std::int64_t column, std::int64_t rows,
                                                  std::int64_t columns) {
  const auto up = [](std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit; };
  switch (kind) {
    case ScaleKind::none:
    case ScaleKind::tensor:
      return {0, 0};
    case ScaleKind::vector128: {  // rows contiguous, padded to 4
      const std::int64_t group = column / 128;
      return {group * (up(rows, 4) * 4) + row, row * up(columns, 128) + group};
    }
    case ScaleKind::block128: {  // groups of k contiguous, padded to 4
      const std::int64_t group = column / 128;
      const std::int64_t stride = up(up(columns, 128), 4) * 4;
      return {row / 128 * stride + group, row / 128 * up(columns, 128) + group};
    }
    case ScaleKind::vector32_e8m0:
    case ScaleKind::vector16_e4m3: {  // tiles of 128 rows x 4 groups, 512 scales each
      const std::int64_t group = column / (kind == ScaleKind::vector32_e8m0 ? 32 : 16);
      const std::int64_t groups = up(columns, kind == ScaleKind::vector32_e8m0 ? 32 : 16);
      const std::int64_t tile = row / 128 * up(groups, 4) + group / 4;
      const std::int64_t inside = row % 32 * 16 + row % 128 / 32 * 4 + group % 4;
      return {tile * 512 + inside, row * groups + group};
    }
  }
  return {0, 0};
}

/// Scales that an operand's buffer must hold, padding included.
[[nodiscard]] std::int64_t scale_count(ScaleKind kind, std::int64_t rows, std::int64_t columns);
[[nodiscard]] std::int64_t scale_bytes(ScaleKind kind);  ///< Of one scale.

/// Element (row, column) of y = x w^T in double, from the patterns. `inner` is k.
[[nodiscard]] double gemm_element(const GemmTypeTraits& traits, const GemmSeeds& seeds,
                                  std::int64_t rows, std::int64_t columns, std::int64_t inner,
                                  std::int64_t row, std::int64_t column);

/// Operand bytes of one set: x, w, their scales, and y.
[[nodiscard]] std::int64_t gemm_bytes(const GemmTypeTraits& traits, std::int64_t m, std::int64_t n,
                                      std::int64_t k);
[[nodiscard]] int output_bytes(const GemmTypeTraits& traits);  ///< Of one element of y.

}  // namespace tessera::calibrate::probes
