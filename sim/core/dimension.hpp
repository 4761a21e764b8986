#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/units.hpp"

/// How quantities are written in text: a number, a space, a unit.
namespace tessera::core {

/// A unit that a user may write, in terms of the unit that the program computes in.
struct Unit {
  std::string_view name;
  double scale;
};

/// What can be measured, and the units accepted for it. The first unit is the program's own.
struct Dimension {
  std::string_view noun;    ///< "a size"
  std::vector<Unit> units;  ///< In the order in which messages list them.
  bool whole = false;       ///< Only whole multiples of the program's unit exist.
};

/// The dimension of a quantity type; specialised for every type that may be read.
template <class Q>
[[nodiscard]] const Dimension& dimension_of();
template <>
const Dimension& dimension_of<Bytes>();
template <>
const Dimension& dimension_of<BytesPerSecond>();
template <>
const Dimension& dimension_of<FlopsPerSecond>();
template <>
const Dimension& dimension_of<Hertz>();
template <>
const Dimension& dimension_of<Time>();
template <>
const Dimension& dimension_of<Seconds>();
template <>
const Dimension& dimension_of<Watts>();
template <>
const Dimension& dimension_of<Joules>();
template <>
const Dimension& dimension_of<Usd>();
template <>
const Dimension& dimension_of<Cycles<SmClock>>();
template <>
const Dimension& dimension_of<Cycles<MemoryClock>>();

/// "B, KB, MB or GB".
[[nodiscard]] std::string unit_names(const Dimension& dimension);

/// `value` in the program's unit, written in the largest decimal unit not above it: "80 GB".
[[nodiscard]] std::string format_quantity(double value, const Dimension& dimension);

/// A decimal number without leading zeros, or nothing. Infinite, NaN and overflowing text is
/// nothing.
[[nodiscard]] std::optional<double> parse_number(std::string_view text);

/// Splits "3.35 TB/s" into the number's text and the unit's; the unit is empty when there is none.
struct NumberWithUnit {
  std::string_view number;
  std::string_view unit;
};
[[nodiscard]] NumberWithUnit split_unit(std::string_view text);

}  // namespace tessera::core
