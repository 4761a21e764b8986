#include "calibrate/scoreboard.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

/// A measured column and the stem of its predictions: "predicted_us" for latency_us, else the
/// column's own name.
struct Part {
  std::string name;
  std::string measured;
  std::string stem;
};

std::vector<Part> parts_of(const CsvTable& table) {
  if (table.has("dispatch_us"))
    return {{"dispatch", "dispatch_us", "dispatch_us"}, {"combine", "combine_us", "combine_us"}};
  if (table.has("power_w")) return {{"", "latency_us", "us"}, {"power", "power_w", "power_w"}};
  return {{"", "latency_us", "us"}};
}

std::optional<double> positive(const CsvTable& table, std::size_t row, const std::string& column) {
  const auto value = table.number(row, column);
  return value && std::isfinite(*value) && *value > 0 ? value : std::nullopt;
}

std::string key_of(std::string_view file, const CsvTable& table, std::size_t row) {
  return fmt::format("{}|{}|{}|{}|{}", file, table.text(row, "framework"),
                     table.text(row, "kernel"), table.text(row, "dtype"),
                     table.text(row, "kv_dtype"));
}

std::string floor_key(const CsvTable& table, std::size_t row, const Part& part) {
  return fmt::format("{}|{}|{}|{}", table.text(row, "gpu"), table.text(row, "framework"),
                     table.text(row, "dtype"), part.name);
}

GroupScore summary(const std::vector<const Scored*>& numbers) {
  GroupScore score{.rows = numbers.size()};
  std::vector<double> errors, sizes;
  for (const Scored* number : numbers) {
    if (!number->predicted) continue;
    errors.push_back(number->error());
    sizes.push_back(std::abs(number->error()));
    if (!number->lower || !number->upper) continue;
    ++score.with_interval;
    if (*number->lower <= number->measured && number->measured <= *number->upper) ++score.inside;
  }
  score.predicted = errors.size();
  score.median = quantile(sizes, 0.5);
  score.p90 = quantile(sizes, 0.9);
  score.max = quantile(sizes, 1.0);
  score.bias = quantile(errors, 0.5);
  return score;
}

}  // namespace

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

ImplementationUses ImplementationUses::load(const std::string& folder) {
  ImplementationUses uses;
  const std::string path = folder + "/implementations.csv";
  if (!std::filesystem::exists(path)) return uses;
  const CsvTable table = CsvTable::load(path);
  const std::map<std::string_view, Use> names = {
      {"score", Use::score}, {"library", Use::library}, {"distrust", Use::distrust}};
  for (std::size_t row = 0; row < table.size(); ++row) {
    const auto found = names.find(table.text(row, "use"));
    if (found == names.end())
      throw core::ConfigError({path, static_cast<int>(row) + 2, 1},
                              fmt::format("use: found '{}'; expected score, library or distrust",
                                          table.text(row, "use")));
    const std::string key = key_of(table.text(row, "file"), table, row);
    uses.uses_.try_emplace(key, found->second);  // for a GPU that it does not name
    uses.uses_[fmt::format("{}|{}", key, table.text(row, "gpu"))] = found->second;
  }
  return uses;
}

Use ImplementationUses::of(const std::string& file, const CsvTable& table, std::size_t row) const {
  if (file == "comm_deepep_normal" && table.text(row, "nodes") == "8" && !uses_.empty())
    return Use::distrust;
  const std::string key = key_of(file, table, row);
  if (const auto own = uses_.find(fmt::format("{}|{}", key, table.text(row, "gpu")));
      own != uses_.end())
    return own->second;
  const auto any = uses_.find(key);
  return any == uses_.end() ? Use::score : any->second;
}

Floors floors_of(const CsvTable& table) {
  Floors smallest;
  for (std::size_t row = 0; row < table.size(); ++row)
    for (const Part& part : parts_of(table))
      if (const auto measured = positive(table, row, part.measured)) {
        double& floor = smallest.try_emplace(floor_key(table, row, part), *measured).first->second;
        floor = std::min(floor, *measured);
      }
  return smallest;
}

std::string group_of(const ScoredFile& file, const Scored& number,
                     const std::vector<std::string>& by) {
  std::vector<std::string> values;
  for (const std::string& column : by) {
    std::string value =
        column == "file" ? file.file : std::string{file.table.text(number.row, column)};
    values.push_back(value.empty() ? "-" : std::move(value));
  }
  if (!number.part.empty()) values.push_back(number.part);
  return fmt::format("{}", fmt::join(values, " "));
}

ScoredFile score_file(std::string file, CsvTable table, const Floors& floors,
                      const ImplementationUses& uses) {
  const std::vector<Part> parts = parts_of(table);
  std::vector<Scored> numbers;
  for (std::size_t row = 0; row < table.size(); ++row)
    for (const Part& part : parts) {
      const auto measured = positive(table, row, part.measured);
      if (!measured) continue;
      numbers.push_back({.row = row,
                         .part = part.name,
                         .measured = *measured,
                         .predicted = positive(table, row, "predicted_" + part.stem),
                         .lower = positive(table, row, "lower_" + part.stem),
                         .upper = positive(table, row, "upper_" + part.stem),
                         .over_floor = *measured / floors.at(floor_key(table, row, part)),
                         .use = uses.of(file, table, row)});
    }
  return {std::move(file), std::move(table), std::move(numbers)};
}

bool selected(const ScoredFile& file, const Scored& number, const ScoreSelection& selection) {
  return number.use == selection.use && number.over_floor >= selection.above_floor &&
         (!selection.half || half(file.table, number.row) == *selection.half);
}

std::map<std::string, GroupScore> score_groups(const ScoredFile& file,
                                               const ScoreSelection& selection) {
  std::map<std::string, std::vector<const Scored*>> members;
  for (const Scored& number : file.numbers)
    if (selected(file, number, selection))
      members[group_of(file, number, selection.by)].push_back(&number);
  std::map<std::string, GroupScore> scores;
  for (const auto& [group, numbers] : members) scores[group] = summary(numbers);
  return scores;
}

}  // namespace tessera::calibrate
