#include "reports/study_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "reports/bill.hpp"
#include "reports/format.hpp"
#include "reports/page.hpp"
#include "reports/study_tables.hpp"

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;
using core::Estimate;
using core::StudyPoint;
using core::StudyResult;

/// Rows that a browser sorts without a noticeable wait; the download has all.
constexpr std::size_t kMostRows = 1000;
/// Points up to which the table also shows intervals.
constexpr std::size_t kMostIntervals = 60;
constexpr std::size_t kMostRefusals = 100;
constexpr std::size_t kMostColours = 10;

std::string point_name(const StudyResult& study, const StudyPoint& point) {
  std::string text = point.name;
  const std::vector<std::string> axes = axis_names(study);
  for (std::size_t i = 0; i < point.settings.size() && i < axes.size(); ++i)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", axes[i], point.settings[i]);
  return text.empty() ? fmt::format("point {}", point.number) : text;
}

/// What gives a point its colour: the machine where that varies, else the first axis of few values,
/// else its name.
std::string series_of(const StudyResult& study, const StudyPoint& point) {
  const auto varied = [&](const auto& fits) {
    for (std::size_t i = 0; i < study.axes.size() && i < point.settings.size(); ++i)
      if (fits(study.axes[i])) return point.settings[i];
    return std::string();
  };
  const std::string machine = varied([](const core::StudyAxis& axis) {
    return axis.path == "cluster" || axis.path.ends_with(".cluster") ||
           axis.path.ends_with("device");
  });
  if (!machine.empty()) return machine;
  if (!point.name.empty() && study.axes.empty()) return point.name;
  return varied([](const core::StudyAxis& axis) {
    return axis.values.size() > 1 && axis.values.size() <= kMostColours;
  });
}

std::string header(const StudyResult& study) {
  std::string text = "<header>\n<h1>" + escape_html(study.title) + "</h1>\n";
  const auto refused = std::count_if(study.points.begin(), study.points.end(),
                                     [](const StudyPoint& point) { return point.refused; });
  text += fmt::format("<p class=\"subtitle\">{} of {}: {}, {} refused, {} fidelity</p>\n",
                      escape_html(label(study.kind)), escape_html(study.base),
                      points_text(study.points.size()), refused, escape_html(study.fidelity));
  text += "<div id=\"answer\" class=\"answer\">\n";
  for (const std::string& sentence : study.answer) text += "<p>" + escape_html(sentence) + "</p>\n";
  if (study.answer.empty()) text += "<p>No point answers.</p>\n";
  text += "</div>\n";
  if (!study.warnings.empty())
    text += "<div class=\"alert\" role=\"note\"><b>Warnings</b>" + sentence_list(study.warnings) +
            "</div>\n";
  return text + "</header>\n";
}

std::string front_section(const StudyResult& study) {
  if (!study.front || study.front->points.empty()) return "";
  const auto& points = study.front->points;
  const std::string description = fmt::format(
      "{} against {}. {}. The former are large, with 90 % intervals, the latter hollow: another "
      "beats them in value, but not at 90 % of their ratio, in which errors and prices that two "
      "points of one device share cancel.",
      label(study.front->y), label(study.front->x), front_text(study));
  HtmlTable table{.id = "front",
                  .heads = {"Point", label(study.front->x), label(study.front->y), "Certain"}};
  for (const core::FrontPoint& on : points) {
    const StudyPoint& point = study.points[on.point];
    const Estimate* x = study.find(point, study.front->x);
    const Estimate* y = study.find(point, study.front->y);
    if (x == nullptr || y == nullptr) continue;
    table.rows.push_back({text_cell(point_name(study, point)), quantity_cell(x->value, x->unit),
                          quantity_cell(y->value, y->unit),
                          text_cell(on.certain ? "yes" : "not for sure beaten")});
  }
  return section("Best trade-offs",
                 figure("study-front", description, 460) + details("As a table", table.html()));
}

