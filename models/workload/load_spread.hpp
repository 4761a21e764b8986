#pragma once

#include <cstdint>
#include <vector>

namespace tessera::workload {

/// How unequal loads are.
struct LoadSpread {
  double mean = 0;
  double standard_deviation = 0;  ///< Of these loads, not of a population behind them.
  double imbalance = 0;           ///< (largest - mean) / mean.
};

/// Requires: at least one load, and not all of them 0.
[[nodiscard]] LoadSpread spread_of(const std::vector<double>& loads);

/// Whole rows in proportion to `shares`, summing to `total`; remainders go to the largest
/// fractions, the earlier of equals first.
[[nodiscard]] std::vector<std::int64_t> apportion(const std::vector<double>& shares,
                                                  std::int64_t total);

}  // namespace tessera::workload
