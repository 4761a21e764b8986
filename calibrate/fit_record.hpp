#pragma once

#include <string>
#include <vector>

#include "models/device/device_spec.hpp"

namespace tessera::calibrate {

/// Errors of one group of fitted rows at cycle fidelity, as logarithms.
struct ResidualLine {
  std::string group;  ///< "gemm trtllm bfloat16"
  std::string stage;  ///< That measured them.
  std::size_t rows = 0;
  double median = 0;  ///< Of |log error|.
  double p90 = 0;
  double bias = 0;  ///< Median, signed.
};

/// How one stage of a calibration came to what it left in the file.
struct StageRecord {
  std::string stage;
  std::string half;
  std::size_t rows = 0;  ///< Fitted.
  int passes = 0;
  std::string model_version;      ///< gpu::kModelVersion then; the stage is stale under another.
  std::string measurements_hash;  ///< SHA-256 of the file read.
};

/// All that a fit file holds: parameters, residuals, and the stages in their order.
struct FitRecord {
  device::FitSet fits;
  std::vector<ResidualLine> residuals;
  std::vector<StageRecord> stages;
  std::string energies_from;  ///< Device whose energies were taken; empty: none.
};

/// The text of a fit file.
std::string fit_text(const std::string& device, const FitRecord& record);

/// Reads a device's own fit file of `folder` whole; one that only extends another's has no
/// residuals and no stages. Throws core::ConfigError with all mistakes.
FitRecord load_fit_record(const std::string& name, const std::string& folder);

}  // namespace tessera::calibrate
