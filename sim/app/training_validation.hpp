#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/app/published_runs.hpp"
#include "sim/app/training_run.hpp"
#include "sim/core/result.hpp"

/// Published training results beside what the model says about them; nothing of it is fitted.
namespace tessera::app {

/// A choice that the source does not state, made otherwise than its recipe's default.
struct OtherChoice {
  std::string choice;               ///< "recompute: full"
  std::optional<double> predicted;  ///< Tokens per second and GPU; none where refused.
};

/// One published result and its prediction.
struct ValidatedRun {
  PublishedRun run;
  std::optional<core::Estimate> predicted;  ///< Tokens per second and GPU.
  std::string refused;                      ///< Why not, where there is none.
  double memory = 0;                        ///< Bytes of the fullest GPU.
  double memory_size = 0;                   ///< Of a GPU.
  /// Parts of the step on the mean rank, the largest first: "bubble 12 %".
  std::vector<std::string> phases;
  std::vector<OtherChoice> others;

  /// predicted / published - 1.
  [[nodiscard]] std::optional<double> error() const;
  [[nodiscard]] bool inside() const;  ///< Whether the 90 % interval holds the published number.
  /// The same of an interval from the lower end at the slowest of all choices that the source
  /// leaves open to the upper end at the fastest.
  [[nodiscard]] bool inside_choices() const;
};

struct TrainingValidationOptions {
  std::string results;            ///< File; empty: those that ship.
  std::vector<std::string> rows;  ///< Only these ids; empty: all.
  bool other_choices = true;      ///< Also make what is not stated otherwise.
};

/// Simulates every row. A row that the program cannot model stays without a prediction and says
/// why. Throws core::ConfigError when the file is malformed.
[[nodiscard]] std::vector<ValidatedRun> validate_training(const TrainingValidationOptions& options,
                                                          const RunOptions& run,
                                                          RunStatistics& statistics);

/// Scores over all, by source, device and architecture; then every row, worst first; what was not
/// predicted with its reason.
[[nodiscard]] std::string to_text(const std::vector<ValidatedRun>& runs);
/// The rows with what was predicted appended.
[[nodiscard]] std::string to_csv(const std::vector<ValidatedRun>& runs);
[[nodiscard]] std::string to_html(const std::vector<ValidatedRun>& runs);

}  // namespace tessera::app
