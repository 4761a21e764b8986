#include "models/device/export_rules.hpp"

#include <fmt/format.h>

#include <chrono>
#include <regex>

#include "sim/core/units.hpp"

namespace tessera::device {
namespace {

using core::BytesPerSecond;
using core::ConfigNode;

const std::vector<std::pair<std::string, ExportRuleKind>> kKinds = {
    {"control", ExportRuleKind::control},
    {"review", ExportRuleKind::review},
    {"event", ExportRuleKind::event}};
const std::vector<std::pair<std::string, Confirmation>> kConfirmations = {
    {"yes", Confirmation::yes}, {"partly", Confirmation::partly}, {"no", Confirmation::no}};

template <class E>
std::string name_in(const std::vector<std::pair<std::string, E>>& table, E value) {
  for (const auto& [name, entry] : table)
    if (entry == value) return name;
  return "";
}

bool is_bandwidth(ExportFigure figure) {
  return figure != ExportFigure::tpp && figure != ExportFigure::performance_density;
}

std::optional<double> read_bound(const ConfigNode& node, ExportFigure figure,
                                 std::string_view key) {
  constexpr double kMostTpp = 1e9;  // no device is near
  constexpr BytesPerSecond kFastest{1e16};
  if (!node.has(key)) return std::nullopt;
  if (is_bandwidth(figure))
    return node.quantity<BytesPerSecond>(key, BytesPerSecond{1}, kFastest).value();
  return node.number(key, 0, kMostTpp);
}

ExportProng read_prong(const ConfigNode& node) {
  ExportProng prong;
  for (const auto& [name, figure] : export_figures()) {
    if (!node.has(name)) continue;
    const ConfigNode range = node.object(name);
    ExportCriterion criterion{figure, read_bound(range, figure, "at_least"),
                              read_bound(range, figure, "below")};
    if (range.sound() && !criterion.at_least && !criterion.below)
      range.fail("found neither bound; expected at_least, below or both");
    prong.push_back(criterion);
  }
  if (node.sound() && prong.empty())
    node.fail(
        "found no criterion; expected one of tpp, performance_density, dram_bandwidth, "
        "io_bandwidth, dram_and_io_bandwidth");
  return prong;
}

std::string read_date(const ConfigNode& node, std::string_view key) {
  const std::string text = node.text(key);
  if (node.has(key) && !text.empty() && !is_date(text))
    node.fail(key, fmt::format("found '{}'; expected a date such as 2026-01-15", text));
  return text;
}

ExportRule read_rule(const ConfigNode& node) {
  ExportRule rule{};
  rule.name = node.text("name");
  rule.kind = node.choice("kind", kKinds);
  const bool control = rule.kind == ExportRuleKind::control;
  const bool event = rule.kind == ExportRuleKind::event;
  if (control) rule.export_class = node.text("class");
  if (control) rule.alternative = node.text_or("alternative", "");
  if (!event) rule.consequence = node.text("consequence");
  rule.from = read_date(node, "from");
  if (node.has("until")) rule.until = read_date(node, "until");
  rule.confirmed = node.choice("confirmed", kConfirmations);
  rule.source = node.text("source");
  rule.note = node.text_or("note", "");
  if (control && node.has("devices")) rule.devices = node.texts("devices");
  if (!event)
    for (const ConfigNode& prong : node.list("any_of")) rule.any_of.push_back(read_prong(prong));
  if (node.sound() && rule.until && *rule.until <= rule.from)
    node.at("until").fail_against(node.at("from"), "found a date that is not after the first");
  return rule;
}

}  // namespace

const std::vector<std::pair<std::string, ExportFigure>>& export_figures() {
  static const std::vector<std::pair<std::string, ExportFigure>> figures = {
      {"tpp", ExportFigure::tpp},
      {"performance_density", ExportFigure::performance_density},
      {"dram_bandwidth", ExportFigure::dram_bandwidth},
      {"io_bandwidth", ExportFigure::io_bandwidth},
      {"dram_and_io_bandwidth", ExportFigure::dram_and_io_bandwidth}};
  return figures;
}

std::string to_string(ExportFigure figure) { return name_in(export_figures(), figure); }
std::string to_string(ExportRuleKind kind) { return name_in(kKinds, kind); }
std::string to_string(Confirmation confirmation) { return name_in(kConfirmations, confirmation); }

bool is_date(const std::string& text) {
  static const std::regex kDate(R"((\d{4})-(\d{2})-(\d{2}))");
  std::smatch parts;
  if (!std::regex_match(text, parts, kDate)) return false;
  return std::chrono::year_month_day{std::chrono::year{std::stoi(parts[1])},
                                     std::chrono::month{static_cast<unsigned>(std::stoi(parts[2]))},
                                     std::chrono::day{static_cast<unsigned>(std::stoi(parts[3]))}}
      .ok();
}

core::LoadOptions export_rule_options(std::vector<core::Override> overrides) {
  return {.kind = "export rules", .folder = "hw_configs", .overrides = std::move(overrides)};
}

ExportRules read_export_rules(const core::ConfigDocument& document) {
  const ConfigNode root = document.root();
  ExportRules rules;
  rules.non_planar_processes = root.texts("non_planar_processes");
  for (const ConfigNode& rule : root.list("rules")) rules.rules.push_back(read_rule(rule));
  document.finish();
  return rules;
}

ExportRules load_export_rules(const std::string& name_or_path) {
  return read_export_rules(core::ConfigDocument::load(name_or_path, export_rule_options()));
}

}  // namespace tessera::device
