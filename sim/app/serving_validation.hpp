#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/csv_table.hpp"
#include "calibrate/host_overhead.hpp"
#include "sim/app/served_times.hpp"

/// Measured servers (e2e_serving.csv) beside what the model says about them.
namespace tessera::app {

struct ServingValidationOptions {
  std::string measurements;  ///< Folder with e2e_serving.csv.
  std::string fits;          ///< Folder; empty: those that ship.
  gpu::Fidelity fidelity = gpu::Fidelity::cycle;
  std::optional<calibrate::Half> half;  ///< Rows to quote; none: all.
  double most_batch = 8;                ///< Rows of a larger `batch` are left out.
  int jobs = 1;
};

/// A number with its 90 % interval, in milliseconds.
struct ServedEstimate {
  double value = 0, lower = 0, upper = 0;
};

struct ValidatedServer {
  TimedRow timed;
  ServedEstimate ttft, tpot;  ///< Meaningless where timed.refused says why.
  std::string speculation;    ///< Why the row cannot be explained without it; empty: it can.

  /// predicted / measured - 1.
  [[nodiscard]] double error() const { return tpot.value / timed.row.tpot_ms - 1; }
  [[nodiscard]] bool inside() const {
    return tpot.lower <= timed.row.tpot_ms && timed.row.tpot_ms <= tpot.upper;
  }
};

struct ServingValidation {
  ServingValidationOptions options;
  calibrate::CsvTable table;          ///< All rows of the file.
  std::vector<ValidatedServer> rows;  ///< The covered ones, in the file's order.
  calibrate::HostOverheads overheads;
};

/// Throws core::ConfigError.
[[nodiscard]] ServingValidation validate_serving(const ServingValidationOptions& options);

/// Fits the host overheads to the fit half's rows. Throws core::ConfigError.
[[nodiscard]] calibrate::HostOverheads fit_serving(const ServingValidationOptions& options);

/// Every covered row, worst first; medians by GPU and model; coverage with reasons.
[[nodiscard]] std::string to_text(const ServingValidation& validation);
/// The file's rows with predicted_ttft_ms, predicted_tpot_ms and their lower_ and upper_.
[[nodiscard]] std::string to_csv(const ServingValidation& validation);

}  // namespace tessera::app
