#include "calibrate/probes/verification.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <set>

#include "calibrate/probes/test_pattern.hpp"

namespace tessera::calibrate::probes {

namespace {

constexpr std::int64_t kTile = 128;  ///< Edge of common tiles.

}  // namespace

void RelativeError::add(double found, double expected) {
  empty_ = false;
  finite_ = finite_ && std::isfinite(found) && std::isfinite(expected);
  difference_ += (found - expected) * (found - expected);
  expected_ += expected * expected;
}

double RelativeError::value() const {
  assert(!empty_ && "nothing was compared");
  if (!finite_) return std::numeric_limits<double>::infinity();
  if (difference_ == 0) return 0;
  if (expected_ == 0) return std::numeric_limits<double>::infinity();
  return std::sqrt(difference_ / expected_);
}

std::vector<Place> sampled_places(std::int64_t rows, std::int64_t columns, int count,
                                  std::uint64_t seed) {
  assert(rows > 0 && columns > 0 && count > 0 && "an empty result has no places");
  std::set<Place> places;
  const auto edges = [](std::int64_t extent) {
    return std::vector<std::int64_t>{0, std::min(kTile, extent) - 1, std::min(kTile, extent - 1),
                                     extent - 1};
  };
  for (const std::int64_t row : edges(rows))
    for (const std::int64_t column : edges(columns)) places.insert({row, column});
  const std::int64_t wanted =
      rows > count || columns > count ? count : std::min<std::int64_t>(count, rows * columns);
  const auto span = [](std::int64_t extent) { return static_cast<std::uint64_t>(extent); };
  for (std::uint64_t i = 0; static_cast<std::int64_t>(places.size()) < wanted; ++i)
    places.insert({static_cast<std::int64_t>(scrambled(seed, 2 * i) % span(rows)),
                   static_cast<std::int64_t>(scrambled(seed, 2 * i + 1) % span(columns))});
  return {places.begin(), places.end()};
}

}  // namespace tessera::calibrate::probes
