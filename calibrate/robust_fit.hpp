#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tessera::calibrate {

/// One positive number to be fitted, in the logarithm.
struct FitVariable {
  std::string name;
  double prior;        ///< Where it is expected, > 0.
  double prior_sigma;  ///< Of its logarithm; small where the prior is to hold.
};

struct FittedVariable {
  double value;
  double relative_error;  ///< Standard error of the logarithm.
  bool moved_by_data;     ///< The data narrowed it to half of its prior's width or less.
};

struct RobustFit {
  std::vector<FittedVariable> parameters;
  double residual_scale;  ///< Robust standard deviation of the log residuals.
  int evaluations;
};

/// Fits positive parameters so that log(prediction / measurement) is small, by Levenberg-Marquardt
/// (Eigen) with a soft-L1 loss (iteratively reweighted) and log-normal priors.
///
/// `log_ratios` maps parameter values to one log(predicted / measured) per row; `weights` has one
/// entry a row. `scale` is the size of log ratio beyond which a row counts less. Deterministic.
[[nodiscard]] RobustFit fit_robustly(
    const std::vector<FitVariable>& parameters, const std::vector<double>& weights, double scale,
    const std::function<std::vector<double>(const std::vector<double>&)>& log_ratios);

}  // namespace tessera::calibrate
