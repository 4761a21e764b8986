#include "models/workload/load_spread.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace tessera::workload {

LoadSpread spread_of(const std::vector<double>& loads) {
  const auto count = static_cast<double>(loads.size());
  LoadSpread spread;
  spread.mean = std::accumulate(loads.begin(), loads.end(), 0.0) / count;
  double squares = 0;
  for (const double load : loads) squares += (load - spread.mean) * (load - spread.mean);
  spread.standard_deviation = std::sqrt(squares / count);
  spread.imbalance = *std::max_element(loads.begin(), loads.end()) / spread.mean - 1;
  return spread;
}

std::vector<std::int64_t> apportion(const std::vector<double>& shares, std::int64_t total) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<std::int64_t> rows(shares.size());
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t given = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double share = shares[i] / sum * static_cast<double>(total);
    rows[i] = static_cast<std::int64_t>(share);
    given += rows[i];
    remainders.emplace_back(-(share - static_cast<double>(rows[i])), i);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::int64_t i = 0; i < total - given; ++i)
    ++rows[remainders[static_cast<std::size_t>(i) % remainders.size()].second];
  return rows;
}

}  // namespace tessera::workload
