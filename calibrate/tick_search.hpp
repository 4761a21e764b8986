#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/measured_call.hpp"

/// Harness constants of clocks that move in steps. A fit of times before they are read cannot see
/// on which side of a step its constants put them.
namespace tessera::calibrate {

/// A timed call and what the fit says of it.
struct TickedRow {
  const MeasuredCall* call = nullptr;
  double total_us = 0;  ///< Predicted, before it is read off the clock.
  double measured_us = 0;
};

/// What to add to each constant that calls with a clock in steps have, in microseconds, so that
/// their readings meet the measured ones best: constant by constant, twice, each time at most a
/// step either way. A call with choices is settled before.
/// Errors of the logarithm beyond `robust_scale` count less and less, as in the fit.
[[nodiscard]] std::map<std::string, double> tick_shifts(const std::vector<TickedRow>& rows,
                                                        double robust_scale);

}  // namespace tessera::calibrate
