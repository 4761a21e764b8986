#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/closed_loop.hpp"
#include "calibrate/served_row.hpp"
#include "models/gpu/kernel_result.hpp"

/// How long the GPUs of measured servers work on an iteration.
namespace tessera::app {

/// A time in milliseconds with its 90 % interval.
struct ServedTime {
  double ms = 0, lower_ms = 0, upper_ms = 0;
};

/// One row and the GPU's part of what was measured.
struct TimedRow {
  calibrate::ServedRow row;
  std::string refused;  ///< Why there are no times.
  ServedTime decode, prefill;
  /// An iteration of a server that drafts tokens, and what it brings each request; none: nobody
  /// said how many such servers draft.
  std::optional<ServedTime> drafting;
  double drafted_tokens = 1;
  double weights_ms = 0;  ///< Weights of a decode alone at the HBM's peak rate.
  bool mixes = false;
  bool eager = false;
  std::int64_t layers = 0;
  std::string architecture;
  bool can_speculate = false;  ///< The model has modules that predict further tokens.

  /// Times at a host overhead, of a layer where eager; per attention replica. `tokens`: of each
  /// request and iteration.
  [[nodiscard]] calibrate::ClosedLoopTimes at(double overhead_ms) const;
  [[nodiscard]] calibrate::ClosedLoopTimes at(double overhead_ms, double decode_ms,
                                              double prefill_ms, double tokens = 1) const;
};

struct ServedTimesOptions {
  std::string fits;  ///< Folder; empty: those that ship.
  gpu::Fidelity fidelity = gpu::Fidelity::cycle;
  int jobs = 1;
};

/// The covered rows of e2e_serving.csv in their order; iterations are those of models/serving, as
/// `tessera run` simulates them.
[[nodiscard]] std::vector<TimedRow> time_served_rows(const calibrate::CsvTable& table,
                                                     const std::vector<std::size_t>& rows,
                                                     const ServedTimesOptions& options);

}  // namespace tessera::app
