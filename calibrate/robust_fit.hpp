#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace tessera::calibrate {

/// One positive number to be fitted, in the logarithm.
struct FitVariable {
  std::string name;
  double prior;        ///< Where it is expected, > 0.
  double prior_sigma;  ///< Of its logarithm; small where the prior is to hold.
  double lowest = 0;   ///< Values beyond are held at the bound.
  double highest = std::numeric_limits<double>::infinity();
  std::optional<double> start{};  ///< Where to begin; none: at the prior.
};

/// How rows far off are held back: both count a residual r in units of the scale; soft L1 goes on
/// growing as |r|, Cauchy as log r, for rows that may have measured something else.
enum class Loss { soft_l1, cauchy };

struct RobustOptions {
  double scale = 0.05;  ///< Size of a log ratio beyond which a row counts less.
  Loss loss = Loss::soft_l1;
  double difference = 1e-4;  ///< Step of numerical derivatives, in the logarithm. Of a model that
                             ///< rounds to whole cycles it must be larger than the rounding.
  int iterations = 60;       ///< Levenberg-Marquardt steps at most.
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
  /// Pairs of variables whose estimates move together (|correlation| > 0.9), by index: the data
  /// cannot tell them apart.
  struct Entangled {
    std::size_t first;
    std::size_t second;
    double correlation;
  };
  std::vector<Entangled> entangled;
};

/// Fits positive parameters so that log(prediction / measurement) is small: Levenberg-Marquardt
/// with a robust loss and log-normal priors.
///
/// `log_ratios` maps parameter values to one log(predicted / measured) per row, NaN where the model
/// refuses; `weights` has one entry a row. Deterministic.
[[nodiscard]] RobustFit fit_robustly(
    const std::vector<FitVariable>& variables, const std::vector<double>& weights,
    const RobustOptions& options,
    const std::function<std::vector<double>(const std::vector<double>&)>& log_ratios);

/// What a fit minimises: the loss of all rows, and the priors.
[[nodiscard]] double robust_cost(const std::vector<FitVariable>& variables,
                                 const std::vector<double>& weights, const RobustOptions& options,
                                 const std::vector<double>& values,
                                 const std::vector<double>& ratios);

}  // namespace tessera::calibrate
