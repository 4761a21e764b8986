#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sim/core/study_result.hpp"

namespace tessera::reports {

/// study.html: the page of a sweep or comparison, one file that opens without a network. Answer
/// first, then the front, where the money goes at the best points, every point as a sortable table
/// with a download, what was refused and why, and what the answer rests on. `points_csv`: the text
/// that the download gives.
[[nodiscard]] std::string to_study_html(const core::StudyResult& study,
                                        const std::string& points_csv);

/// What the dollars of a result go to, by phase: its dollars per million tokens, or of its run, by
/// each phase's part of the time. Empty without either quantity or without phases.
[[nodiscard]] std::vector<std::pair<std::string, core::Estimate>> cost_by_phase(
    const core::Result& result);

}  // namespace tessera::reports
