#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/gpu/gpu.hpp"
#include "sim/app/any_scenario.hpp"
#include "sim/app/study_filter.hpp"
#include "sim/core/config.hpp"
#include "sim/core/study_result.hpp"

namespace tessera::app {

inline constexpr const char* kStudyFolder = "workloads/studies";

/// One value that a point gives to a path of the scenario or of a file that it names.
struct StudySetting {
  std::string path;  ///< "cluster.node.device.hbm.peak_rate"
  core::Override change;
};

/// What is varied together: each choice sets the same paths.
struct StudyDimension {
  std::vector<std::vector<StudySetting>> choices;
};

/// How many points a study may have; more is a slip of the hand.
inline constexpr std::size_t kMaxStudyPoints = 1'000'000;

/// A base scenario and what differs from it. Its points are numbered in the order of nested loops
/// over the dimensions, the last one fastest; what the filters leave out has no number.
struct Study {
  std::string name;  ///< File stem.
  std::string title;
  std::string file;  ///< As messages name it.
  std::string base;  ///< As read_any_scenario takes it.
  gpu::Fidelity fidelity = gpu::Fidelity::analytical;
  std::vector<core::StudyAxis> axes;  ///< Every path that is varied.
  std::vector<std::string> for_each;  ///< Axes that say what is to be done, not how.
  std::vector<StudyDimension> dimensions;
  std::vector<StudyFilter> filters;
  std::vector<std::string> quantities;  ///< Kept of each result, in this order; empty: all.
  std::vector<core::StudyTarget> targets;
  std::optional<std::string> objective;  ///< The quantity that is best at its extreme.
  std::optional<std::pair<std::string, std::string>> front;
  nlohmann::ordered_json base_values;      ///< The base scenario's resolved document.
  std::string document;                    ///< The study's resolved document as JSON.
  std::vector<std::filesystem::path> own;  ///< Files of the study and of its base.

  /// Points before filters.
  [[nodiscard]] std::size_t combinations() const;
  /// The settings of one combination, one a path, in the order of `axes`.
  [[nodiscard]] std::vector<const StudySetting*> settings(std::size_t combination) const;
  /// Combinations that the filters keep, ascending.
  [[nodiscard]] std::vector<std::size_t> kept() const;
  /// What the base scenario sets a path to; none when it is no scalar there.
  [[nodiscard]] std::optional<std::string> base_value(const std::string& path) const;
  /// Whether points run on other machines than the base's; all are then priced by the list.
  [[nodiscard]] bool varies_machine() const;
  /// Reads the scenario of a combination. Throws as read_any_scenario.
  [[nodiscard]] AnyScenario scenario(std::size_t combination) const;
};

/// Reads a study by path or bare name of workloads/studies and its base scenario, and checks every
/// value in some combination in which it should be sound. Throws core::ConfigError with all
/// mistakes, at the places in the study where they stand.
[[nodiscard]] Study read_study(const std::string& path_or_name);

}  // namespace tessera::app
