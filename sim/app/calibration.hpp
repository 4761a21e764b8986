#pragma once

#include <string>
#include <vector>

namespace tessera::app {

struct CalibrationOptions {
  std::string measurements;
  std::vector<std::string> devices;
  std::string out;
  /// Stages in their order. bf16 GEMMs say what the GPU is; power says what its operations cost,
  /// which bf16 GEMMs see through the clock, so they come again; then casts, the GEMMs that casts
  /// precede, their energies, and kernels that share what was fitted so far.
  std::vector<std::string> families = {"gemm",
                                       "power_gemm",
                                       "gemm",
                                       "quantize",
                                       "gemm_quantised",
                                       "power_gemm_quantised",
                                       "attention_context",
                                       "encoder_attention",
                                       "attention_generation",
                                       "moe"};
  std::string half = "fit";
  std::string start;  ///< Folder of fits to start from; empty: the priors.
  std::string
      energies_from;  ///< Device whose fitted energies stand in where watts were not measured.
  /// "device": fit nothing of a device but the floor of its harness, and carry the rest over from
  /// the fits of `start`; "family=X": the same for the stages of file X, from the device's own
  /// fit. Empty: fit.
  std::string leave_out;
  bool only_harness = false;  ///< Fit what the harness adds and nothing of the GPU or its kernels.
  std::size_t rows = 240;
  std::size_t residual_rows = 600;  ///< Rows of a stage that residuals are taken on, at most.
  int passes = 2;
  int jobs = 1;
};

/// Fits every device, stage after stage, and writes `out`/DEVICE.yaml: parameters with standard
/// errors and grades, the residuals' spread by family and binding resource, and the provenance.
/// bf16 GEMMs fit the GPU's own parameters; the others only the costs of their implementations and
/// their harness. A stage without rows is left out. The file depends on the measurements and the
/// options alone, not on `jobs`. Prints what it did. Throws core::ConfigError.
void calibrate_devices(const CalibrationOptions& options);

}  // namespace tessera::app
