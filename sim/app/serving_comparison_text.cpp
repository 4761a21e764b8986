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

/// The point of a column that has the quantity; null without.
const StudyPoint* point_with(const StudyResult& study, const ServingColumn& column,
                             const std::string& quantity) {
  const StudyPoint* point = column.point ? &study.points[*column.point] : nullptr;
  return point != nullptr && study.find(*point, quantity) != nullptr ? point : nullptr;
}

/// The column that is best in a quantity, and how many times its figure those are that may be as
/// good.
std::optional<std::string> sentence(const StudyResult& study, const ServingAnswer& answer,
                                    const std::string& quantity, const std::string& what,
                                    const std::string& limits) {
  const bool more = core::more_is_better(quantity);
  const StudyPoint* best = nullptr;
  std::vector<const StudyPoint*> points;
  for (const ServingColumn& column : answer.columns) {
    const StudyPoint* point = point_with(study, column, quantity);
    if (point == nullptr) continue;
    points.push_back(point);
    const double value = study.find(*point, quantity)->value;
    const double most = best != nullptr ? study.find(*best, quantity)->value : value;
    if (best == nullptr || (more ? value > most : value < most)) best = point;
  }
  if (best == nullptr) return std::nullopt;
  std::string rivals;
  for (const StudyPoint* point : points) {
    if (point == best || core::surely_no_worse(study, *best, *point, quantity)) continue;
    const Estimate ratio = core::ratio_of(study, *point, *best, quantity);
    rivals += fmt::format("{}{} {:.2f} ({:.2f} to {:.2f})", rivals.empty() ? "" : ", ", point->name,
                          ratio.value, ratio.lower, ratio.upper);
  }
  const Estimate& figure = *study.find(*best, quantity);
  const std::string text =
      fmt::format("{}, {} {}: {} ({})", limits, best->name, what,
                  reports::quantity(figure.value, figure.unit), reports::interval(figure));
  if (points.size() == 1) return text + "; no other answers.";
  if (rivals.empty()) return text + "; for sure, as no other's ratio to it reaches 1 at 90 %.";
  return text + "; not for sure, as others are so many times that: " + rivals + ".";
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
  if (study.front) fmt::print(stream, "\n{}; --out writes them.\n", reports::front_text(study));
  for (const std::string& note : study.warnings) fmt::print(stream, "{}\n", note);
  fmt::print(stream,
             "Batch: sequences an attention rank, the largest that keeps the limits; largest: what "
             "memory holds.\nRanges are 90 % intervals; what errors two points of one device share "
             "is left out of their ratio.\nExport classes are information, not legal advice.\n");
}

}  // namespace tessera::app
