#include "calibrate/probes/gemm_reference.hpp"

namespace tessera::calibrate::probes {

const std::vector<GemmTypeTraits>& gemm_types() {
  // Allowed errors: half a unit in the last place of the output (2^-9 for bf16, 2^-11 for fp16) is
  // reached in the norm; accumulation adds to it, most where tensor cores keep 14 bits (Hopper's
  // FP8). Integers are exact.
  using enum ScaleKind;
  static const std::vector<GemmTypeTraits> kTypes = {
      {GemmType::bf16, "bfloat16", 16, none, none, 5e-3, 8},
      {GemmType::fp16, "float16", 16, none, none, 2e-3, 8},
      {GemmType::tf32, "tf32", 32, none, none, 2e-3, 4},
      {GemmType::fp8, "fp8", 8, tensor, tensor, 1e-2, 16},
      {GemmType::fp8_block, "fp8_block", 8, vector128, block128, 1e-2, 128},
      {GemmType::mxfp8, "mxfp8", 8, vector32_e8m0, vector32_e8m0, 1e-2, 32},
      {GemmType::nvfp4, "nvfp4", 4, vector16_e4m3, vector16_e4m3, 1e-2, 32},
      {GemmType::int8, "int8", 8, none, none, 0, 16},
  };
  return kTypes;
}

GemmSeeds gemm_seeds(int operand_set) {
  const auto set = static_cast<std::uint64_t>(operand_set);
  return {.activation = 2 * set + 1, .weight = 2 * set + 2};
}

std::int64_t scale_count(ScaleKind kind, std::int64_t rows, std::int64_t columns) {
  const auto up = [](std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit; };
  switch (kind) {
    case ScaleKind::none:
      return 0;
    case ScaleKind::tensor:
      return 1;
    case ScaleKind::vector128:
      return up(columns, 128) * up(rows, 4) * 4;
    case ScaleKind::block128:
      return up(rows, 128) * up(up(columns, 128), 4) * 4;
    case ScaleKind::vector32_e8m0:
      return up(rows, 128) * up(up(columns, 32), 4) * 512;
    case ScaleKind::vector16_e4m3:
      return up(rows, 128) * up(up(columns, 16), 4) * 512;
  }
  return 0;
}

std::int64_t scale_bytes(ScaleKind kind) {
  return kind == ScaleKind::vector32_e8m0 || kind == ScaleKind::vector16_e4m3 ? 1 : 4;
}

namespace {

/// Factor of element (row, column); the pattern of scales is seeded by the operand's.
double scale_at(ScaleKind kind, std::uint64_t seed, std::int64_t row, std::int64_t column,
                std::int64_t rows, std::int64_t columns) {
  if (kind == ScaleKind::none) return 1;
  const ScalePlace place = scale_place(kind, row, column, rows, columns);
  return std::ldexp(1.0, scale_exponent(seed, static_cast<std::uint64_t>(place.block)));
}

}  // namespace

double gemm_element(const GemmTypeTraits& traits, const GemmSeeds& seeds, std::int64_t rows,
                    std::int64_t columns, std::int64_t inner, std::int64_t row,
                    std::int64_t column) {
  double sum = 0;
  for (std::int64_t i = 0; i < inner; ++i) {
    const double x =
        element_value(traits.type, element_bits_at(traits.type, seeds.activation, row, i, inner)) *
        scale_at(traits.activation, seeds.activation, row, i, rows, inner);
    const double w =
        element_value(traits.type, element_bits_at(traits.type, seeds.weight, column, i, inner)) *
        scale_at(traits.weight, seeds.weight, column, i, columns, inner);
    sum += x * w;
  }
  return sum;
}

int output_bytes(const GemmTypeTraits& traits) {
  return traits.type == GemmType::tf32 || traits.type == GemmType::int8 ? 4 : 2;
}

std::int64_t gemm_bytes(const GemmTypeTraits& traits, std::int64_t m, std::int64_t n,
                        std::int64_t k) {
  return (m + n) * k * traits.element_bits / 8 + m * n * output_bytes(traits) +
         scale_count(traits.activation, m, k) * scale_bytes(traits.activation) +
         scale_count(traits.weight, n, k) * scale_bytes(traits.weight);
}

}  // namespace tessera::calibrate::probes
