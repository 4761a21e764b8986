#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

/// Draws that are the same on every machine; the standard library's distributions promise less.
namespace tessera::workload {

/// Uniform in (0, 1).
inline double draw_uniform(std::mt19937_64& generator) {
  constexpr double kUlp = 1.0 / 9007199254740992.0;  // 2^-53
  return (static_cast<double>(generator() >> 11) + 0.5) * kUlp;
}

/// Normal of mean 0 and variance 1 (Box and Muller, 1958).
inline double draw_normal(std::mt19937_64& generator) {
  const double radius = std::sqrt(-2 * std::log(draw_uniform(generator)));
  return radius * std::cos(2 * std::numbers::pi * draw_uniform(generator));
}

/// The seed of draw `index` of a family; that of draw 0 is `seed` itself.
inline std::uint64_t seed_of(std::uint64_t seed, std::int64_t index) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;  // 2^64 over the golden ratio
  return seed + kGolden * static_cast<std::uint64_t>(index);
}

}  // namespace tessera::workload
