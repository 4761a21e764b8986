#include "calibrate/probes/cast_reference.hpp"

namespace tessera::calibrate::probes {

namespace {

float input(std::uint64_t seed, std::int64_t index) {
  return decode(bf16_format(), cast_input_bits(seed, index));
}

double through(const FloatFormat& format, float value, float scale) {
  return static_cast<double>(decode(format, encode(format, value / scale))) * scale;
}

}  // namespace

const std::vector<CastTraits>& cast_kinds() {
  static const std::vector<CastTraits> kKinds = {
      {CastKind::fp8, "scale_matrix", "fp8", 89},
      {CastKind::fp8_amax, "compute_scale", "fp8", 80},
      {CastKind::fp8_block, "scale_matrix", "fp8_block", 89},
      {CastKind::mxfp8, "scale_matrix", "mxfp8", 100},
      {CastKind::nvfp4, "scale_matrix", "nvfp4", 100},
  };
  return kKinds;
}

double cast_result(CastKind kind, std::uint64_t seed, std::int64_t index) {
  const float value = input(seed, index);
  if (kind == CastKind::fp8_amax) return std::fabs(value);
  if (kind == CastKind::fp8) return through(e4m3_format(), value, kTensorScale);
  const std::int64_t group = cast_group(kind);
  float largest = 0;
  for (std::int64_t i = index / group * group; i < index / group * group + group; ++i)
    largest = std::fmax(largest, std::fabs(input(seed, i)));
  return through(kind == CastKind::nvfp4 ? e2m1_format() : e4m3_format(), value,
                 block_scale(kind, largest).value);
}

std::int64_t cast_bytes(CastKind kind, std::int64_t elements) {
  const std::int64_t read = 2 * elements;
  switch (kind) {
    case CastKind::fp8:
      return read + elements;
    case CastKind::fp8_amax:
      return read;
    case CastKind::fp8_block:
      return read + elements + elements / 128 * 4;
    case CastKind::mxfp8:
      return read + elements + elements / 32;
    case CastKind::nvfp4:
      return read + elements / 2 + elements / 16;
  }
  return read;
}

}  // namespace tessera::calibrate::probes
