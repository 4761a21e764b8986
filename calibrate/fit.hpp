#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/parameters.hpp"
#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_result.hpp"

namespace tessera::calibrate {

/// What the model says for every observation; none where it refuses.
using Evaluate =
    std::function<std::vector<std::optional<double>>(const device::FitSet&, gpu::Fidelity)>;

struct FitOptions {
  int passes = 3;                    ///< Corrections of the closed form by the cycle simulation.
  std::vector<double> weights = {};  ///< Of the observations; empty: all count the same.
  int iterations = 12;               ///< Levenberg-Marquardt steps a pass.
  double robust_scale =
      0.15;  ///< Residuals (of the logarithm) beyond this count less and less (Cauchy).
};

struct FitReport {
  device::FitSet fits;  ///< `start` with the fitted parameters and their standard errors.
  std::size_t rows = 0;
  double median_before = 0, median_after = 0;  ///< |log ratio|, cycle fidelity.
  /// Pairs of parameters whose estimates move together (|correlation| > 0.9): the data cannot tell
  /// them apart.
  std::vector<std::string> entangled;
};

/// Moves `free` so that predictions meet the observations: fit_robustly on log(predicted /
/// measured). The Jacobian is the closed form's; after each pass the
/// closed form is corrected, row by row, by what the cycle simulation says at that point, so that
/// what is fitted is the cycle model.
FitReport fit(const device::FitSet& start, const std::vector<FreeParameter>& free,
              const std::vector<double>& observations, const Evaluate& evaluate,
              const FitOptions& options, const std::function<void(const std::string&)>& log);

}  // namespace tessera::calibrate
