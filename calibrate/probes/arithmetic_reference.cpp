#include "calibrate/probes/arithmetic_reference.hpp"

#include <cassert>

namespace tessera::calibrate::probes {

namespace {

float half_plus_one(float x) { return std::fma(x, 0.5F, 1.0F); }

std::uint32_t half_plus_one_bf16(std::uint32_t bits) {
  return encode(bf16_format(), half_plus_one(decode(bf16_format(), bits)));
}

std::uint32_t next(Arithmetic kind, std::uint32_t bits) {
  const auto x = std::bit_cast<float>(bits);
  switch (kind) {
    case Arithmetic::ffma:
      return std::bit_cast<std::uint32_t>(half_plus_one(x));
    case Arithmetic::fma_bf16x2:
      return half_plus_one_bf16(bits >> 16) << 16 | half_plus_one_bf16(bits & 0xFFFFU);
    case Arithmetic::imad:
      return bits * 1664525U + 1013904223U;
    case Arithmetic::ex2:
      return std::bit_cast<std::uint32_t>(std::exp2(-x));
    case Arithmetic::rsqrt:
      return std::bit_cast<std::uint32_t>(1 / std::sqrt(x));
    case Arithmetic::rcp:
      return std::bit_cast<std::uint32_t>(1 / x);
    case Arithmetic::cvt_bf16x2:
      return encode(bf16_format(), x) << 16 | encode(bf16_format(), x);
  }
  assert(false && "an instruction without a reference");
  return bits;
}

}  // namespace

const char* arithmetic_name(Arithmetic kind) {
  static constexpr std::array kNames = {"fma_f32",        "fma_bf16x2",       "mad_u32",
                                        "ex2_approx_f32", "rsqrt_approx_f32", "rcp_approx_f32",
                                        "cvt_bf16x2_f32"};
  return kNames[static_cast<std::size_t>(kind)];
}

const char* arithmetic_dtype(Arithmetic kind) {
  if (kind == Arithmetic::imad) return "int32";
  return kind == Arithmetic::fma_bf16x2 ? "bfloat16" : "float32";
}

double arithmetic_allowed_error(Arithmetic kind) {
  switch (kind) {
    case Arithmetic::ex2:
    case Arithmetic::rsqrt:
      return 1e-5;  // both contract towards a fixed point, errors of 2 ulp do not add up
    case Arithmetic::rcp:
      return 1e-2;  // neither contracts nor grows: at most 1 ulp a step, thousands of steps
    default:
      return 0;
  }
}

std::uint32_t arithmetic_result(Arithmetic kind, int thread, int chain, int steps) {
  std::uint32_t bits = arithmetic_start(kind, thread, chain);
  for (int i = 0; i < steps; ++i) bits = next(kind, bits);
  return bits;
}

double arithmetic_number(Arithmetic kind, std::uint32_t bits) {
  if (kind == Arithmetic::imad) return bits;
  if (kind == Arithmetic::fma_bf16x2)
    return 1024.0 * decode(bf16_format(), bits >> 16) + decode(bf16_format(), bits & 0xFFFFU);
  return std::bit_cast<float>(bits);
}

}  // namespace tessera::calibrate::probes
