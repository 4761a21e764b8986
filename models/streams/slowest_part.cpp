#include "models/streams/slowest_part.hpp"

#include <cmath>
#include <numbers>

namespace tessera::streams {

namespace {

/// The most that GPUs of one cluster differ, over the mean of clusters: 22 of 8 % (arXiv
/// 2208.11035).
constexpr double kWidestSpread = 22.0 / 8;

core::Time times(core::Time time, double factor) {
  return core::Time{std::llround(static_cast<double>(time.value()) * factor)};
}

}  // namespace

double normal_upper(double tail) {
  double low = -10, high = 40;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(middle / std::numbers::sqrt2) > tail ? low : high) = middle;
  }
  return (low + high) / 2;
}

double expected_largest(std::int64_t count) {
  if (count <= 1) return 0;
  const auto n = static_cast<double>(count);
  return normal_upper(1 - (n - 0.375) / (n + 0.25));
}

void wait_for_slowest(KernelCost& cost, const device::DeviceSpec& device, double spread,
                      std::int64_t gpus) {
  gpu::KernelResult& result = cost.result;
  const bool limited = result.clock.value() > 0 && result.clock < device.clock.boost;
  const double slower = spread * expected_largest(gpus);
  if (!limited || slower == 0) return;
  cost.time.parts = {result.time, times(result.time, 1 + kWidestSpread * slower)};
  for (core::Time* time : {&result.time, &result.lower, &result.upper})
    *time = times(*time, 1 + slower);
  result.clock = result.clock / (1 + slower);
  cost.time.value = result.time;
  cost.time.lower = result.lower;
  cost.time.upper = result.upper;
}

}  // namespace tessera::streams
