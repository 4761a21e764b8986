#include "reports/study_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "reports/format.hpp"

namespace tessera::reports {
namespace {

using core::Estimate;
using core::StudyPoint;
using core::StudyResult;
using Json = nlohmann::ordered_json;

constexpr std::size_t kShownPoints = 10;
constexpr std::size_t kShownQuantities = 6;

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? "\"\"" : std::string(1, c);
  return result + '"';
}

std::vector<std::string> fact_names(const StudyResult& study) {
  std::vector<std::string> names;
  for (const StudyPoint& point : study.points)
    for (const auto& [name, unused] : point.facts)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

std::string fact(const StudyPoint& point, const std::string& name) {
  for (const auto& [key, text] : point.facts)
    if (key == name) return text;
  return "";
}

bool has_names(const StudyResult& study) {
  return std::any_of(study.points.begin(), study.points.end(),
                     [](const StudyPoint& point) { return !point.name.empty(); });
}

/// "yes", "perhaps" or "" by index of the point.
std::map<std::size_t, std::string> on_front(const StudyResult& study) {
  std::map<std::size_t, std::string> found;
  if (study.front)
    for (const core::FrontPoint& point : study.front->points)
      found[point.point] = point.certain ? "yes" : "perhaps";
  return found;
}

/// The unit of a quantity at the first point that has it.
std::string unit_of(const StudyResult& study, const std::string& quantity) {
  for (const StudyPoint& point : study.points)
    if (const Estimate* e = study.find(point, quantity)) return e->unit;
  return "1";
}

std::string csv_header(const StudyResult& study, const std::vector<std::string>& facts) {
  std::string line = has_names(study) ? "number,name" : "number";
  for (const core::StudyAxis& axis : study.axes) line += ',' + quoted(axis.path);
  for (const std::string& name : study.quantities)
    line += fmt::format(",{0} [{1}],{0}_lower,{0}_upper,{0}_grade", name, unit_of(study, name));
  for (const std::string& name : facts) line += ',' + name;
  return line + ",meets_targets,on_front,refused,reason\n";
}

std::string figures(const std::optional<Estimate>& e) {
  if (!e) return ",,,,";
  return fmt::format(",{},{},{},{}", e->value, e->lower, e->upper, core::to_string(e->grade));
}

Json figures_json(const Estimate& e) {
  return {{"value", e.value},
          {"unit", e.unit},
          {"lower", e.lower},
          {"upper", e.upper},
          {"grade", core::to_string(e.grade)}};
}

Json point_json(const StudyResult& study, const StudyPoint& point) {
  Json json;
  json["number"] = point.number;
  if (!point.name.empty()) json["name"] = point.name;
  json["settings"] = Json::object();
  for (std::size_t i = 0; i < study.axes.size(); ++i)
    if (!point.settings[i].empty()) json["settings"][study.axes[i].path] = point.settings[i];
  if (point.refused) {
    json["refused"] = {{"kind", point.refusal_kind}, {"reason", *point.refused}};
    return json;
  }
  json["quantities"] = Json::object();
  for (std::size_t i = 0; i < study.quantities.size(); ++i)
    if (point.quantities[i])
      json["quantities"][study.quantities[i]] = figures_json(*point.quantities[i]);
  for (const auto& [name, text] : point.facts) json["facts"][name] = text;
  if (!study.targets.empty()) json["meets_targets"] = core::to_string(point.attainment);
  return json;
}

/// Points that answer and keep the targets, the best in the objective first.
std::vector<const StudyPoint*> best_first(const StudyResult& study) {
  std::vector<const StudyPoint*> list;
  for (const StudyPoint& point : study.points) {
    if (point.refused) continue;
    const bool keeps = point.attainment <= core::Attainment::probably;
    if (keeps && (study.objective.empty() || study.find(point, study.objective)))
      list.push_back(&point);
  }
  if (study.objective.empty()) return list;
  const bool more = core::more_is_better(study.objective);
  std::stable_sort(list.begin(), list.end(), [&](const StudyPoint* a, const StudyPoint* b) {
    const double x = study.find(*a, study.objective)->value;
    const double y = study.find(*b, study.objective)->value;
    return more ? x > y : x < y;
  });
  return list;
}

/// As many as a table has room for, each job its share.
std::vector<const StudyPoint*> shown_of(const StudyResult& study,
                                        const std::vector<const StudyPoint*>& best) {
  const std::vector<std::string> jobs = core::jobs_of(study);
  const std::size_t share = std::max<std::size_t>(1, kShownPoints / jobs.size());
  std::vector<const StudyPoint*> shown;
  for (const std::string& job : jobs) {
    std::size_t taken = 0;
    for (const StudyPoint* point : best)
      if (taken < share && point->job == job) {
        shown.push_back(point);
        ++taken;
      }
  }
  return shown;
}

std::string cell(const StudyResult& study, const StudyPoint& point, const std::string& name) {
  const Estimate* e = study.find(point, name);
  if (!e) return "-";
  const Estimate s = shown(name, *e);
  return quantity(s.value, s.unit);
}

/// The objective first, then those of the targets and the front, then as many as fit.
std::vector<std::string> columns(const StudyResult& study) {
  std::vector<std::string> list;
  const auto add = [&](const std::string& name) {
    if (!name.empty() && std::find(list.begin(), list.end(), name) == list.end())
      list.push_back(name);
  };
  add(study.objective);
  for (const core::StudyTarget& target : study.targets) add(target.quantity);
  if (study.front) add(study.front->x);
  for (const std::string& name : study.quantities)
    if (list.size() < kShownQuantities) add(name);
  return list;
}

void print_best(const StudyResult& study, std::FILE* stream) {
  const std::vector<const StudyPoint*> best = best_first(study);
  if (best.empty()) return;
  const std::vector<std::string> shown_columns = columns(study);
  std::vector<std::vector<std::string>> rows = {{"point"}};
  for (const std::string& name : axis_names(study)) rows[0].push_back(name);
  for (const std::string& name : shown_columns) rows[0].push_back(label(name));
  rows[0].emplace_back("binding");
  for (const StudyPoint* point : shown_of(study, best)) {
    std::vector<std::string>& row = rows.emplace_back();
    row.push_back(std::to_string(point->number));
    for (const std::string& setting : point->settings) row.push_back(setting);
    for (const std::string& name : shown_columns) row.push_back(cell(study, *point, name));
    row.push_back(fact(*point, "binding"));
  }
  const std::string kept = study.targets.empty() ? "" : " that keep " + targets_text(study);
  fmt::print(stream, "\nBest of {}{}\n", points_text(best.size()), kept);
  print_rows(rows, stream);
}

void print_refusals(const StudyResult& study, std::FILE* stream) {
  for (const auto& [kind, count] : study.refusals) {
    const auto example = std::find_if(
        study.points.begin(), study.points.end(),
        [&kind = kind](const StudyPoint& point) { return point.refusal_kind == kind; });
    fmt::print(stream, "Refused, {}: {}; point {}: {}\n", kind, points_text(count), example->number,
               *example->refused);
  }
}

}  // namespace

std::string study_csv(const StudyResult& study) {
  const std::vector<std::string> facts = fact_names(study);
  const auto front = on_front(study);
  std::string text = csv_header(study, facts);
  for (std::size_t i = 0; i < study.points.size(); ++i) {
    const StudyPoint& point = study.points[i];
    text += std::to_string(point.number);
    if (has_names(study)) text += ',' + quoted(point.name);
    for (const std::string& setting : point.settings) text += ',' + quoted(setting);
    for (std::size_t q = 0; q < study.quantities.size(); ++q)
      text += figures(point.refused ? std::nullopt : point.quantities[q]);
    for (const std::string& name : facts) text += ',' + quoted(fact(point, name));
    const bool judged = !point.refused && !study.targets.empty();
    text += ',' + (judged ? core::to_string(point.attainment) : "");
    text += ',' + (front.contains(i) ? front.at(i) : "");
    text += ',' + point.refusal_kind + ',' + quoted(point.refused.value_or("")) + '\n';
  }
  return text;
}

std::string study_json(const StudyResult& study) {
  Json json;
  json["schema"] = "tessera-study-1";
  json["kind"] = study.kind;
  json["name"] = study.name;
  json["title"] = study.title;
  json["base"] = study.base;
  json["fidelity"] = study.fidelity;
  json["tessera"] = study.tessera_version;
  json["answer"] = study.answer;
  json["axes"] = Json::array();
  for (const core::StudyAxis& axis : study.axes)
    json["axes"].push_back({{"path", axis.path}, {"values", axis.values}});
  json["for_each"] = study.for_each;
  json["quantities"] = study.quantities;
  json["objective"] = study.objective;
  json["targets"] = Json::array();
  for (const core::StudyTarget& t : study.targets)
    json["targets"].push_back({{"quantity", t.quantity},
                               {"bound", t.at_most ? "at most" : "at least"},
                               {"limit", t.limit},
                               {"unit", t.unit}});
  json["points"] = Json::array();
  for (const StudyPoint& point : study.points) json["points"].push_back(point_json(study, point));
  json["excluded"] = study.excluded;
  json["refusals"] = Json::object();
  for (const auto& [kind, count] : study.refusals) json["refusals"][kind] = count;
  if (study.front) {
    json["front"] = {{"x", study.front->x}, {"y", study.front->y}, {"points", Json::array()}};
    for (const core::FrontPoint& point : study.front->points)
      json["front"]["points"].push_back({{"number", study.points[point.point].number},
                                         {"certain", point.certain},
                                         {"job", study.points[point.point].job}});
  }
  json["best"] = Json::array();
  for (const core::StudyBest& best : study.best)
    json["best"].push_back({{"title", best.title}, {"number", study.points[best.point].number}});
  json["warnings"] = study.warnings;
  return json.dump(1) + "\n";
}

void print_study(const StudyResult& study, std::FILE* stream) {
  fmt::print(stream, "{}\n{} of {}, {} fidelity", study.title, points_text(study.points.size()),
             study.base, study.fidelity);
  if (study.excluded > 0)
    fmt::print(stream, "; {} left out by where", count(static_cast<double>(study.excluded)));
  fmt::print(stream, "\n");
  for (const std::string& sentence : study.answer) fmt::print(stream, "{}\n", sentence);
  print_best(study, stream);
  if (study.front && !study.front->points.empty()) fmt::print(stream, "\n{}\n", front_text(study));
  print_refusals(study, stream);
  for (const std::string& warning : study.warnings) fmt::print(stream, "Warning: {}\n", warning);
}

void print_rows(const std::vector<std::vector<std::string>>& rows, std::FILE* stream) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) line += fmt::format("{:<{}}  ", row[c], widths[c]);
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print(stream, "{}\n", line);
  }
}

