#include "reports/activity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "reports/page.hpp"

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;
using core::Activity;
using core::ActivityTrack;

/// Columns of the map: more than a screen shows are averaged.
constexpr std::size_t kColumns = 96;

double rounded(double share) { return std::round(share * 1e4) / 1e4; }

Json averaged(const std::vector<float>& bins, std::size_t columns) {
  Json values = Json::array();
  for (std::size_t column = 0; column < columns; ++column) {
    const std::size_t from = column * bins.size() / columns;
    const std::size_t to = (column + 1) * bins.size() / columns;
    double sum = 0;
    for (std::size_t bin = from; bin < to; ++bin) sum += bins[bin];
    values.push_back(rounded(sum / static_cast<double>(to - from)));
  }
  return values;
}

Json data_json(const Activity& activity) {
  Json data{{"cycles", activity.cycles}, {"tracks", Json::array()}};
  for (const ActivityTrack& track : activity.tracks) {
    const std::size_t columns = std::min(kColumns, track.parts.front().size());
    Json parts = Json::array();
    for (const auto& part : track.parts) parts.push_back(averaged(part, columns));
    const std::vector<double> mean = track.mean();
    data["tracks"].push_back(
        {{"name", track.name},
         {"unit", track.unit},
         {"mean", averaged(std::vector<float>(mean.begin(), mean.end()), columns)},
         {"parts", parts}});
  }
  return Json{{"activity", data}};
}

std::string track_choice(const Activity& activity) {
  std::string text =
      "<div class=\"controls\"><label for=\"activity-track\">Show</label>"
      "<select id=\"activity-track\">";
  for (std::size_t i = 0; i < activity.tracks.size(); ++i)
    text += fmt::format("<option value=\"{}\">{}, {}</option>", i,
                        escape_html(activity.tracks[i].name), escape_html(activity.tracks[i].unit));
  return text + "</select></div>\n";
}

}  // namespace

std::string to_activity_html(const std::string& title, const Activity& activity) {
  const std::string body =
      "<header><h1>" + escape_html(title) + "</h1>\n<p>" +
      fmt::format("The main launch takes {:.0f} SM cycles; every wave was simulated.",
                  activity.cycles) +
      "</p></header>\n" +
      section("Over all SMs", figure("activity-mean",
                                     "How busy each part is over the kernel's time; for waiting, "
                                     "the mean number of warp roles of an SM that wait.")) +
      section("SM by SM",
              track_choice(activity) +
                  figure("activity-map", "Each SM over time, for what is chosen above.", 640));
  return page(title, body, data_json(activity).dump());
}

std::string to_activity_csv(const Activity& activity) {
  std::string text = "track,unit,part,first_cycle,share\n";
  for (const ActivityTrack& track : activity.tracks)
    for (std::size_t part = 0; part < track.parts.size(); ++part)
      for (std::size_t bin = 0; bin < track.parts[part].size(); ++bin)
        text += fmt::format("{},{},{},{:.0f},{:.4f}\n", track.name, track.unit, part,
                            static_cast<double>(bin) * activity.bin_cycles, track.parts[part][bin]);
  return text;
}

}  // namespace tessera::reports
