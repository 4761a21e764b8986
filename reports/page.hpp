#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/result.hpp"

/// The pieces that pages are put together from. Text is escaped where it enters; what is called
/// html already is.
namespace tessera::reports {

/// Text safe between tags and inside quoted attributes.
[[nodiscard]] std::string escape_html(std::string_view text);

/// One cell of a table.
struct Cell {
  std::string html;
  std::optional<double> value;  ///< What a numeric cell sorts by; numeric cells are aligned right.
  std::string css_class;
};
[[nodiscard]] Cell text_cell(std::string_view text);
[[nodiscard]] Cell source_cell(std::string_view text);
[[nodiscard]] Cell grade_cell(core::Grade grade);
[[nodiscard]] Cell count_cell(double value);
[[nodiscard]] Cell quantity_cell(double value, const std::string& unit);
[[nodiscard]] Cell interval_cell(const core::Estimate& estimate);
[[nodiscard]] Cell error_cell(std::optional<double> ratio);  ///< Signed percent; empty: no_cell.
[[nodiscard]] Cell no_cell();  ///< "-" in a numeric column; sorts as 0.

struct HtmlTable {
  std::string id;
  std::string caption;  ///< Text.
  bool sortable = false;
  bool tall = false;               ///< Scrolls in a window of its own under a fixed head.
  std::vector<std::string> heads;  ///< Text; a column is numeric when its first cell is.
  std::vector<std::vector<Cell>> rows;

  [[nodiscard]] std::string html() const;
};

/// The place of a chart. `name` is what reports/web/report.js draws there; `description` is read
/// out instead of the picture and shown under it.
[[nodiscard]] std::string figure(std::string_view name, std::string_view description,
                                 int height_pixels = 360);
/// Height of a chart of horizontal bars.
[[nodiscard]] constexpr int bars_height(std::size_t bars) {
  return 60 + 34 * static_cast<int>(bars);
}

/// Height of a chart of bars whose names take two lines.
[[nodiscard]] constexpr int choices_height(std::size_t bars) {
  return 60 + 46 * static_cast<int>(bars);
}
/// Height of a map of `rows` rows under a scale of colours.
[[nodiscard]] constexpr int map_height(std::size_t rows) {
  return 120 + 26 * static_cast<int>(rows < 24 ? rows : 24);
}

[[nodiscard]] std::string grade_badge(core::Grade grade);
[[nodiscard]] std::string section(std::string_view heading, const std::string& body_html);
[[nodiscard]] std::string details(std::string_view summary, const std::string& body_html);
[[nodiscard]] std::string sentence_list(const std::vector<std::string>& sentences);

/// A card with a predicted number, its interval and its grade.
[[nodiscard]] std::string estimate_card(const std::string& name, const core::Estimate& estimate);

/// What the grades and intervals mean, and which program said so.
[[nodiscard]] std::string page_footer(const core::Result& result);

/// The whole page: template, style and script from reports/web around `body_html`, with `data_json`
/// for the script.
[[nodiscard]] std::string page(std::string_view title, const std::string& body_html,
                               const std::string& data_json);

}  // namespace tessera::reports