/// The bills of every best point, each with its title.
std::vector<std::pair<std::string, Bill>> bills(const StudyResult& study) {
  std::vector<std::pair<std::string, Bill>> all;
  for (const core::StudyBest& best : study.best) {
    const std::string name = best.title + ": " + point_name(study, study.points[best.point]);
    for (Bill& bill : bills_of(best.result)) {
      const std::string title = bill.of.empty() ? name : name + ", " + bill.of;
      all.emplace_back(title, std::move(bill));
    }
  }
  return all;
}

std::string cost_section(const StudyResult& study) {
  const auto shown = bills(study);
  if (shown.empty()) return "";
  std::string body =
      "<div class=\"controls\"><label for=\"study-cost-choice\">Show</label>"
      "<select id=\"study-cost-choice\">";
  std::size_t most = 0;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const auto& [title, bill] = shown[i];
    most = std::max(most, bill.parts.size());
    body += fmt::format("<option value=\"{}\">{}</option>", i, escape_html(title));
  }
  body += "</select></div>\n" +
          figure("study-cost", "Where the money goes: dollars by each phase's part of the time.",
                 bars_height(most + 1));
  return section("Cost of the best points", body);
}

std::vector<std::string> fact_names(const StudyResult& study) {
  std::vector<std::string> names;
  for (const StudyPoint& point : study.points)
    for (const auto& [name, text] : point.facts)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

Cell quantity_of(const std::string& name, const std::optional<Estimate>& predicted,
                 bool with_interval) {
  if (!predicted) return no_cell();
  const Estimate estimate = shown(name, *predicted);
  Cell cell = quantity_cell(estimate.value, estimate.unit);
  if (with_interval)
    cell.html += "<br><span class=\"note\">" + escape_html(interval(estimate)) + "</span>";
  return cell;
}

std::vector<Cell> point_row(const StudyResult& study, const StudyPoint& point,
                            const std::vector<std::string>& facts, bool with_intervals) {
  std::vector<Cell> row{count_cell(static_cast<double>(point.number))};
  row.push_back(text_cell(point_name(study, point)));
  for (std::size_t i = 0; i < study.quantities.size(); ++i)
    row.push_back(quantity_of(study.quantities[i],
                              i < point.quantities.size() ? point.quantities[i] : std::nullopt,
                              with_intervals));
  for (const std::string& name : facts) {
    const auto found = std::find_if(point.facts.begin(), point.facts.end(),
                                    [&](const auto& fact) { return fact.first == name; });
    row.push_back(text_cell(found == point.facts.end() ? "" : found->second));
  }
  if (!study.targets.empty()) row.push_back(text_cell(core::to_string(point.attainment)));
  return row;
}

/// The CSV as a link that needs no server: RFC 2397, percent-encoded.
std::string download(const std::string& csv) {
  std::string uri = "data:text/csv;charset=utf-8,";
  for (const char c : csv) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == ',';
    uri += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return "<p><a id=\"points-csv\" download=\"points.csv\" href=\"" + uri +
         "\">Download points.csv</a>, every point with its intervals</p>\n";
}

std::string points_section(const StudyResult& study, const std::string& csv) {
  std::vector<const StudyPoint*> answered;
  for (const StudyPoint& point : study.points)
    if (!point.refused) answered.push_back(&point);
  const std::size_t rows = std::min(kMostRows, answered.size());
  HtmlTable table{.id = "points",
                  .caption = rows < answered.size()
                                 ? fmt::format("The first {} of {}. A click on a head sorts.", rows,
                                               answered.size())
                                 : "A click on a head sorts.",
                  .sortable = true,
                  .tall = rows > kMostIntervals,
                  .heads = {"Number", "Point"},
                  .rows = {}};
  const std::vector<std::string> facts = fact_names(study);
  for (const std::string& name : study.quantities) table.heads.push_back(label(name));
  for (const std::string& name : facts) table.heads.push_back(label(name));
  if (!study.targets.empty()) table.heads.emplace_back("Within limits");
  for (std::size_t i = 0; i < rows; ++i)
    table.rows.push_back(point_row(study, *answered[i], facts, answered.size() <= kMostIntervals));
  return section("Every point", download(csv) + (rows > 0 ? table.html() : ""));
}

std::string refused_section(const StudyResult& study) {
  HtmlTable table{.id = "refused", .heads = {"Point", "Kind", "Reason"}};
  std::size_t refused = 0;
  for (const StudyPoint& point : study.points) {
    if (!point.refused) continue;
    if (++refused <= kMostRefusals)
      table.rows.push_back({text_cell(point_name(study, point)),
                            text_cell(label(point.refusal_kind)), text_cell(*point.refused)});
  }
  if (refused == 0) return "";
  std::string kinds;
  for (const auto& [kind, count] : study.refusals)
    kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", label(kind), count);
  const std::string more =
      refused > kMostRefusals ? fmt::format(" The first {} are listed.", kMostRefusals) : "";
  return section("Refused, and why",
                 "<p>" +
                     escape_html(fmt::format("{} point{}{}{}.{}", refused, refused == 1 ? "" : "s",
                                             kinds.empty() ? "" : ": ", kinds, more)) +
                     "</p>\n" + table.html());
}

/// What the best points' results assume: priced rows with sources, once each, and sentences.
std::string assumptions_section(const StudyResult& study) {
  HtmlTable table{.id = "assumptions", .heads = {"Point", "What", "Value", "Grade", "Source"}};
  std::set<std::string> said;
  std::vector<std::string> sentences;
  for (const core::StudyBest& best : study.best) {
    const std::string name = point_name(study, study.points[best.point]);
    for (const auto* rows : {&best.result.cost, &best.result.energy})
      for (const core::CostRow& row : *rows)
        if (said.insert(name + row.item).second)
          table.rows.push_back(
              {text_cell(name), text_cell(label(row.item)),
               text_cell(fmt::format("{} ({})", quantity(row.amount.value, row.amount.unit),
                                     interval(row.amount))),
               grade_cell(row.amount.grade), source_cell(row.source)});
    for (const std::string& sentence : best.result.assumptions)
      if (said.insert(sentence).second) sentences.push_back(sentence);
  }
  std::string body;
  if (!sentences.empty()) body += sentence_list(sentences);
  if (!table.rows.empty()) body += table.html();
  return body.empty() ? "" : section("What the answer rests on", body);
}

Json range_json(const Estimate& e) {
  return {{"value", e.value}, {"lower", e.lower}, {"upper", e.upper}};
}

Json front_json(const StudyResult& study) {
  if (!study.front) return nullptr;
  std::map<std::size_t, bool> on_front;
  for (const core::FrontPoint& on : study.front->points) on_front[on.point] = on.certain;
  Json points = Json::array();
  std::string x_unit;
  std::string y_unit;
  for (std::size_t i = 0; i < study.points.size(); ++i) {
    const Estimate* x = study.find(study.points[i], study.front->x);
    const Estimate* y = study.find(study.points[i], study.front->y);
    if (x == nullptr || y == nullptr) continue;
    x_unit = x->unit;
    y_unit = y->unit;
    const auto on = on_front.find(i);
    points.push_back({{"name", point_name(study, study.points[i])},
                      {"series", series_of(study, study.points[i])},
                      {"job", study.points[i].job},
                      {"x", range_json(*x)},
                      {"y", range_json(*y)},
                      {"front", on != on_front.end()},
                      {"certain", on != on_front.end() && on->second}});
  }
  return {{"x", study.front->x},
          {"y", study.front->y},
          {"x_unit", x_unit},
          {"y_unit", y_unit},
          {"points", points}};
}

Json costs_json(const StudyResult& study) {
  Json costs = Json::array();
  for (const auto& [title, bill] : bills(study)) costs.push_back(waterfall_json(bill));
  return costs;
}

}  // namespace

std::string to_study_html(const StudyResult& study, const std::string& points_csv) {
  core::Result made;  // for the footer: which program and fits
  made.tessera_version = study.tessera_version;
  if (!study.best.empty()) made.fits = study.best.front().result.fits;
  const std::string body = header(study) + front_section(study) + cost_section(study) +
                           points_section(study, points_csv) + refused_section(study) +
                           assumptions_section(study) + page_footer(made);
  const Json data{{"study", {{"front", front_json(study)}, {"costs", costs_json(study)}}}};
  return page(study.title, body, data.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace tessera::reports
