#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/core/result.hpp"

/// The page of a study: many results of one question, whether a sweep's points or a comparison's
/// columns.
namespace tessera::reports {

/// One point of a study, as its page shows it.
struct StudyPoint {
  std::string name;                   ///< Short and distinct: "h800_sxm, batch 128".
  std::string series;                 ///< Points of one colour: the device or the cluster.
  std::vector<std::string> settings;  ///< What was varied, in order of StudyPage::axes.
  /// Those of the result that readers compare: "tokens_per_second_per_gpu", ...
  std::vector<std::pair<std::string, core::Estimate>> quantities;
  /// What the dollars per million tokens (or of the run) go to; sums to them. May be empty.
  std::vector<std::pair<std::string, core::Estimate>> cost_parts;
  std::string binding;                 ///< The resource that binds most of the time.
  std::vector<std::string> labels;     ///< Further text, in order of StudyPage::label_names.
  std::optional<std::string> refused;  ///< The reason; there are no quantities then.

  [[nodiscard]] const core::Estimate* find(const std::string& quantity) const;
};

/// Something that the answer rests on.
struct StudyAssumption {
  std::string what;   ///< "rental of h800_sxm"
  std::string value;  ///< "2.00 (1.70 to 3.42) USD/GPU/h"; may be empty for a sentence.
  core::Grade grade = core::Grade::assumed;
  std::string source;
};

/// The input of the study page.
struct StudyPage {
  std::string title;
  std::string answer;                    ///< One or two sentences: which wins, and how surely.
  std::vector<std::string> axes;         ///< Names of what was varied: "batch.sequences".
  std::vector<std::string> label_names;  ///< Heads of StudyPoint::labels: "TPP", "class".
  std::vector<StudyPoint> points;        ///< In the order of the study.
  std::vector<StudyAssumption> assumptions;
  std::vector<std::string> notes;  ///< Sentences on how it was made; warnings.
  std::string tessera_version;
  std::string fits;
};

/// Points that no other beats in both quantities, more being better in each, by rising `x`. Refused
/// points and those without either quantity are left out.
[[nodiscard]] std::vector<std::size_t> pareto_front(
    const std::vector<std::optional<std::pair<double, double>>>& points);

}  // namespace tessera::reports
