#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "reports/aggregate.hpp"
#include "reports/format.hpp"
#include "reports/html.hpp"
#include "reports/page.hpp"

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;
using Columns = std::vector<ComparisonColumn>;

/// Names of quantities, those of the headline first.
std::vector<std::string> quantity_names(const Columns& columns) {
  std::vector<std::string> names;
  for (const ComparisonColumn& column : columns)
    for (const auto& [name, estimate] : headline_first(*column.result))
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

Cell estimate_cell(const std::string& name, const core::Estimate* predicted) {
  if (predicted == nullptr) return no_cell();
  const core::Estimate estimate = shown(name, *predicted);
  return {.html = fmt::format("{}<br><span class=\"note\">{}</span><br>{}",
                              escape_html(quantity(estimate.value, estimate.unit)),
                              escape_html(interval(estimate)), grade_badge(estimate.grade)),
          .value = estimate.value};
}

std::vector<Cell> memory_row(const Columns& columns) {
  std::vector<Cell> row{text_cell("Memory on the fullest rank")};
  for (const ComparisonColumn& column : columns) {
    const MemoryUse use = memory_over_ranks(*column.result);
    if (use.kinds.empty()) {
      row.push_back(no_cell());
      continue;
    }
    Cell cell = quantity_cell(use.worst_total, "B");
    cell.html += "<br><span class=\"note\">of " +
                 escape_html(quantity(column.result->machine.hbm_bytes, "B")) + "</span>";
    row.push_back(cell);
  }
  return row;
}

std::vector<Cell> binding_row(const Columns& columns) {
  std::vector<Cell> row{text_cell("Kernel time by what binds")};
  for (const ComparisonColumn& column : columns) {
    Cell cell = text_cell(shares_text(time_by_binding(*column.result)));
    cell.css_class = "shares";
    row.push_back(cell);
  }
  return row;
}

std::string quantities_table(const Columns& columns) {
  HtmlTable table{.id = "comparison", .heads = {"Quantity"}};
  for (const ComparisonColumn& column : columns) table.heads.push_back(column.name);
  for (const std::string& name : quantity_names(columns)) {
    std::vector<Cell> row{text_cell(label(name))};
    for (const ComparisonColumn& column : columns)
      row.push_back(estimate_cell(name, column.result->find(name)));
    table.rows.push_back(row);
  }
  table.rows.push_back(memory_row(columns));
  table.rows.push_back(binding_row(columns));
  return table.html();
}

constexpr int kMostBarCharts = 6;

/// Bars for the first quantities that at least two results have.
std::string quantity_bars(const Columns& columns) {
  std::string charts;
  int drawn = 0;
  for (const std::string& name : quantity_names(columns)) {
    const auto present = std::count_if(columns.begin(), columns.end(), [&](const auto& column) {
      return column.result->find(name) != nullptr;
    });
    if (present < 2 || drawn == kMostBarCharts) continue;
    ++drawn;
    charts += fmt::format(
        "<figure><figcaption>{1}</figcaption><div class=\"chart\" style=\"height:{2}px\" "
        "id=\"figure-{0}\" "
        "data-figure=\"quantity\" data-quantity=\"{0}\" role=\"img\" aria-label=\"{1} of every "
        "column, with its 90 % interval\"></div></figure>\n",
        escape_html(name), escape_html(label(name)), bars_height(columns.size()));
  }
  return charts.empty() ? ""
                        : section("Side by side", "<div class=\"grid\">" + charts + "</div>\n");
}

std::string refusals(const Columns& columns) {
  std::string text;
  for (const ComparisonColumn& column : columns)
    if (column.result->refused)
      text += fmt::format("<div class=\"alert refused\"><b>{} refused.</b> {}</div>\n",
                          escape_html(column.name), escape_html(*column.result->refused));
  return text;
}

Json data_json(const Columns& columns) {
  Json data{{"columns", Json::array()}, {"phases", Json::array()}, {"memory", Json::array()}};
  for (const ComparisonColumn& column : columns) {
    Json quantities = Json::object();
    for (const auto& [name, e] : column.result->quantities)
      quantities[name] = {{"value", e.value},
                          {"lower", e.lower},
                          {"upper", e.upper},
                          {"unit", shown_unit(name, e.unit)},
                          {"grade", core::to_string(e.grade)}};
    data["columns"].push_back({{"name", column.name}, {"quantities", quantities}});
    for (const PhaseSummary& row : phases_over_ranks(*column.result))
      data["phases"].push_back({{"column", column.name}, {"part", row.phase}, {"value", row.mean}});
    for (const MemorySummary& row : memory_over_ranks(*column.result).kinds)
      data["memory"].push_back(
          {{"column", column.name}, {"part", row.kind}, {"value", row.on_worst_rank}});
  }
  return data;
}

}  // namespace

std::string to_comparison_html(const std::string& title, const Columns& columns) {
  const Json data = data_json(columns);
  std::string body = "<header>\n<h1>" + escape_html(title) + "</h1>\n" + refusals(columns) +
                     "</header>\n" + section("Quantities", quantities_table(columns)) +
                     quantity_bars(columns);
  if (!data["phases"].empty())
    body += section("Where the step's time goes",
                    figure("compare-phases", "Step time by phase, mean over pipeline ranks."));
  if (!data["memory"].empty())
    body += section("Memory of one GPU",
                    figure("compare-memory", "Memory by kind on the fullest rank."));
  if (!columns.empty()) body += page_footer(*columns.front().result);
  return page(title, body, data.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace tessera::reports
