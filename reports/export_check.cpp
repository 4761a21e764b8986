#include "reports/export_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace tessera::reports {
namespace {

using core::DataType;
using device::DeviceSpec;
using device::ExportCriterion;
using device::ExportFigure;
using device::ExportProng;
using device::ExportRule;
using device::ExportRuleKind;
using device::ExportRules;

constexpr double kPerTera = 1e-12;
constexpr const char* kNotControlled = "not controlled";
constexpr const char* kNoRule = "no rule in force";
/// Just below a threshold.
constexpr double kLess = 1 - 1e-9;

/// Types that the tensor cores multiply as they are; the others are one of these with scales around
/// it or weights unpacked before it.
constexpr DataType kMultiplied[] = {DataType::fp32,  DataType::tf32,  DataType::bf16,
                                    DataType::fp16,  DataType::fp8,   DataType::mxfp8,
                                    DataType::mxfp4, DataType::nvfp4, DataType::int8};

double bits(DataType type) {
  return std::max(core::activation_bits(type), core::weight_bits(type));
}

/// FLOP x bits of one SM in a cycle, at most over types.
double most_bit_operations(const DeviceSpec& device) {
  double most = 0;
  for (const DataType type : kMultiplied)
    if (const auto found = device.sm.tensor_flops.find(type); found != device.sm.tensor_flops.end())
      most = std::max(most, found->second * bits(type));
  return most;
}

void add_die_area(ExportFigures& figures, const DeviceSpec& device, const ExportRules& rules) {
  const auto& known = rules.non_planar_processes;
  if (!device.die.area_mm2)
    figures.die_area_note = "unknown: the description has none";
  else if (std::find(known.begin(), known.end(), device.die.process) == known.end())
    figures.die_area_note = fmt::format(
        "unknown: '{}' is not among the processes known as non-planar, whose dies count",
        device.die.process);
  else {
    figures.die_area_mm2 = device.die.area_mm2;
    figures.performance_density = figures.tpp / *device.die.area_mm2;
    figures.die_area_note = device.die.area_confirmed ? "confirmed" : "unconfirmed";
  }
}

Verdict holds(bool condition) { return condition ? Verdict::met : Verdict::not_met; }

Verdict verdict_of(const ExportCriterion& criterion, const ExportFigures& figures) {
  const auto value = figures.of(criterion.figure);
  if (!value) return Verdict::unknown;
  return holds((!criterion.at_least || *value >= *criterion.at_least) &&
               (!criterion.below || *value < *criterion.below));
}

Verdict verdict_of(const ExportProng& prong, const ExportFigures& figures) {
  Verdict verdict = Verdict::met;
  for (const ExportCriterion& criterion : prong) {
    const Verdict one = verdict_of(criterion, figures);
    if (one == Verdict::not_met) return one;
    if (one == Verdict::unknown) verdict = one;
  }
  return verdict;
}

Verdict verdict_of(const ExportRule& rule, const std::string& device,
                   const ExportFigures& figures) {
  const auto& named = rule.devices;
  if (std::find(named.begin(), named.end(), device) != named.end()) return Verdict::met;
  Verdict verdict = Verdict::not_met;
  for (const ExportProng& prong : rule.any_of) {
    const Verdict one = verdict_of(prong, figures);
    if (one == Verdict::met) return one;
    if (one == Verdict::unknown) verdict = one;
  }
  return verdict;
}

void add_margins(std::vector<ExportMargin>& margins, const ExportRule& rule,
                 const ExportFigures& figures) {
  for (std::size_t prong = 0; prong < rule.any_of.size(); ++prong) {
    for (const ExportCriterion& criterion : rule.any_of[prong]) {
      const auto value = figures.of(criterion.figure);
      const auto add = [&](double threshold, bool at_least) {
        ExportMargin margin{&rule,     prong, criterion.figure, at_least,
                            threshold, value, std::nullopt,     Verdict::unknown};
        if (value) {
          margin.margin = *value / threshold - 1;
          margin.verdict = holds(at_least ? *value >= threshold : *value < threshold);
        }
        margins.push_back(margin);
      };
      if (criterion.at_least) add(*criterion.at_least, true);
      if (criterion.below) add(*criterion.below, false);
    }
  }
}

/// The figures with one of them set to `value`; what depends on it follows.
ExportFigures with(ExportFigures figures, ExportFigure figure, double value) {
  if (figure == ExportFigure::tpp) {
    figures.tpp = value;
    if (figures.die_area_mm2) figures.performance_density = value / *figures.die_area_mm2;
  } else if (figure == ExportFigure::dram_bandwidth) {
    figures.dram_bandwidth = value;
  } else {
    figures.io_bandwidth = value;
  }
  return figures;
}

/// Values of `figure` at which some criterion in force turns, rising.
std::set<double> turning_values(ExportFigure figure, const ExportFigures& figures,
                                const std::vector<ExportMargin>& margins) {
  std::set<double> values;
  for (const ExportMargin& margin : margins) {
    if (margin.figure == figure) values.insert(margin.threshold);
    if (margin.figure == ExportFigure::performance_density && figure == ExportFigure::tpp &&
        figures.die_area_mm2)
      values.insert(margin.threshold * *figures.die_area_mm2);
    if (margin.figure == ExportFigure::dram_and_io_bandwidth && figure != ExportFigure::tpp) {
      const double other =
          figure == ExportFigure::dram_bandwidth ? figures.io_bandwidth : figures.dram_bandwidth;
      if (margin.threshold > other) values.insert(margin.threshold - other);
    }
  }
  return values;
}

/// The turns of one figure that bring another standing, from the device's own value downwards, each
/// different from the one before; then the nearest such turn upwards.
void add_changes(ExportCheck& check, const ExportRules& rules, ExportFigure figure) {
  const double own = *check.figures.of(figure);
  const std::set<double> turns = turning_values(figure, check.figures, check.margins);
  const auto standing_at = [&](double value) {
    return export_standing(check.device, with(check.figures, figure, value), rules, check.date);
  };
  std::string last = check.standing.text();
  for (auto turn = turns.rbegin(); turn != turns.rend(); ++turn) {
    if (*turn > own) continue;
    const ExportStanding standing = standing_at(*turn * kLess);
    if (standing.text() == last) continue;
    last = standing.text();
    check.changes.push_back({figure, true, *turn, standing});
  }
  for (const double turn : turns) {
    if (turn <= own) continue;
    const ExportStanding standing = standing_at(turn);
    if (standing.text() == check.standing.text()) continue;
    check.changes.push_back({figure, false, turn, standing});
    break;
  }
}

}  // namespace

