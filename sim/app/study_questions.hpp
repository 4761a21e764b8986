#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sim/core/config.hpp"
#include "sim/core/result.hpp"
#include "sim/core/study_result.hpp"

/// What a study or a comparison asks of its points: quantities, limits, the objective, the front.
namespace tessera::app {

struct Study;

using Quantities = std::vector<std::pair<std::string, core::Estimate>>;

/// A result's quantities, and those that follow from them: tokens_per_dollar.
[[nodiscard]] Quantities quantities_of(const core::Result& result);

/// A limit on a quantity of `unit` as text: "50 ms" for seconds. At most for what is better when
/// less, else at least. Throws core::ConfigError at `where` when the text is no such amount.
[[nodiscard]] core::StudyTarget read_target(const std::string& quantity, const std::string& unit,
                                            const std::string& text,
                                            const core::SourcePosition& where);

/// Reads `quantities`, `slo`, `objective` and `front` as they are written; mistakes go to the
/// document of `root`.
void read_questions(const core::ConfigNode& root, Study& study);

/// Runs the base scenario (or, where it is refused, the first points) in closed form and checks
/// that its answer has what the study asks about; fills in what the study leaves open.
void check_questions(const core::ConfigNode& root, Study& study);

}  // namespace tessera::app
