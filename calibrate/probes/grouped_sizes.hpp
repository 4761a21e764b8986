#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/probes/sizes.hpp"

namespace tessera::calibrate::probes {

/// Experts of one GPU: `rows` rows of length k go to `experts` weights [n, k].
struct GroupedShape {
  std::int64_t experts, rows, n, k;
};
[[nodiscard]] std::vector<GroupedShape> grouped_shapes(const SizeLimits& limits);

/// Rows of each expert when routing is balanced: the first ones have one more.
[[nodiscard]] std::vector<std::int64_t> balanced_rows(const GroupedShape& shape);
/// The expert that a row belongs to. Requires: row below the sum of `rows`.
[[nodiscard]] std::int64_t expert_of(const std::vector<std::int64_t>& rows, std::int64_t row);

}  // namespace tessera::calibrate::probes
