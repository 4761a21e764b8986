#include "calibrate/probes/repeat_statistics.hpp"

#include <algorithm>
#include <cassert>

namespace tessera::calibrate::probes {

namespace {

/// Value at `quantile` in [0, 1] of ascending values.
double at_quantile(const std::vector<double>& sorted, double quantile) {
  const double position = quantile * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double weight = position - static_cast<double>(below);
  return sorted[below] * (1 - weight) + sorted[above] * weight;
}

}  // namespace

RepeatStatistics summarize(std::vector<double> repeats) {
  assert(!repeats.empty() && "a measurement without repeats has no statistics");
  std::sort(repeats.begin(), repeats.end());
  return {.count = repeats.size(),
          .minimum = repeats.front(),
          .p10 = at_quantile(repeats, 0.1),
          .median = at_quantile(repeats, 0.5),
          .p90 = at_quantile(repeats, 0.9),
          .maximum = repeats.back()};
}

RepeatStatistics scaled(RepeatStatistics statistics, double factor) {
  assert(factor > 0 && "a factor that is not positive turns the order around");
  for (double* value : {&statistics.minimum, &statistics.p10, &statistics.median, &statistics.p90,
                        &statistics.maximum})
    *value *= factor;
  return statistics;
}

}  // namespace tessera::calibrate::probes
