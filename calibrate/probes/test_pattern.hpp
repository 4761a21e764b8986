#pragma once

#include <cstdint>

#include "calibrate/probes/number_format.hpp"

/// Random-looking data that is a function of position alone: a kernel fills a matrix of gigabytes
/// with it, and the CPU recomputes any element without a copy. Never zeros: they switch fewer
/// transistors and run at higher clocks than real data.
namespace tessera::calibrate::probes {

/// The finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014) over seed and index.
TESSERA_HOST_DEVICE inline std::uint64_t scrambled(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t x = index + 0x9E3779B97F4A7C15ULL * (seed + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// Uniform in [-1, 1), a multiple of 2^-23.
TESSERA_HOST_DEVICE inline float uniform_value(std::uint64_t seed, std::uint64_t index) {
  const auto high = static_cast<std::uint32_t>(scrambled(seed, index) >> 40);  // 24 bits
  return static_cast<float>(static_cast<std::int32_t>(high) - (1 << 23)) / 8388608.0F;
}

/// A scale of 1/4, 1/2, 1, 2 or 4: exact in every scale format, so that errors are the kernel's.
TESSERA_HOST_DEVICE inline int scale_exponent(std::uint64_t seed, std::uint64_t index) {
  return static_cast<int>(scrambled(seed, index) % 5) - 2;
}

}  // namespace tessera::calibrate::probes
