#pragma once

#include <cstdint>

#include "models/device/device_spec.hpp"
#include "models/streams/costs.hpp"

/// GPUs of one kind differ, and those that exchange what they compute wait for the slowest.
namespace tessera::streams {

/// Standard deviation, over the mean, of how long GPUs of one kind take at their power limit.
// derived: 8 % between GPUs of a cluster (arXiv 2208.11035, 5 clusters, mean; 22 % at most), taken
// as the 5.4 deviations between the whiskers of normal values; work that the limit does not bind
// varies little there
inline constexpr double kPartSpread = 0.015;

/// Deviation above the mean, in standard deviations, that a normal value exceeds with `tail`.
[[nodiscard]] double normal_upper(double tail);

/// Expected largest of `count` values of a normal distribution, in standard deviations above the
/// mean (Blom's approximation, within 1 % of the exact 1.424 of 8 and 2.508 of 100); 0 of one.
[[nodiscard]] double expected_largest(std::int64_t count);

/// Takes a kernel's result as the mean GPU's and sets `cost.result` and `cost.time` to what the
/// slowest of `gpus` takes; its interval and family are kept. Only kernels at the power limit
/// change.
void wait_for_slowest(KernelCost& cost, const device::DeviceSpec& device, double spread,
                      std::int64_t gpus);

}  // namespace tessera::streams
