#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "reports/export_check.hpp"
#include "reports/format.hpp"

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;
using core::DataType;
using device::ExportFigure;
using device::ExportRule;
using device::ExportRuleKind;
using device::ExportRules;

constexpr const char* kDisclaimer =
    "Information, not legal advice: classes follow from the device's description and from the "
    "rules as\nhw_configs/export_rules.yaml has them, for items marketed for datacentres and "
    "destinations that the\nrules name (China, Macau). Items that are not, below TPP 4,800, are "
    "outside 3A090 (unconfirmed).\n";
constexpr double kPerGiga = 1e-9;

std::string figure_text(ExportFigure figure, std::optional<double> value) {
  if (!value) return "unknown";
  switch (figure) {
    case ExportFigure::tpp:
      return number(std::round(*value));
    case ExportFigure::performance_density:
      return fmt::format("{:.2f}", *value);
    default:
      return number(*value * kPerGiga) + " GB/s";
  }
}

std::string figure_label(ExportFigure figure) {
  switch (figure) {
    case ExportFigure::tpp:
      return "TPP";
    case ExportFigure::performance_density:
      return "performance density";
    case ExportFigure::dram_bandwidth:
      return "DRAM bandwidth";
    case ExportFigure::io_bandwidth:
      return "I/O bandwidth";
    case ExportFigure::dram_and_io_bandwidth:
      return "DRAM and I/O bandwidth";
  }
  return "";
}

std::string type_names(const std::vector<DataType>& types) {
  std::string text;
  for (const DataType type : types)
    text += fmt::format("{}{}", text.empty() ? "" : ", ", core::to_string(type));
  return text;
}

/// "bf16 below 150.0, fp8 below 300.0 TFLOP/s": the dense rates behind a TPP, one type of each
/// width. 32 bits are left out, which few run.
std::string rates_text(double tpp, const std::vector<DataType>& types, std::string_view relation) {
  std::string text;
  int last_bits = 32;
  for (const DataType type : types) {
    const int bits = std::max(core::activation_bits(type), core::weight_bits(type));
    if (bits >= last_bits) continue;
    last_bits = bits;
    text += fmt::format("{}{} {} {}", text.empty() ? "" : ", ", core::to_string(type), relation,
                        number(tpp / bits));
  }
  return text.empty() ? text : text + " TFLOP/s";
}

std::string area_text(const ExportFigures& figures) {
  if (!figures.die_area_mm2) return "die area " + figures.die_area_note;
  return fmt::format("{} mm2 of die, {}", number(*figures.die_area_mm2), figures.die_area_note);
}

std::string figures_text(const ExportFigures& f) {
  std::string text = fmt::format("  TPP                  {:>10}  {} at the quoted clock\n",
                                 figure_text(ExportFigure::tpp, f.tpp), type_names(f.tpp_types));
  text += fmt::format("  performance density  {:>10}  {}\n",
                      figure_text(ExportFigure::performance_density, f.performance_density),
                      area_text(f));
  text += fmt::format("  DRAM bandwidth       {:>10}\n",
                      figure_text(ExportFigure::dram_bandwidth, f.dram_bandwidth));
  text += fmt::format("  I/O bandwidth        {:>10}  {}\n",
                      figure_text(ExportFigure::io_bandwidth, f.io_bandwidth),
                      f.host_link_known ? "NVLink and host link, both directions"
                                        : "NVLink alone: the host link is not described");
  return text;
}

std::string verdict_text(Verdict verdict) {
  if (verdict == Verdict::unknown) return "unknown";
  return verdict == Verdict::met ? "yes" : "no";
}

std::string margins_text(const ExportCheck& check) {
  if (check.margins.empty()) return "";
  std::string text = "\nThresholds in force, and the device's distance to each:\n";
  const ExportRule* last = nullptr;
  for (const ExportMargin& m : check.margins) {
    if (m.rule != last)
      text += fmt::format("  {} (confirmed: {}; {})\n", m.rule->name,
                          device::to_string(m.rule->confirmed), m.rule->source);
    last = m.rule;
    text += fmt::format("    {}  {:<22} {:<8} {:>11}: {:>11} {:>9}  {}\n",
                        static_cast<char>('a' + static_cast<int>(m.prong % 26)),
                        figure_label(m.figure), m.at_least ? "at least" : "below",
                        figure_text(m.figure, m.threshold), figure_text(m.figure, m.value),
                        m.margin ? signed_percent(*m.margin) : "", verdict_text(m.verdict));
  }
  return text + "  Criteria of one letter must all hold; one letter is enough.\n";
}

