#include "calibrate/neighbours.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::calibrate {

namespace {

constexpr std::size_t kFewest = 3, kMost = 5;
constexpr double kFar = 4;  ///< Factor between two shapes, all sizes together.

/// Log of the factor between two rows' sizes; none where they differ in anything else.
std::optional<double> distance(const CsvTable& table, std::size_t a, std::size_t b) {
  for (const char* column : {"gpu", "framework", "op", "dtype", "kernel", "kv_dtype", "routing"})
    if (table.text(a, column) != table.text(b, column)) return std::nullopt;
  double far = 0;
  for (const std::string_view column : shape_columns()) {
    const std::string_view one = table.text(a, column), other = table.text(b, column);
    if (one == other) continue;
    const auto x = table.number(a, column), y = table.number(b, column);
    if (!x || !y || *x <= 0 || *y <= 0) return std::nullopt;
    far += std::abs(std::log(*x / *y));
  }
  return far;
}

}  // namespace

std::optional<double> error_of_neighbours(const ScoredFile& file, const Scored& number) {
  std::vector<std::pair<double, double>> near;  // distance, error
  for (const Scored& other : file.numbers) {
    if (other.row == number.row || !other.predicted || other.part != number.part) continue;
    const auto far = distance(file.table, number.row, other.row);
    if (far && *far <= std::log(kFar)) near.emplace_back(*far, other.error());
  }
  if (near.size() < kFewest) return std::nullopt;
  std::stable_sort(near.begin(), near.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  near.resize(std::min(near.size(), kMost));
  std::vector<double> errors;
  for (const auto& [far, error] : near) errors.push_back(error);
  return quantile(errors, 0.5);
}

std::string company(const ScoredFile& file, const Scored& number) {
  const std::optional<double> others = error_of_neighbours(file, number);
  if (!others) return "-";
  const bool together =
      *others * number.error() > 0 && std::abs(*others) >= std::abs(number.error()) / 2;
  return fmt::format("{} ({:+.0f} %)", together ? "with others" : "alone", 100 * *others);
}

}  // namespace tessera::calibrate
