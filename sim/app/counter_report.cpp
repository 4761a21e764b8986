#include "sim/app/counter_report.hpp"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "calibrate/ncu_export.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

constexpr std::size_t kShownOfName = 100;  ///< Kernel names run to kilobytes.

std::string shown_difference(const calibrate::CounterRow& row) {
  const double difference = row.difference();
  if (row.in_percent()) return fmt::format("{:+.1f} points", difference);
  if (!std::isfinite(difference)) return "measured 0";
  return fmt::format("{:+.1f} %", 100 * difference);
}

}  // namespace

calibrate::CounterComparison compare_with_ncu(const gpu::KernelResult& result,
                                              const std::string& operator_family,
                                              const std::string& path,
                                              const std::string& selection) {
  constexpr double kNanosecondsPerMicrosecond = 1e3;
  std::map<std::string, double> predicted = result.counters;
  predicted[calibrate::kNcuDuration] =
      core::to_microseconds(result.time) * kNanosecondsPerMicrosecond;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw core::ConfigError({path, 0, 0}, "cannot be read; expected a file of ncu --csv");
  return calibrate::compare_counters(predicted, file, path, calibrate::ImportRules::load(),
                                     operator_family, selection);
}

std::string comparison_table(const calibrate::CounterComparison& comparison) {
  std::string text = fmt::format("against {} {} of {}{}\n", comparison.launches,
                                 comparison.launches == 1 ? "launch" : "launches",
                                 comparison.kernel.substr(0, kShownOfName),
                                 comparison.grid.empty() ? "" : ", grid " + comparison.grid);
  text +=
      fmt::format("  {:<60}{:>14}{:>14}{:>16}\n", "counter", "predicted", "measured", "difference");
  for (const calibrate::CounterRow& row : comparison.rows)
    text += fmt::format("  {:<60}{:>14.6g}{:>14.6g}{:>16}\n", row.name, row.predicted, row.measured,
                        shown_difference(row));
  if (!comparison.missing.empty()) text += "predicted, but not in the export\n";
  for (const std::string& name : comparison.missing) text += fmt::format("  {}\n", name);
  text +=
      "note: Nsight Compute flushes caches and holds the SM at its base clock unless run with "
      "--cache-control none --clock-control none; cycles compare better than time\n";
  return text;
}

std::string with_comparison(const std::string& kernel_json,
                            const calibrate::CounterComparison& comparison) {
  auto json = nlohmann::ordered_json::parse(kernel_json);
  auto& added = json["comparison"];
  added = {{"kernel", comparison.kernel},
           {"grid", comparison.grid},
           {"block", comparison.block},
           {"launches", comparison.launches},
           {"counters", nlohmann::ordered_json::object()},
           {"missing", comparison.missing}};
  for (const calibrate::CounterRow& row : comparison.rows) {
    auto& counter = added["counters"][row.name];
    counter = {{"predicted", row.predicted}, {"measured", row.measured}};
    const bool finite = std::isfinite(row.difference());
    counter[row.in_percent() ? "difference_points" : "relative_difference"] =
        finite ? nlohmann::ordered_json(row.difference()) : nlohmann::ordered_json();
  }
  return json.dump(2) + "\n";
}

}  // namespace tessera::app