std::string change_text(const ExportChange& change, const ExportCheck& check) {
  std::string text =
      fmt::format("  {} {} {}", figure_label(change.figure), change.below ? "below" : "from",
                  figure_text(change.figure, change.threshold));
  if (change.figure == ExportFigure::tpp) {
    const std::string rates =
        rates_text(change.threshold, check.figures.tpp_types, change.below ? "below" : "from");
    if (!rates.empty()) text += fmt::format(" ({})", rates);
  }
  return text + ": " + change.standing.text() + "\n";
}

std::string events_text(const std::string& date, const ExportRules& rules) {
  std::string text;
  for (const ExportRule& rule : rules.rules) {
    if (rule.kind != ExportRuleKind::event || !rule.in_force(date)) continue;
    text += fmt::format("  {}  {}{}{} (confirmed: {}; {})\n", rule.from, rule.name,
                        rule.note.empty() ? "" : ": ", rule.note, device::to_string(rule.confirmed),
                        rule.source);
  }
  return text.empty() ? text : "\nAlso by then, not decided by a device's figures:\n" + text;
}

std::string reasons_text(const ExportStanding& standing) {
  std::string text;
  for (const ExportRule* rule : {standing.rule, standing.review})
    if (rule != nullptr)
      text += fmt::format("  {}, since {} (confirmed: {}; {}){}{}\n", rule->name, rule->from,
                          device::to_string(rule->confirmed), rule->source,
                          rule->note.empty() ? "" : ": ", rule->note);
  return text;
}

Json standing_json(const ExportStanding& standing) {
  Json json{{"classes", standing.classes}, {"consequence", standing.consequence}};
  json["rule"] = standing.rule ? Json(standing.rule->name) : Json(nullptr);
  json["review"] = standing.review ? Json(standing.review->name) : Json(nullptr);
  return json;
}

Json optional_json(std::optional<double> value) { return value ? Json(*value) : Json(nullptr); }

Json figures_json(const ExportFigures& f) {
  Json types = Json::array();
  for (const DataType type : f.tpp_types) types.push_back(core::to_string(type));
  return {{"tpp", f.tpp},
          {"tpp_types", types},
          {"tpp_at_boost", f.tpp_at_boost},
          {"die_area_mm2", optional_json(f.die_area_mm2)},
          {"die_area", f.die_area_note},
          {"performance_density", optional_json(f.performance_density)},
          {"dram_bandwidth", f.dram_bandwidth},
          {"io_bandwidth", f.io_bandwidth},
          {"host_link_known", f.host_link_known}};
}

Json check_json(const ExportCheck& check) {
  Json margins = Json::array();
  for (const ExportMargin& m : check.margins)
    margins.push_back(
        {{"rule", m.rule->name},
         {"prong", m.prong},
         {"figure", device::to_string(m.figure)},
         {"relation", m.at_least ? "at_least" : "below"},
         {"threshold", m.threshold},
         {"value", optional_json(m.value)},
         {"margin", optional_json(m.margin)},
         {"met", m.verdict == Verdict::unknown ? Json(nullptr) : Json(m.verdict == Verdict::met)}});
  Json changes = Json::array();
  for (const ExportChange& c : check.changes)
    changes.push_back({{"figure", device::to_string(c.figure)},
                       {"relation", c.below ? "below" : "at_least"},
                       {"threshold", c.threshold},
                       {"standing", standing_json(c.standing)}});
  return {{"device", check.device},
          {"date", check.date},
          {"figures", figures_json(check.figures)},
          {"standing", standing_json(check.standing)},
          {"margins", margins},
          {"changes", changes},
          {"at_boost", check.at_boost ? standing_json(*check.at_boost) : Json(nullptr)}};
}

