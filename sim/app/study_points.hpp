#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "sim/app/study.hpp"
#include "sim/app/study_store.hpp"
#include "sim/app/training_run.hpp"
#include "sim/core/study_result.hpp"

/// A study's points: their keys, their answers, and the record that reports are made from.
namespace tessera::app {

/// The kept combinations of a study with the keys under which their answers are stored.
struct StudyPoints {
  std::vector<std::size_t> combinations;  ///< One a point.
  StoredStudy stored;                     ///< With one key a point.
};

/// A key is a hash over the program, every file of the configuration, the base scenario, the
/// point's settings, the fidelity and the quantities kept: points of any studies that agree in
/// these share their answer.
[[nodiscard]] StudyPoints points_of(const Study& study);

/// What a combination sets, as a JSON object of paths and values.
[[nodiscard]] std::string settings_json(const Study& study, std::size_t combination);

/// Runs the scenario that `read` reads and writes into `record` what became of it: the named
/// quantities (none named: all) and facts, or why there are none. Contradictions between its
/// settings come back as the refusal illegal_combination.
[[nodiscard]] PointRecord record_run(PointRecord record, const std::function<AnyScenario()>& read,
                                     const std::vector<std::string>& quantities,
                                     const RunOptions& options, RunStatistics& statistics);

/// Runs one point of a study.
[[nodiscard]] PointRecord run_point(const Study& study, std::size_t combination,
                                    const std::string& key, const RunOptions& options,
                                    RunStatistics& statistics);

/// What a store knows about a study, as reports take it. Points that are missing are left out.
[[nodiscard]] core::StudyResult study_result(const StoredStudy& study, StudyStore& store);

}  // namespace tessera::app
