#pragma once

namespace tessera::training {

/// Deviation above the mean, in standard deviations, that a normal value exceeds with `tail`.
[[nodiscard]] double normal_upper(double tail);

/// Expected largest of `count` values of a normal distribution, in standard deviations above the
/// mean (Blom's approximation, within 1 % of the exact 1.424 of 8 and 2.508 of 100); 0 of one.
[[nodiscard]] double expected_largest(int count);

}  // namespace tessera::training
