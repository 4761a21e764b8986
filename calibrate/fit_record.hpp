#pragma once

#include <string>
#include <vector>

#include "models/device/device_spec.hpp"

namespace tessera::calibrate {

/// Errors of one group of rows of the fitted half at cycle fidelity, as logarithms.
struct ResidualLine {
  std::string group;  ///< "gemm trtllm bfloat16"
  std::string stage;  ///< That measured them.
  std::size_t rows = 0;
  double median = 0;  ///< Of |log error|.
  double p90 = 0;
  double bias = 0;  ///< Median of log(predicted / measured).
  /// Ends of the 90 % interval of log(measured / predicted); both 0 where it is not known.
  double lower = 0, upper = 0;
  double inside = 0;  ///< Share of rows inside the interval that the other rows make.
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
  std::string carried_from;   ///< Devices whose fits make this one; empty: the device's own rows.
  std::string stamp;          ///< As the file says; empty: it has none.
};

/// What the residuals of a record belong to: a hash of the model's version and the parameters. A
/// file whose own stamp is another says what some other model or fit did.
[[nodiscard]] std::string stamp_of(const FitRecord& record);

/// The text of a fit file, stamped anew.
std::string fit_text(const std::string& device, const FitRecord& record);

/// What describes a device: the record of its own fit of `folder`, or of its generation's, whose
/// parameters are then graded no better than transferred.
struct DeviceRecord {
  FitRecord record;
  bool transferred = false;
};
DeviceRecord load_record_for(const device::DeviceSpec& device, const std::string& folder);

/// Reads a device's own fit file of `folder` whole; one that only extends another's has no
/// residuals and no stages. Throws core::ConfigError with all mistakes.
FitRecord load_fit_record(const std::string& name, const std::string& folder);

}  // namespace tessera::calibrate
