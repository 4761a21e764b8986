#pragma once

#include <string>

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

}  // namespace tessera::app
