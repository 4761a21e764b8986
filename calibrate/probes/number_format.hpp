#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define TESSERA_HOST_DEVICE __host__ __device__
#else
#define TESSERA_HOST_DEVICE
#endif

/// Small number formats, the same on host and device, so that a reference on the CPU sees exactly
/// the values that a kernel reads.
namespace tessera::calibrate::probes {

/// A binary format of sign, exponent and mantissa with bias 2^(exponent_bits - 1) - 1 and
/// subnormals.
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  float largest;  ///< Encoding saturates here.
};

// IEEE 754 and OCP 8-bit / microscaling formats (OCP OFP8 1.0, MX 1.0). Functions, because device
// code cannot refer to host constants of class type.
TESSERA_HOST_DEVICE constexpr FloatFormat bf16_format() { return {8, 7, 3.38953139e38F}; }
TESSERA_HOST_DEVICE constexpr FloatFormat fp16_format() { return {5, 10, 65504.0F}; }
/// No infinity; all ones is NaN.
TESSERA_HOST_DEVICE constexpr FloatFormat e4m3_format() { return {4, 3, 448.0F}; }
/// Neither infinity nor NaN.
TESSERA_HOST_DEVICE constexpr FloatFormat e2m1_format() { return {2, 1, 6.0F}; }

/// Bits of the nearest value of the format (ties to even), saturating. Requires: not a NaN.
TESSERA_HOST_DEVICE inline std::uint32_t encode(const FloatFormat& format, float value) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const std::uint32_t sign = copysignf(1.0F, value) < 0 ? 1U : 0U;
  float magnitude = fabsf(value);
  if (magnitude > format.largest) magnitude = format.largest;
  int exponent = 1 - bias;  // of subnormals
  if (magnitude > 0) {
    int above = 0;
    (void)frexpf(magnitude, &above);  // magnitude in [2^(above-1), 2^above)
    if (above - 1 > exponent) exponent = above - 1;
  }
  // Quanta of the last mantissa bit; the implicit bit, and a carry out of rounding, add into the
  // exponent field by themselves.
  const float quanta = rintf(ldexpf(magnitude, format.mantissa_bits - exponent));
  const std::uint32_t bits =
      (static_cast<std::uint32_t>(exponent + bias - 1) << format.mantissa_bits) +
      static_cast<std::uint32_t>(quanta);
  return sign << (format.exponent_bits + format.mantissa_bits) | bits;
}

TESSERA_HOST_DEVICE inline float decode(const FloatFormat& format, std::uint32_t bits) {
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const std::uint32_t mantissa_mask = (1U << format.mantissa_bits) - 1;
  const std::uint32_t exponent_mask = (1U << format.exponent_bits) - 1;
  const std::uint32_t mantissa = bits & mantissa_mask;
  const std::uint32_t exponent = bits >> format.mantissa_bits & exponent_mask;
  const bool negative = (bits >> (format.exponent_bits + format.mantissa_bits) & 1U) != 0;
  // E4M3 keeps its highest exponent for numbers, all but the last mantissa; E2M1 keeps all.
  const bool special = format.exponent_bits > 4 && exponent == exponent_mask;
  const bool nan =
      (special && mantissa != 0) ||
      (format.exponent_bits == 4 && exponent == exponent_mask && mantissa == mantissa_mask);
  float magnitude = 0;
  if (nan) {
    magnitude = NAN;
  } else if (special) {
    magnitude = INFINITY;
  } else if (exponent == 0) {
    magnitude = ldexpf(static_cast<float>(mantissa), 1 - bias - format.mantissa_bits);
  } else {
    magnitude = ldexpf(static_cast<float>(mantissa + mantissa_mask + 1),
                       static_cast<int>(exponent) - bias - format.mantissa_bits);
  }
  return negative ? -magnitude : magnitude;
}

/// Exponent-only scale of microscaling formats: 2^(bits - 127).
TESSERA_HOST_DEVICE inline float decode_e8m0(std::uint32_t bits) {
  return ldexpf(1.0F, static_cast<int>(bits) - 127);
}

/// The smallest power of two that is not below `value`, as its bits. Requires: value > 0.
TESSERA_HOST_DEVICE inline std::uint32_t encode_e8m0_up(float value) {
  int exponent = 0;
  const float fraction = frexpf(value, &exponent);  // value = fraction 2^exponent, [0.5, 1)
  const int power = fraction == 0.5F ? exponent - 1 : exponent;
  const int clamped = power < -127 ? -127 : (power > 127 ? 127 : power);
  return static_cast<std::uint32_t>(clamped + 127);
}

}  // namespace tessera::calibrate::probes
