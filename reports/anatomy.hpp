#pragma once

#include <string>
#include <vector>

#include "sim/core/result.hpp"

/// What number formats cost: a step's kernels by what they are for.
namespace tessera::reports {

/// Kernels of one purpose on the busiest rank, in a step.
struct AnatomyRow {
  std::string line;    ///< "products in fp8_block", "attention in bf16", "casts", "transposes", ...
  double forward = 0;  ///< Seconds, as the next four.
  double input_gradient = 0;  ///< Recomputation included.
  double weight_gradient = 0;
  double optimizer = 0;
  double hbm_bytes = 0;

  [[nodiscard]] double seconds() const {
    return forward + input_gradient + weight_gradient + optimizer;
  }
};

/// Products by number format, the longest first, then attention, then what the formats bring along
/// (casts, casts both ways, transposes, maxima, orders of scales), then the rest. Empty when no
/// product is in fewer than 16 bits.
[[nodiscard]] std::vector<AnatomyRow> precision_anatomy(const core::Result& result);

}  // namespace tessera::reports
