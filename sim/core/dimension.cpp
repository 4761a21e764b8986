#include "sim/core/dimension.hpp"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <cmath>

#include "sim/core/spelling.hpp"

namespace tessera::core {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Length of the number at the start of `text`: [-+]digits[.digits][e[-+]digits].
std::size_t number_length(std::string_view text) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t start = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i > start;
  };
  if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
  if (!digits()) return 0;
  if (i + 1 < text.size() && text[i] == '.' && is_digit(text[i + 1])) {
    ++i;
    digits();
  }
  const std::size_t mantissa = i;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (!digits()) i = mantissa;
  }
  return i;
}

bool has_leading_zero(std::string_view number) {
  if (!number.empty() && (number[0] == '-' || number[0] == '+')) number.remove_prefix(1);
  return number.size() > 1 && number[0] == '0' && is_digit(number[1]);
}

}  // namespace

template <>
const Dimension& dimension_of<Bytes>() {
  static const Dimension dimension{"a size",
                                   {{"B", 1},
                                    {"KB", 1e3},
                                    {"MB", 1e6},
                                    {"GB", 1e9},
                                    {"TB", 1e12},
                                    {"KiB", 1024.0},
                                    {"MiB", 1024.0 * 1024},
                                    {"GiB", 1024.0 * 1024 * 1024},
                                    {"TiB", 1024.0 * 1024 * 1024 * 1024}},
                                   true};
  return dimension;
}
template <>
const Dimension& dimension_of<BytesPerSecond>() {
  static const Dimension dimension{"a rate",
                                   {{"B/s", 1},
                                    {"KB/s", 1e3},
                                    {"MB/s", 1e6},
                                    {"GB/s", 1e9},
                                    {"TB/s", 1e12},
                                    {"Gb/s", 1e9 / 8},
                                    {"Tb/s", 1e12 / 8}}};
  return dimension;
}
template <>
const Dimension& dimension_of<FlopsPerSecond>() {
  static const Dimension dimension{
      "a rate",
      {{"FLOP/s", 1}, {"GFLOP/s", 1e9}, {"TFLOP/s", 1e12}, {"PFLOP/s", 1e15}, {"EFLOP/s", 1e18}}};
  return dimension;
}
template <>
const Dimension& dimension_of<Hertz>() {
  static const Dimension dimension{"a frequency",
                                   {{"Hz", 1}, {"kHz", 1e3}, {"MHz", 1e6}, {"GHz", 1e9}}};
  return dimension;
}
template <>
const Dimension& dimension_of<Time>() {
  static const Dimension dimension{"a time",
                                   {{"ps", 1}, {"ns", 1e3}, {"us", 1e6}, {"ms", 1e9}, {"s", 1e12}}};
  return dimension;
}
template <>
const Dimension& dimension_of<Seconds>() {
  static const Dimension dimension{
      "a duration",
      {{"s", 1}, {"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"min", 60}, {"h", 3600}, {"d", 86400}}};
  return dimension;
}
template <>
const Dimension& dimension_of<Watts>() {
  static const Dimension dimension{"a power", {{"W", 1}, {"kW", 1e3}, {"MW", 1e6}}};
  return dimension;
}
template <>
const Dimension& dimension_of<Joules>() {
  static const Dimension dimension{
      "an energy", {{"J", 1}, {"kJ", 1e3}, {"MJ", 1e6}, {"kWh", 3.6e6}, {"MWh", 3.6e9}}};
  return dimension;
}
template <>
const Dimension& dimension_of<Usd>() {
  static const Dimension dimension{"an amount of money", {{"USD", 1}}};
  return dimension;
}
template <>
const Dimension& dimension_of<Cycles<SmClock>>() {
  static const Dimension dimension{"a number of cycles", {{"cycles", 1}}, true};
  return dimension;
}
template <>
const Dimension& dimension_of<Cycles<MemoryClock>>() {
  return dimension_of<Cycles<SmClock>>();
}

std::string unit_names(const Dimension& dimension) {
  std::vector<std::string> names;
  for (const Unit& unit : dimension.units) names.emplace_back(unit.name);
  return join_names(names);
}

std::string format_quantity(double value, const Dimension& dimension) {
  const Unit* chosen = &dimension.units.front();
  for (const Unit& unit : dimension.units) {
    const bool decimal = unit.name.find('i') != 1 && unit.name.find('b') == std::string_view::npos;
    if (decimal && unit.scale > chosen->scale && std::abs(value) >= unit.scale) chosen = &unit;
  }
  return fmt::format("{:.6g} {}", value / chosen->scale, chosen->name);
}

std::optional<double> parse_number(std::string_view text) {
  if (text.empty() || number_length(text) != text.size() || has_leading_zero(text))
    return std::nullopt;
  if (text[0] == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

NumberWithUnit split_unit(std::string_view text) {
  const std::size_t length = number_length(text);
  std::string_view unit = text.substr(length);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  return {text.substr(0, length), unit};
}

}  // namespace tessera::core
