#include "calibrate/counter_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "calibrate/ncu_export.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

constexpr std::size_t kListed = 10;        ///< Candidates that a message names.
constexpr std::size_t kShownOfName = 100;  ///< Kernel names run to kilobytes.

using Key = std::tuple<std::string, std::string, std::string>;  ///< Kernel, grid, block.

struct Group {
  std::string first_id;
  std::size_t launches = 0;
  std::map<std::string, std::vector<double>> values;
};

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

/// Whether a kernel of `family` can be what computes an operator.
bool computes(KernelFamily family, const std::string& operator_family) {
  if (operator_family == "gemm") return family == KernelFamily::gemm;
  if (operator_family == "grouped_gemm")
    return family == KernelFamily::gemm || family == KernelFamily::moe;
  if (operator_family == "attention") return family == KernelFamily::attention;
  return true;  // streams and exchanges have no names of their own
}

bool selected(const NcuLaunch& launch, const ImportRules& rules, const std::string& operator_family,
              const std::string& selection) {
  if (selection.empty()) return computes(rules.family(launch.kernel), operator_family);
  if (is_number(selection)) return launch.id == selection;
  return launch.kernel.find(selection) != std::string::npos;
}

std::string list(const std::map<Key, Group>& groups) {
  std::string text;
  std::size_t listed = 0;
  for (const auto& [key, group] : groups) {
    if (listed++ == kListed)
      return text + fmt::format("\n  ... and {} more", groups.size() - kListed);
    text += fmt::format("\n  launch {}: {} grid {}", group.first_id,
                        std::get<0>(key).substr(0, kShownOfName), std::get<1>(key));
  }
  return text;
}

}  // namespace

bool CounterRow::in_percent() const {
  return name.ends_with(".pct") || name.find(".pct_of_peak") != std::string::npos;
}

double CounterRow::difference() const {
  if (in_percent()) return predicted - measured;
  if (measured == 0) return predicted == 0 ? 0 : std::numeric_limits<double>::infinity();
  return predicted / measured - 1;
}

CounterComparison compare_counters(const std::map<std::string, double>& predicted,
                                   std::istream& text, const std::string& file,
                                   const ImportRules& rules, const std::string& operator_family,
                                   const std::string& selection) {
  std::vector<std::string> wanted;
  for (const auto& [name, unused] : predicted) wanted.push_back(name);
  std::map<Key, Group> groups;
  std::size_t launches = 0;
  read_ncu_export(text, file, rules, wanted, [&](const NcuLaunch& launch) {
    ++launches;
    if (!selected(launch, rules, operator_family, selection)) return;
    Group& group = groups[{launch.kernel, launch.grid, launch.block}];
    if (group.launches++ == 0) group.first_id = launch.id;
    for (const auto& [name, value] : launch.metrics) group.values[name].push_back(value);
  });
  const std::string sought = selection.empty()
                                 ? fmt::format("of the family of {}", operator_family)
                                 : fmt::format("that --compare-kernel '{}' names", selection);
  if (groups.empty())
    throw core::ConfigError({file, 0, 0},
                            fmt::format("found {} launches but no kernel {}; expected one, or "
                                        "--compare-kernel NAME",
                                        launches, sought));
  if (groups.size() > 1)
    throw core::ConfigError({file, 0, 0},
                            fmt::format("found {} kernels {}; expected one, chosen by "
                                        "--compare-kernel with a part of its name or the number "
                                        "of a launch:{}",
                                        groups.size(), sought, list(groups)));
  auto& [key, group] = *groups.begin();
  CounterComparison comparison{.kernel = std::get<0>(key),
                               .grid = std::get<1>(key),
                               .block = std::get<2>(key),
                               .launches = group.launches,
                               .rows = {},
                               .missing = {}};
  for (const auto& [name, value] : predicted) {
    const auto found = group.values.find(name);
    if (found == group.values.end()) {
      comparison.missing.push_back(name);
    } else {
      comparison.rows.push_back(
          {.name = name, .predicted = value, .measured = median(found->second)});
    }
  }
  return comparison;
}

}  // namespace tessera::calibrate
