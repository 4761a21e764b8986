#include <fmt/format.h>

#include <algorithm>

#include "calibrate/neighbours.hpp"
#include "models/gpu/gpu.hpp"
#include "reports/validation_page.hpp"
#include "sim/app/validation.hpp"

namespace tessera::app {
namespace {

using calibrate::GroupScore;
using calibrate::Scored;
using calibrate::Use;

/// Points of a family that a browser draws without delay.
constexpr std::size_t kMostPoints = 2000;
constexpr std::size_t kWorstRows = 10;

reports::AgreementPlot plot_of(const ValidatedFile& file) {
  std::vector<const Scored*> shown;
  for (const Scored& n : file.scored.numbers)
    if (n.predicted && n.use == Use::score && n.part != "power") shown.push_back(&n);
  const std::size_t step = shown.size() / kMostPoints + 1;
  reports::AgreementPlot plot{.family = file.scored.file, .unit = "us"};
  plot.description =
      fmt::format("{} rows{}; on the line, prediction and measurement agree.", shown.size(),
                  step > 1 ? fmt::format(", every {}th drawn", step) : "");
  for (std::size_t i = 0; i < shown.size(); i += step) {
    const auto& [row, table] = std::pair{shown[i]->row, std::cref(file.scored.table)};
    plot.points.push_back(
        {.measured = shown[i]->measured,
         .predicted = *shown[i]->predicted,
         .series = std::string{table.get().text(row, "gpu")},
         .label = fmt::format("{} {} {}", table.get().text(row, "framework"),
                              table.get().text(row, "dtype"), shape_of(table.get(), row))});
  }
  return plot;
}

reports::Cell percent_cell(double share) {
  return {.html = fmt::format("{:.1f} %", 100 * share), .value = 100 * share};
}

reports::HtmlTable groups_table(const Validation& validation, Use use) {
  reports::HtmlTable table{
      .id = use == Use::score ? "groups" : "library",
      .caption = use == Use::score ? "Groups" : "Library rows, without a bar",
      .sortable = true,
      .tall = true,
      .heads = {"Group", "Rows", "Predicted", "Median", "p90", "Bias", "Inside interval"}};
  for (const ValidatedFile& file : validation.files)
    for (const auto& [name, s] : calibrate::score_groups(
             file.scored, {.by = columns_of(file, validation.options), .use = use}))
      if (s.predicted > 0)
        table.rows.push_back({reports::text_cell(name),
                              reports::count_cell(static_cast<double>(s.rows)),
                              percent_cell(s.cover()), percent_cell(s.median), percent_cell(s.p90),
                              reports::error_cell(s.bias), percent_cell(s.in90())});
  return table;
}

reports::HtmlTable worst_table(const Validation& validation) {
  reports::HtmlTable table{
      .id = "worst",
      .caption = "Worst rows of each family",
      .sortable = true,
      .tall = true,
      .heads = {"Family", "Row", "Bound by", "Near shapes", "Measured", "Predicted", "Error"}};
  for (const ValidatedFile& file : validation.files)
    for (const Scored& n : worst_of(file, kWorstRows)) {
      const calibrate::CsvTable& rows = file.scored.table;
      const bool power = n.part == "power";
      table.rows.push_back(
          {reports::text_cell(file.scored.file),
           reports::text_cell(fmt::format("{} {} {} {}", rows.text(n.row, "gpu"),
                                          rows.text(n.row, "framework"), rows.text(n.row, "dtype"),
                                          shape_of(rows, n.row))),
           reports::text_cell(file.binding[n.row]),
           reports::text_cell(calibrate::company(file.scored, n)),
           reports::quantity_cell(power ? n.measured : n.measured * 1e-6, power ? "W" : "s"),
           reports::quantity_cell(power ? *n.predicted : *n.predicted * 1e-6, power ? "W" : "s"),
           reports::error_cell(n.error())});
    }
  return table;
}

}  // namespace

std::string to_html(const Validation& validation) {
  std::vector<reports::AgreementPlot> plots;
  for (const ValidatedFile& file : validation.files) {
    plots.push_back(plot_of(file));
    if (plots.back().points.empty()) plots.pop_back();
  }
  std::vector<reports::HtmlTable> tables{worst_table(validation),
                                         groups_table(validation, Use::score),
                                         groups_table(validation, Use::library)};
  std::erase_if(tables, [](const auto& table) { return table.rows.empty(); });
  return reports::to_validation_html(
      "Kernels, predicted against measured",
      fmt::format(
          "Fidelity {}, model version {}. Bars apply to rows whose implementation is known; "
          "errors are predicted / measured - 1.",
          validation.options.fidelities.front() == gpu::Fidelity::cycle ? "cycle" : "analytical",
          gpu::kModelVersion),
      plots, tables);
}

}  // namespace tessera::app
