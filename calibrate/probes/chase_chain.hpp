#pragma once

#include <cstdint>
#include <vector>

namespace tessera::calibrate::probes {

inline constexpr int kLineBytes = 128;     ///< Of L1 and L2 since Volta.
inline constexpr int kChaseLoads = 32768;  ///< In one timed walk: 3 ms and more.

/// next[i] for `lines` lines such that following it from 0 visits every line once before it
/// returns (Sattolo's algorithm): neither a prefetcher nor a row of HBM can guess it.
/// Requires: 2 <= lines < 2^32.
[[nodiscard]] std::vector<std::uint32_t> random_cycle(std::int64_t lines, std::uint64_t seed);

/// Line at which a walk from line 0 is after `loads` steps.
[[nodiscard]] std::uint32_t place_after(const std::vector<std::uint32_t>& next,
                                        std::uint64_t loads);

}  // namespace tessera::calibrate::probes
