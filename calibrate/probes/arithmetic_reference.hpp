#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "calibrate/probes/number_format.hpp"

/// The chains of the arithmetic probe on the CPU.
namespace tessera::calibrate::probes {

enum class Arithmetic { ffma, fma_bf16x2, imad, ex2, rsqrt, rcp, cvt_bf16x2 };
inline constexpr std::array kArithmeticKinds = {
    Arithmetic::ffma,  Arithmetic::fma_bf16x2, Arithmetic::imad,      Arithmetic::ex2,
    Arithmetic::rsqrt, Arithmetic::rcp,        Arithmetic::cvt_bf16x2};

inline constexpr int kArithmeticUnroll = 8;  ///< Steps of each chain in one round of the loop.

[[nodiscard]] const char* arithmetic_name(Arithmetic kind);
[[nodiscard]] const char* arithmetic_dtype(Arithmetic kind);
/// 0 where the result is exact; special functions are approximations by definition (PTX ISA).
[[nodiscard]] double arithmetic_allowed_error(Arithmetic kind);

/// First value of a chain, as bits: numbers in [1, 2) for all kinds but the integer one.
TESSERA_HOST_DEVICE inline std::uint32_t arithmetic_start(Arithmetic kind, int thread, int chain) {
  const auto seed = static_cast<std::uint32_t>(thread * 8 + chain + 1);
  if (kind == Arithmetic::imad) return seed;
  if (kind == Arithmetic::fma_bf16x2) return 0x3F803F80U | (seed & 0x7FU) | (seed & 0x3FU) << 16;
  return 0x3F800000U | (seed * 2654435761U & 0x7FFFFFU);
}

/// The chain's value after `steps` instructions, as bits.
[[nodiscard]] std::uint32_t arithmetic_result(Arithmetic kind, int thread, int chain, int steps);

/// What bits of the kind stand for, for comparison.
[[nodiscard]] double arithmetic_number(Arithmetic kind, std::uint32_t bits);

}  // namespace tessera::calibrate::probes
