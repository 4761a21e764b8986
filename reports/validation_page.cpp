#include "reports/validation_page.hpp"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kPlotPixels = 420;

/// Points by series, three significant digits: enough for a picture, a third of the bytes.
Json data_json(const std::vector<AgreementPlot>& plots) {
  Json families = Json::object();
  for (const AgreementPlot& plot : plots) {
    std::map<std::string, Json> series;
    for (const Agreement& point : plot.points) {
      const auto digits = [](double value) { return Json::parse(fmt::format("{:.3e}", value)); };
      Json& points = series.try_emplace(point.series, Json::array()).first->second;
      points.push_back({digits(point.measured), digits(point.predicted), point.label});
    }
    Json all = Json::array();
    for (auto& [name, points] : series) all.push_back({{"name", name}, {"points", points}});
    families[plot.family] = {{"unit", plot.unit}, {"series", all}};
  }
  return {{"agreement", families}};
}

std::string plot_html(const AgreementPlot& plot) {
  return fmt::format(
      "<figure><figcaption>{1}</figcaption><div class=\"chart\" style=\"height:{2}px\" "
      "id=\"figure-agreement-{0}\" data-figure=\"agreement\" data-family=\"{0}\" role=\"img\" "
      "aria-label=\"{3}\"></div><p class=\"note\">{3}</p></figure>\n",
      escape_html(plot.family), escape_html(plot.family), kPlotPixels,
      escape_html(plot.description));
}

}  // namespace

std::string to_validation_html(const std::string& title, const std::string& introduction,
                               const std::vector<AgreementPlot>& plots,
                               const std::vector<HtmlTable>& tables) {
  std::string body = "<header>\n<h1>" + escape_html(title) + "</h1>\n<p>" +
                     escape_html(introduction) + "</p>\n</header>\n";
  std::string figures;
  for (const AgreementPlot& plot : plots) figures += plot_html(plot);
  if (!figures.empty())
    body += section("Predicted over measured", "<div class=\"grid\">" + figures + "</div>\n");
  for (const HtmlTable& table : tables) body += section(table.caption, table.html());
  return page(title, body, data_json(plots).dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace tessera::reports
