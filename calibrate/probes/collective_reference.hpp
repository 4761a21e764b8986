#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/probes/sizes.hpp"
#include "calibrate/probes/test_pattern.hpp"

namespace tessera::calibrate::probes {

enum class Collective { all_reduce, all_to_all };
[[nodiscard]] const char* collective_name(
    Collective collective);  ///< As measurement files have it.

/// Bytes of one rank's buffer (nccl-tests' size): multiples of 64, so that up to 32 ranks share an
/// all-to-all evenly.
[[nodiscard]] std::vector<std::int64_t> collective_sizes(const SizeLimits& limits);

/// Collectives that are timed in one batch: 100 as nccl-tests does, fewer of hundreds of megabytes.
[[nodiscard]] int collective_iterations(std::int64_t bytes);

/// FP16 bits of a rank's element: a small integer, so that sums of 32 ranks are exact.
TESSERA_HOST_DEVICE inline std::uint32_t collective_input_bits(int rank, std::int64_t index) {
  const std::uint64_t value =
      scrambled(static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(index)) % 16 + 1;
  return encode(fp16_format(), static_cast<float>(value));
}

/// What `rank` of `ranks` has at `index` of `elements` afterwards.
[[nodiscard]] double collective_result(Collective collective, int rank, int ranks,
                                       std::int64_t elements, std::int64_t index);

}  // namespace tessera::calibrate::probes
