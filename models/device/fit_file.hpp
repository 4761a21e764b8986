#pragma once

#include <string>

#include "models/device/device_spec.hpp"
#include "sim/core/config.hpp"

namespace tessera::device {

/// Where the fits that ship lie, below the data root.
inline constexpr const char* kFitFolder = "calibrate/fits";

/// Reads a fit by bare name (of `folder`) or path:
///
///     parameters:
///       hbm.reachable: {value: 0.92, unit: "1", standard_error: 0.01, grade: fitted, source:
///       "..."}
///
/// `residuals` and `provenance` are read by calibration (calibrate/fit_record). The hash is over
/// the bytes of the file and of what it extends. Throws core::ConfigError with all mistakes.
[[nodiscard]] FitSet load_fit(const std::string& name_or_path,
                              const std::string& folder = kFitFolder);

/// The fit of a device: the file of its name, or else its generation's ("hopper"), whose parameters
/// are then graded no better than transferred. Throws core::ConfigError when there is neither.
[[nodiscard]] FitSet load_fit_for(const DeviceSpec& device, const std::string& folder = kFitFolder);

/// Reads a loaded document and finishes it.
[[nodiscard]] FitSet read_fit(const core::ConfigDocument& document);

/// Options under which a bare name is a fit of `folder`.
[[nodiscard]] core::LoadOptions fit_options(const std::string& folder = kFitFolder);

}  // namespace tessera::device
