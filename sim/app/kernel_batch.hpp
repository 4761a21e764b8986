#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "calibrate/csv_table.hpp"
#include "models/gpu/kernel_result.hpp"

namespace tessera::app {

struct KernelBatchOptions {
  std::string input;  ///< A kernel file in the measurements' shape.
  std::string output;
  std::string fits;  ///< Folder of fits; empty: those that ship.
  gpu::Fidelity fidelity = gpu::Fidelity::cycle;
  int jobs = 1;
};

/// Writes the input with predicted_us, lower_us, upper_us appended (power_* files: watts as well);
/// order, names and rows are kept. Rows that cannot be modelled stay empty and are counted on
/// stderr by reason. Throws core::ConfigError.
void predict_batch(const KernelBatchOptions& options);

/// How a table of measurements is predicted.
struct PredictionOptions {
  std::string fits;  ///< Folder of fits; empty: those that ship.
  gpu::Fidelity fidelity = gpu::Fidelity::cycle;
  int jobs = 1;
};

/// Appends the predictions to `table`, a measurement file of the name `file`. Returns what binds
/// each row's longest kernel; empty where the row is not modelled or no kernel. Rows that cannot be
/// modelled are counted in `reasons`. Throws core::ConfigError.
std::vector<std::string> predict_table(calibrate::CsvTable& table, const std::string& file,
                                       const PredictionOptions& options,
                                       std::map<std::string, std::size_t>& reasons);

}  // namespace tessera::app
