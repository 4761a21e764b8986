#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sim/core/result.hpp"

/// Numbers as people read them: four digits, a fitting prefix, the unit always there.
namespace tessera::reports {

/// What turns a number of a unit into a readable one: shown = value * factor, followed by `unit`.
struct Scale {
  double factor = 1;
  std::string unit;
};

/// The scale that brings `value` near 1 to 1,000: seconds to ns ... days, bytes to GB (10^9),
/// FLOP/s to TFLOP/s, ratios ("1") to percent, amounts to M. Unknown units stay as they are.
[[nodiscard]] Scale scale_for(double value, const std::string& unit);

/// About four significant digits, thousands grouped: "19.93", "2,664", "0.0421", "-" for NaN.
[[nodiscard]] std::string number(double value);

/// A whole number without a decimal point; others as `number`.
[[nodiscard]] std::string count(double value);

[[nodiscard]] std::string quantity(double value, const std::string& unit);  ///< "19.93 s"
[[nodiscard]] std::string interval(const core::Estimate& estimate);         ///< "18.9 to 21.0 s"
[[nodiscard]] std::string signed_percent(double ratio);                     ///< "+5.4 %"

/// The unit to show a named quantity in: parts of a whole ("mfu_...", "bubble_fraction") of unit
/// "1" are a "fraction".
[[nodiscard]] std::string shown_unit(const std::string& name, const std::string& unit);
/// The estimate in its `shown_unit`.
[[nodiscard]] core::Estimate shown(const std::string& name, core::Estimate estimate);

/// "tensor 61 %, hbm 30 %, ...": shares of a whole; those below half a percent are left out.
[[nodiscard]] std::string shares_text(const std::vector<std::pair<std::string, double>>& shares);

/// A name of code as words: "step_time" is "Step time", "mfu" is "MFU".
[[nodiscard]] std::string label(const std::string& name);

}  // namespace tessera::reports
