#pragma once

#include <string>
#include <vector>

#include "calibrate/fit_record.hpp"
#include "models/device/device_spec.hpp"
#include "models/kernels/implementation_library.hpp"

/// From the fits of measured GPUs to one that nobody measured.
namespace tessera::calibrate {

/// The fit of a measured device.
struct CarriedFit {
  device::DeviceSpec device;
  FitRecord record;
};

/// The fits of the generation nearest to `generation`. Requires: there is one.
[[nodiscard]] std::vector<CarriedFit> nearest(const std::vector<CarriedFit>& fits,
                                              device::Generation generation);

/// What `target` takes from other GPUs' fits: every parameter as the mean of its logarithm,
/// weighted by the inverse square of its relative standard error, over the sources of the
/// generation nearest to the target's that have it. A parameter that the device descriptions give
/// (latencies, reachable parts) is carried as the ratio of fit to description; all others are
/// dimensionless, in SM cycles, or times and energies that do not scale with the size of a chip.
/// Their standard error is the weighted mean's plus the spread between the sources, and their grade
/// is transferred. An implementation of
/// the target's generation that no source ran takes the costs of its namesake ("cublas_blackwell"
/// of "cublas_hopper"). Left out is what a source itself took from the target. Residuals are those
/// of the nearest generation: of a group that several sources have, the one with the wider
/// interval.
[[nodiscard]] FitRecord carry_over(const device::DeviceSpec& target,
                                   const std::vector<CarriedFit>& sources,
                                   const kernels::ImplementationLibrary& library);

}  // namespace tessera::calibrate
