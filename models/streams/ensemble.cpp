#include "models/streams/ensemble.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace tessera::streams {

core::Estimate estimate_of(double value, const std::vector<double>& varied, std::string unit,
                           core::Grade grade) {
  assert(varied.size() % 2 == 0 && "each family has a lower and an upper run");
  double below = 0, above = 0;
  for (std::size_t family = 0; family < varied.size(); family += 2) {
    const double a = varied[family] - value;
    const double b = varied[family + 1] - value;
    const double down = std::min({a, b, 0.0});
    const double up = std::max({a, b, 0.0});
    below += down * down;
    above += up * up;
  }
  return {value, std::max(0.0, value - std::sqrt(below)), value + std::sqrt(above), std::move(unit),
          grade};
}

}  // namespace tessera::streams
