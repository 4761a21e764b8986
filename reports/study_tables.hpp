#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "sim/core/study_result.hpp"

/// A study as text, for people and programs. Pure functions of the record.
namespace tessera::reports {

/// One line a point under a header line, quoted by RFC 4180, lines ended by LF: number, name where
/// points have one, one column an axis, value, lower and upper of each quantity, facts, how it
/// stands to the targets, whether it is on the front, and why it was refused.
[[nodiscard]] std::string study_csv(const core::StudyResult& study);

/// Everything but the whole results of the best points.
[[nodiscard]] std::string study_json(const core::StudyResult& study);

/// The answer, the best points, what was refused and why.
void print_study(const core::StudyResult& study, std::FILE* stream);

/// How many points the front has and how many of them are sure. Requires: there is a front.
[[nodiscard]] std::string front_text(const core::StudyResult& study);

/// Rows of a table, the first one its head, each column as wide as its widest cell.
void print_rows(const std::vector<std::vector<std::string>>& rows, std::FILE* stream);

/// What people call each axis: the last parts of its path, as many as tell it from all others.
[[nodiscard]] std::vector<std::string> axis_names(const core::StudyResult& study);

/// "1 point", "2,000 points".
[[nodiscard]] std::string points_text(std::size_t points);

/// "batch.sequences 128, batch.context 4096": what the point sets.
[[nodiscard]] std::string settings_text(const core::StudyResult& study,
                                        const core::StudyPoint& point);

/// "tpot at most 50 ms and ttft at most 2 s"; empty without targets.
[[nodiscard]] std::string targets_text(const core::StudyResult& study);

}  // namespace tessera::reports
