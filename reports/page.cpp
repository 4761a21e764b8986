#include "reports/page.hpp"

#include <fmt/format.h>

#include <utility>

#include "reports/format.hpp"
#include "reports/web_assets.hpp"

namespace tessera::reports {
namespace {

/// JSON inside a script element: no "<" may end the element or open a comment.
std::string escape_script_json(const std::string& json) {
  std::string text;
  text.reserve(json.size());
  for (const char c : json) {
    if (c == '<')
      text += "\\u003c";
    else
      text += c;
  }
  return text;
}

std::string opening(std::string_view tag, const Cell& cell) {
  std::string css = cell.css_class;
  if (cell.value) css += css.empty() ? "number" : " number";
  std::string text = fmt::format("<{}", tag);
  if (!css.empty()) text += fmt::format(" class=\"{}\"", css);
  if (cell.value) text += fmt::format(" data-value=\"{}\"", *cell.value);
  return text + ">";
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

Cell text_cell(std::string_view text) { return {.html = escape_html(text)}; }
Cell source_cell(std::string_view text) {
  return {.html = escape_html(text), .css_class = "source"};
}
Cell grade_cell(core::Grade grade) { return {.html = grade_badge(grade)}; }
Cell count_cell(double value) { return {.html = count(value), .value = value}; }
Cell quantity_cell(double value, const std::string& unit) {
  return {.html = escape_html(quantity(value, unit)), .value = value};
}
Cell interval_cell(const core::Estimate& estimate) {
  return {.html = escape_html(interval(estimate)), .value = estimate.lower};
}
Cell error_cell(std::optional<double> ratio) {
  if (!ratio) return no_cell();
  return {.html = signed_percent(*ratio), .value = *ratio};
}
Cell no_cell() { return {.html = "-", .value = 0}; }

std::string HtmlTable::html() const {
  std::string text = fmt::format("<div class=\"scroll{}\"><table id=\"{}\"{}>\n",
                                 tall ? " tall\" tabindex=\"0" : "", escape_html(id),
                                 sortable ? " class=\"sortable\"" : "");
  if (!caption.empty()) text += "<caption>" + escape_html(caption) + "</caption>\n";
  text += "<thead><tr>";
  for (std::size_t column = 0; column < heads.size(); ++column) {
    const bool numeric = !rows.empty() && rows.front()[column].value;
    const std::string head = escape_html(heads[column]);
    text += fmt::format("<th scope=\"col\"{}>{}</th>", numeric ? " class=\"number\"" : "",
                        sortable ? "<button type=\"button\">" + head + "</button>" : head);
  }
  text += "</tr></thead>\n<tbody>\n";
  for (const std::vector<Cell>& row : rows) {
    text += "<tr>";
    for (const Cell& cell : row) text += opening("td", cell) + cell.html + "</td>";
    text += "</tr>\n";
  }
  return text + "</tbody></table></div>\n";
}

std::string figure(std::string_view name, std::string_view description, int height_pixels) {
  return fmt::format(
      "<figure><div class=\"chart\" style=\"height:{2}px\" id=\"figure-{0}\" data-figure=\"{0}\" "
      "role=\"img\" aria-label=\"{1}\"></div><figcaption>{1}</figcaption></figure>\n",
      name, escape_html(description), height_pixels);
}

std::string grade_badge(core::Grade grade) {
  const std::string name = core::to_string(grade);
  return fmt::format("<span class=\"grade {0}\">{0}</span>", name);
}

std::string section(std::string_view heading, const std::string& body_html) {
  return fmt::format("<section>\n<h2>{}</h2>\n{}</section>\n", escape_html(heading), body_html);
}

std::string details(std::string_view summary, const std::string& body_html) {
  return fmt::format("<details><summary>{}</summary>\n{}</details>\n", escape_html(summary),
                     body_html);
}

std::string sentence_list(const std::vector<std::string>& sentences) {
  std::string text = "<ul>\n";
  for (const std::string& sentence : sentences) text += "<li>" + escape_html(sentence) + "</li>\n";
  return text + "</ul>\n";
}

std::string estimate_card(const std::string& name, const core::Estimate& predicted) {
  const core::Estimate estimate = shown(name, predicted);
  return fmt::format(
      "<li class=\"card\"><div class=\"name\"><span>{}</span>{}</div>"
      "<div class=\"value\" id=\"quantity-{}\" data-value=\"{}\">{}</div>"
      "<div class=\"interval\">{}</div></li>\n",
      escape_html(label(name)), grade_badge(estimate.grade), escape_html(name), estimate.value,
      escape_html(quantity(estimate.value, estimate.unit)), escape_html(interval(estimate)));
}

std::string page_footer(const core::Result& result) {
  return fmt::format(
      "<footer><p>Ranges are 90 % intervals. Grades, from best to worst: {} read off hardware; {} "
      "to "
      "measurements of this device; {} from another device of its generation; {} where no source "
      "is known. A derived number has the worst grade of what it was made from.</p>"
      "<p>tessera {}, fits: {}</p></footer>\n",
      grade_badge(core::Grade::measured), grade_badge(core::Grade::fitted),
      grade_badge(core::Grade::transferred), grade_badge(core::Grade::assumed),
      escape_html(result.tessera_version), escape_html(result.fits.empty() ? "none" : result.fits));
}

std::string page(std::string_view title, const std::string& body_html,
                 const std::string& data_json) {
  const std::pair<std::string_view, std::string> values[] = {
      {"{{title}}", escape_html(title)},
      {"{{style}}", std::string(page_style())},
      {"{{body}}", body_html},
      {"{{data}}", escape_script_json(data_json)},
      {"{{script}}", std::string(page_script())}};
  std::string text;
  std::string_view rest = page_template();
  for (const auto& [placeholder, value] : values) {  // in the template's order
    const std::size_t at = rest.find(placeholder);
    text += rest.substr(0, at);
    text += value;
    rest.remove_prefix(at + placeholder.size());
  }
  return text.append(rest);
}

}  // namespace tessera::reports
