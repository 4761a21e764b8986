#pragma once

#include <string>

#include "sim/core/study_result.hpp"

namespace tessera::reports {

/// study.html: the page of a sweep or comparison, one file that opens without a network. Answer
/// first, then the front, where the money goes at the best points, every point as a sortable table
/// with a download, what was refused and why, and what the answer rests on. `points_csv`: the text
/// that the download gives.
[[nodiscard]] std::string to_study_html(const core::StudyResult& study,
                                        const std::string& points_csv);

}  // namespace tessera::reports
