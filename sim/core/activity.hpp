#pragma once

#include <string>
#include <vector>

namespace tessera::core {

/// One kind of activity over time: on every part that has it (an SM each), or on one that all
/// share.
struct ActivityTrack {
  std::string name;  ///< "tensor pipe"
  std::string unit;  ///< What 1 means: "of its cycles", "roles waiting".
  /// [part][bin], mean over the bin's cycles; one part when it is shared.
  std::vector<std::vector<float>> parts;

  /// Mean over the parts, a number a bin.
  [[nodiscard]] std::vector<double> mean() const {
    std::vector<double> sums(parts.empty() ? 0 : parts.front().size(), 0.0);
    for (const auto& part : parts)
      for (std::size_t bin = 0; bin < sums.size(); ++bin) sums[bin] += part[bin];
    for (double& sum : sums) sum /= static_cast<double>(parts.size());
    return sums;
  }
};

/// What the parts of a machine did over time, in bins of equal width.
struct Activity {
  double cycles = 0;
  double bin_cycles = 1;
  std::vector<ActivityTrack> tracks;
};

}  // namespace tessera::core
