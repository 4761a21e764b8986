#include "models/training/slowest_part.hpp"

#include <cmath>
#include <numbers>

namespace tessera::training {

double normal_upper(double tail) {
  double low = -10, high = 40;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(middle / std::numbers::sqrt2) > tail ? low : high) = middle;
  }
  return (low + high) / 2;
}

double expected_largest(int count) {
  if (count <= 1) return 0;
  return normal_upper(1 - (count - 0.375) / (count + 0.25));
}

}  // namespace tessera::training
