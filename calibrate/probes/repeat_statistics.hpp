#pragma once

#include <cstddef>
#include <vector>

namespace tessera::calibrate::probes {

/// What repeats of one measurement say. The median is reported; the others are its spread.
struct RepeatStatistics {
  std::size_t count = 0;
  double minimum = 0;
  double p10 = 0;
  double median = 0;
  double p90 = 0;
  double maximum = 0;

  /// (p90 - p10) / median.
  [[nodiscard]] double spread() const { return median > 0 ? (p90 - p10) / median : 0.0; }
};

/// Order statistics with linear interpolation between neighbours. Requires: not empty.
[[nodiscard]] RepeatStatistics summarize(std::vector<double> repeats);

/// The statistics of every repeat times `factor`. Requires: factor > 0.
[[nodiscard]] RepeatStatistics scaled(RepeatStatistics statistics, double factor);

}  // namespace tessera::calibrate::probes
