#pragma once

#include <string>
#include <vector>

namespace tessera::app {

struct CalibrationOptions {
  std::string measurements;
  std::vector<std::string> devices;
  std::string out;
  std::vector<std::string> families = {"gemm", "quantize", "gemm_quantised", "attention_context",
                                       "moe"};
  std::string half = "fit";
  std::string start;
  std::string
      energies_from;  ///< Device whose fitted energies stand in where watts were not measured.
  bool only_harness = false;  ///< Fit what the harness adds and nothing of the GPU or its kernels.
  std::size_t rows = 240;
  int passes = 3;
  int jobs = 1;
};

/// Fits every device, family after family, and writes `out`/DEVICE.yaml: parameters with standard
/// errors and grades, the residuals' spread by family and binding resource, and the provenance. The
/// first family fits the GPU's own parameters; later ones only the costs of their implementations
/// and their harness. Prints what it did. Throws core::ConfigError.
void calibrate_devices(const CalibrationOptions& options);

}  // namespace tessera::app