std::optional<double> ExportFigures::of(ExportFigure figure) const {
  switch (figure) {
    case ExportFigure::tpp:
      return tpp;
    case ExportFigure::performance_density:
      return performance_density;
    case ExportFigure::dram_bandwidth:
      return dram_bandwidth;
    case ExportFigure::io_bandwidth:
      return io_bandwidth;
    case ExportFigure::dram_and_io_bandwidth:
      return dram_bandwidth + io_bandwidth;
  }
  return std::nullopt;
}

ExportFigures export_figures_of(const DeviceSpec& device, const ExportRules& rules) {
  ExportFigures figures;
  const double most = most_bit_operations(device);
  const double per_hertz = most * device.sm.count * kPerTera;
  figures.tpp = per_hertz * device.clock.quoted.value();
  figures.tpp_at_boost = per_hertz * std::max(device.clock.boost, device.clock.quoted).value();
  for (const DataType type : kMultiplied)
    if (const auto found = device.sm.tensor_flops.find(type);
        found != device.sm.tensor_flops.end() && found->second * bits(type) == most)
      figures.tpp_types.push_back(type);
  add_die_area(figures, device, rules);
  figures.dram_bandwidth = device.hbm.peak_rate.value();
  figures.io_bandwidth =
      2 * (device.nvlink.rate.value() + (device.host_link ? device.host_link->value() : 0));
  figures.host_link_known = device.host_link.has_value();
  return figures;
}

std::string ExportStanding::class_text() const {
  std::string text;
  for (const std::string& name : classes) text += (text.empty() ? "" : " or ") + name;
  return classes.size() > 1 ? text + " (die area unknown)" : text;
}

std::string ExportStanding::text() const {
  return consequence.empty() || classes.size() > 1 ? class_text()
                                                   : class_text() + ": " + consequence;
}

ExportStanding export_standing(const std::string& device, const ExportFigures& figures,
                               const ExportRules& rules, const std::string& date) {
  ExportStanding standing;
  bool any = false;
  bool certain = false;
  for (const ExportRule& rule : rules.rules) {
    if (certain || rule.kind != ExportRuleKind::control || !rule.in_force(date)) continue;
    any = true;
    const Verdict verdict = verdict_of(rule, device, figures);
    if (verdict == Verdict::not_met) continue;
    if (standing.rule == nullptr) {
      standing.rule = &rule;
      standing.consequence = rule.consequence;
    }
    if (standing.classes.empty() || standing.classes.back() != rule.export_class)
      standing.classes.push_back(rule.export_class);
    certain = verdict == Verdict::met;
  }
  if (!any) standing.classes = {kNoRule};
  if (any && !certain) standing.classes.emplace_back(kNotControlled);
  if (standing.rule == nullptr) return standing;
  for (const ExportRule& rule : rules.rules)
    if (rule.kind == ExportRuleKind::review && rule.in_force(date) &&
        verdict_of(rule, device, figures) == Verdict::met) {
      standing.review = &rule;
      standing.consequence = rule.consequence;
      break;
    }
  if (!standing.rule->alternative.empty())
    standing.consequence += ", or " + standing.rule->alternative;
  return standing;
}

ExportCheck export_check(const DeviceSpec& device, const ExportRules& rules,
                         const std::string& date) {
  ExportCheck check{.device = device.name,
                    .date = date,
                    .figures = export_figures_of(device, rules),
                    .standing = {},
                    .margins = {},
                    .changes = {},
                    .at_boost = std::nullopt};
  check.standing = export_standing(device.name, check.figures, rules, date);
  for (const ExportRule& rule : rules.rules)
    if (rule.in_force(date)) add_margins(check.margins, rule, check.figures);
  for (const ExportFigure figure :
       {ExportFigure::tpp, ExportFigure::dram_bandwidth, ExportFigure::io_bandwidth})
    add_changes(check, rules, figure);
  const ExportStanding boosted = export_standing(
      device.name, with(check.figures, ExportFigure::tpp, check.figures.tpp_at_boost), rules, date);
  if (boosted.text() != check.standing.text()) check.at_boost = boosted;
  return check;
}

std::vector<std::string> turning_days(const ExportRules& rules) {
  std::set<std::string> days;
  for (const ExportRule& rule : rules.rules) {
    if (rule.kind == ExportRuleKind::event) continue;
    days.insert(rule.from);
    if (rule.until) days.insert(*rule.until);
  }
  return {days.begin(), days.end()};
}

std::string last_day(const ExportRules& rules) {
  std::string last;
  for (const ExportRule& rule : rules.rules)
    last = std::max({last, rule.from, rule.until.value_or("")});
  return last;
}

}  // namespace tessera::reports
