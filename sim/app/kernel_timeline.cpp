#include "sim/app/kernel_timeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

namespace tessera::app {
namespace {

constexpr std::size_t kColumns = 64;

double mean_of(const std::vector<double>& values, std::size_t from, std::size_t to) {
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(from);
  const auto last = values.begin() + static_cast<std::ptrdiff_t>(to);
  return std::accumulate(first, last, 0.0) / static_cast<double>(to - from);
}

/// A character a column, higher for more; blank for nothing.
std::string strip(const std::vector<double>& bins, double full) {
  static constexpr std::array<const char*, 9> kLevels = {" ", "▁", "▂", "▃", "▄",
                                                         "▅", "▆", "▇", "█"};
  const std::size_t columns = std::min(kColumns, bins.size());
  std::string text;
  for (std::size_t column = 0; column < columns; ++column) {
    const double value =
        mean_of(bins, column * bins.size() / columns, (column + 1) * bins.size() / columns);
    const auto level = static_cast<std::size_t>(std::ceil(8 * std::min(1.0, value / full)));
    text += kLevels[level];
  }
  return text;
}

/// The mean over time of one part.
double share(const std::vector<float>& part) {
  return std::accumulate(part.begin(), part.end(), 0.0) / static_cast<double>(part.size());
}

}  // namespace

std::string activity_strips(const core::Activity& activity) {
  std::string text = fmt::format(
      "timeline of the main launch, {:.0f} cycles from left to right, every wave simulated\n",
      activity.cycles);
  for (const core::ActivityTrack& track : activity.tracks) {
    const std::vector<double> mean = track.mean();
    // Roles wait together, so their number has no end of scale but its own.
    const bool counts_roles = track.unit.find("roles") != std::string::npos;
    const double full =
        counts_roles ? std::max(1.0, *std::max_element(mean.begin(), mean.end())) : 1.0;
    text += fmt::format("  {:<26}|{}| ", track.name, strip(mean, full));
    const double whole = mean_of(mean, 0, mean.size());
    text += counts_roles ? fmt::format("{:.2f} {}", whole, track.unit)
                         : fmt::format("{:.0f} % {}", 100 * whole, track.unit);
    if (track.parts.size() > 1 && !counts_roles) {
      const auto [least, most] =
          std::minmax_element(track.parts.begin(), track.parts.end(),
                              [](const auto& a, const auto& b) { return share(a) < share(b); });
      text += fmt::format(" (SMs {:.0f} to {:.0f})", 100 * share(*least), 100 * share(*most));
    }
    text += "\n";
  }
  return text;
}

}  // namespace tessera::app