std::string front_text(const StudyResult& study) {
  const auto& points = study.front->points;
  const auto certain = std::count_if(points.begin(), points.end(),
                                     [](const core::FrontPoint& point) { return point.certain; });
  std::string jobs;
  for (const std::string& path : study.for_each) jobs += (jobs.empty() ? "" : " and ") + path;
  return fmt::format(
      "Front of {} against {}{}: {} that no other beats, {} more that none "
      "beats for sure",
      study.front->y, study.front->x, jobs.empty() ? "" : " for each " + jobs,
      points_text(static_cast<std::size_t>(certain)),
      points.size() - static_cast<std::size_t>(certain));
}

std::vector<std::string> axis_names(const StudyResult& study) {
  const auto last = [](const std::string& path, int parts) {
    std::size_t at = path.size();
    for (; parts > 0 && at != std::string::npos && at > 0; --parts) at = path.rfind('.', at - 1);
    return at == std::string::npos || at == 0 ? path : path.substr(at + 1);
  };
  std::vector<std::string> names;
  for (const core::StudyAxis& axis : study.axes) {
    int parts = 1;
    const auto is_taken = [&](const core::StudyAxis& other) {
      return other.path != axis.path && last(other.path, parts) == last(axis.path, parts);
    };
    while (std::any_of(study.axes.begin(), study.axes.end(), is_taken) &&
           last(axis.path, parts) != axis.path)
      ++parts;
    names.push_back(last(axis.path, parts));
  }
  return names;
}

std::string points_text(std::size_t points) {
  return fmt::format("{} point{}", count(static_cast<double>(points)), points == 1 ? "" : "s");
}

std::string settings_text(const StudyResult& study, const StudyPoint& point) {
  std::string text;
  for (std::size_t i = 0; i < study.axes.size(); ++i)
    if (!point.settings[i].empty())
      text +=
          fmt::format("{}{} {}", text.empty() ? "" : ", ", study.axes[i].path, point.settings[i]);
  return text;
}

std::string targets_text(const StudyResult& study) {
  std::string text;
  for (const core::StudyTarget& target : study.targets)
    text +=
        fmt::format("{}{} {} {}", text.empty() ? "" : " and ", target.quantity,
                    target.at_most ? "at most" : "at least", quantity(target.limit, target.unit));
  return text;
}

}  // namespace tessera::reports