Json rule_json(const ExportRule& rule) {
  return {{"name", rule.name},
          {"kind", device::to_string(rule.kind)},
          {"class", rule.export_class},
          {"consequence", rule.consequence},
          {"alternative", rule.alternative},
          {"from", rule.from},
          {"until", rule.until ? Json(*rule.until) : Json(nullptr)},
          {"confirmed", device::to_string(rule.confirmed)},
          {"source", rule.source},
          {"note", rule.note}};
}

/// Lines of cells as columns; the first `left` are set left, the rest right.
std::string columns(const std::vector<std::vector<std::string>>& lines,
                    const std::vector<bool>& right) {
  std::vector<std::size_t> widths(lines.front().size());
  for (const auto& line : lines)
    for (std::size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], line[c].size());
  std::string text;
  for (const auto& line : lines) {
    std::string row;
    for (std::size_t c = 0; c < line.size(); ++c)
      row += right[c] ? fmt::format("{:>{}}  ", line[c], widths[c])
                      : fmt::format("{:<{}}  ", line[c], widths[c]);
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

/// "3A090.a, case by case": the class with how licences are decided.
std::string short_text(const ExportStanding& standing) {
  const std::string required = "licence required; ";
  const bool decided = standing.consequence.starts_with(required) && standing.classes.size() == 1;
  return standing.class_text() +
         (decided ? ", " + standing.consequence.substr(required.size()) : "");
}

}  // namespace

std::string to_text(const ExportCheck& check, const ExportRules& rules) {
  std::string text = fmt::format("{} on {}: {}\n", check.device, check.date, check.standing.text());
  text += reasons_text(check.standing) + "\n" + figures_text(check.figures);
  if (check.at_boost)
    text += fmt::format("  At the highest clock TPP would be {}: {}. The quoted clock decides.\n",
                        figure_text(ExportFigure::tpp, check.figures.tpp_at_boost),
                        check.at_boost->text());
  text += margins_text(check);
  if (!check.changes.empty()) {
    text += "\nWhat would change it, all else equal:\n";
    for (const ExportChange& change : check.changes) text += change_text(change, check);
  }
  return text + events_text(check.date, rules) + "\n" + kDisclaimer;
}

std::string to_export_table(const std::vector<std::vector<ExportCheck>>& checks,
                            const ExportRules& rules) {
  if (checks.empty()) return "";
  std::vector<std::vector<std::string>> lines = {
      {"device", "TPP", "density", "die, mm2", "DRAM GB/s", "I/O GB/s"}};
  std::vector<bool> right = {false, true, true, true, true, true};
  for (const ExportCheck& check : checks.front()) {
    lines.front().push_back(check.date);
    right.push_back(false);
  }
  for (const auto& row : checks) {
    const ExportFigures& f = row.front().figures;
    const bool sure = f.die_area_note == "confirmed";
    lines.push_back({row.front().device, figure_text(ExportFigure::tpp, f.tpp),
                     figure_text(ExportFigure::performance_density, f.performance_density),
                     f.die_area_mm2 ? number(*f.die_area_mm2) + (sure ? " " : "?") : "unknown",
                     number(f.dram_bandwidth * kPerGiga),
                     number(f.io_bandwidth * kPerGiga) + (f.host_link_known ? "" : "+")});
    for (const ExportCheck& check : row) lines.back().push_back(short_text(check.standing));
  }
  std::string text = columns(lines, right);
  text += "? die area unconfirmed; + without the host link, which is not described.\n\n";
  for (const ExportRule& rule : rules.rules) {
    if (rule.kind == ExportRuleKind::event) continue;
    text += fmt::format("{}: {}{} (confirmed: {}; {})\n", rule.name, rule.from,
                        rule.until ? " until " + *rule.until : " on",
                        device::to_string(rule.confirmed), rule.source);
  }
  return text + "\n" + kDisclaimer;
}

std::string to_json(const std::vector<std::vector<ExportCheck>>& checks, const ExportRules& rules) {
  Json json{{"schema", "tessera-export-check-1"},
            {"note", "Information, not legal advice."},
            {"checks", Json::array()},
            {"rules", Json::array()}};
  for (const auto& row : checks)
    for (const ExportCheck& check : row) json["checks"].push_back(check_json(check));
  for (const ExportRule& rule : rules.rules) json["rules"].push_back(rule_json(rule));
  return json.dump(2) + "\n";
}

}  // namespace tessera::reports
