#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "sim/core/study_result.hpp"

namespace tessera::app {

/// What --out of sweeps, merges and comparisons may hold.
[[nodiscard]] const std::set<std::string>& study_files();

/// Writes points.csv, result.json and the page into `folder`. Throws std::runtime_error naming the
/// file that cannot be written.
void write_study(const core::StudyResult& study, const std::filesystem::path& folder);

}  // namespace tessera::app
