#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "reports/format.hpp"
#include "reports/study_tables.hpp"
#include "sim/app/serving_comparison.hpp"

namespace tessera::app {
namespace {

using core::Estimate;
using core::StudyPoint;
using core::StudyResult;

std::string fact(const StudyPoint& point, const std::string& name) {
  for (const auto& [key, text] : point.facts)
    if (key == name) return text;
  return "-";
}

/// "2,345 (2,000 to 2,700)" in the scale of the value, or "-".
std::string ranged(const StudyResult& study, const StudyPoint& point, const std::string& name,
                   double scale = 1) {
  const Estimate* e = study.find(point, name);
  if (!e) return "-";
  return fmt::format("{} ({} to {})", reports::number(e->value * scale),
                     reports::number(e->lower * scale), reports::number(e->upper * scale));
}

std::string figure(const StudyResult& study, const StudyPoint& point, const std::string& name,
                   double scale = 1) {
  const Estimate* e = study.find(point, name);
  return e ? reports::number(e->value * scale) : "-";
}

constexpr double kMilli = 1e3;  ///< Seconds to ms.

std::vector<std::string> cells(const StudyResult& study, const ServingColumn& column) {
  const StudyPoint& point = study.points[*column.point];
  return {column.name,
          point.settings[1],
          ranged(study, point, "tokens_per_second_per_gpu"),
          figure(study, point, "tokens_per_second_per_user"),
          ranged(study, point, "tpot", kMilli),
          figure(study, point, "largest_batch"),
          ranged(study, point, "dollars_per_million_tokens"),
          figure(study, point, "joules_per_token"),
          fact(point, "binding"),
          fact(point, "tpp"),
          fact(point, "export_class"),
          core::to_string(column.attainment)};
}

/// The column that is best in a quantity, and how the others' intervals stand to its.
std::optional<std::string> sentence(const StudyResult& study, const ServingAnswer& answer,
                                    const std::string& quantity, const std::string& what,
                                    const std::string& limits) {
  const bool more = core::more_is_better(quantity);
  const ServingColumn* best = nullptr;
  const Estimate* figure = nullptr;
  std::size_t answering = 0;
  for (const ServingColumn& column : answer.columns) {
    const Estimate* e = column.point ? study.find(study.points[*column.point], quantity) : nullptr;
    if (!e) continue;
    ++answering;
    if (figure != nullptr && (more ? e->value <= figure->value : e->value >= figure->value))
      continue;
    best = &column;
    figure = e;
  }
  if (best == nullptr) return std::nullopt;
  std::string overlapping;
  for (const ServingColumn& column : answer.columns) {
    const Estimate* e = column.point ? study.find(study.points[*column.point], quantity) : nullptr;
    if (!e || &column == best || e->upper < figure->lower || e->lower > figure->upper) continue;
    overlapping += (overlapping.empty() ? "" : ", ") + column.name;
  }
  std::string text =
      fmt::format("{}, {} {}: {} ({})", limits, best->name, what,
                  reports::quantity(figure->value, figure->unit), reports::interval(*figure));
  if (answering == 1) return text + "; no other answers.";
  if (overlapping.empty()) return text + "; no other's interval overlaps with its.";
  return text + "; not for sure, as the intervals of " + overlapping + " overlap with its.";
}

}  // namespace

std::vector<std::string> winners(const StudyResult& study, const ServingAnswer& answer) {
  const std::string targets = reports::targets_text(study);
  const std::string limits = targets.empty() ? "At the largest batch that fits" : "With " + targets;
  std::vector<std::string> sentences;
  const auto add = [&](const std::string& quantity, const std::string& what) {
    if (auto text = sentence(study, answer, quantity, what, limits))
      sentences.push_back(*std::move(text));
  };
  add("tokens_per_second_per_gpu", "gives the most tokens a second and GPU");
  add("dollars_per_million_tokens", "has the cheapest tokens (USD a million)");
  add("joules_per_token", "takes the least energy a token");
  if (sentences.empty()) sentences.push_back(limits + ", no cluster answers.");
  return sentences;
}

void print_comparison(const ServingComparison& comparison, std::FILE* stream) {
  const StudyResult& study = comparison.study;
  fmt::print(stream, "{}, {} fidelity\n", study.title, study.fidelity);
  for (const ServingAnswer& answer : comparison.answers) {
    StudyResult limited;
    limited.targets = answer.targets;
    const std::string targets = reports::targets_text(limited);
    fmt::print(stream, "\n{}\n", targets.empty() ? "Whatever fits" : targets);
    std::vector<std::vector<std::string>> rows = {
        {"", "batch", "tokens/s/GPU", "tokens/s/user", "TPOT, ms", "largest", "USD/Mtoken",
         "J/token", "binding", "TPP", "export class", "keeps limits"}};
    for (const ServingColumn& column : answer.columns)
      if (column.point) rows.push_back(cells(study, column));
    if (rows.size() > 1) reports::print_rows(rows, stream);
    for (const ServingColumn& column : answer.columns)
      if (!column.point) fmt::print(stream, "{}: {}\n", column.name, column.reason);
    for (const std::string& line : answer.sentences) fmt::print(stream, "{}\n", line);
  }
  if (study.front)
    fmt::print(stream,
               "\nFront of tokens per dollar against tokens a second and user: {} points, {} of "
               "them beaten in value but within intervals; --out writes them.\n",
               study.front->points.size(),
               std::count_if(study.front->points.begin(), study.front->points.end(),
                             [](const core::FrontPoint& point) { return !point.certain; }));
  fmt::print(stream,
             "Batch: sequences an attention rank, the largest that keeps the limits; largest: what "
             "memory holds.\nRanges are 90 % intervals, each cluster's of its own: errors that "
             "all share widen them all.\nExport classes are information, not legal advice.\n");
}

}  // namespace tessera::app
