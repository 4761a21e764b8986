#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit_record.hpp"

/// How far measured calls lie from their predictions, and the intervals that follow from it.
namespace tessera::calibrate {

/// One measured number of a group.
struct CallError {
  double predicted_us = 0;  ///< Duration of the call; also where watts were measured.
  double log_ratio = 0;     ///< log(measured / predicted), of microseconds or watts.
};

/// The residual lines of a group: its own, and one for its short, medium and long calls where there
/// are enough of each. `lower` and `upper` are the ranks that hold 90 % of the next draw from the
/// same population (split conformal prediction: ranks floor(0.05 (n + 1)) and ceil(0.95 (n + 1))),
/// each end by itself, because calls err further to one side. Requires: errors is not empty.
std::vector<ResidualLine> residual_lines(const std::string& group, const std::string& stage,
                                         const std::vector<CallError>& errors);

/// 90 % intervals of predicted calls, from the residual lines of a fit. They hold all that makes a
/// call differ from its prediction: the model, its parameters, the harness's constant, repeats, and
/// the draw of a power-law routing.
class CallIntervals {
 public:
  /// `transferred`: the fit is of another device of the generation, and intervals are wider.
  CallIntervals(const std::vector<ResidualLine>& lines, bool transferred);

  /// Factors on a prediction of `predicted_us`, lower <= 1 <= upper; none when no residual of the
  /// group is known.
  struct Factors {
    double lower, upper;
  };
  [[nodiscard]] std::optional<Factors> around(const std::string& group, double predicted_us) const;

 private:
  std::map<std::string, ResidualLine> lines_;
  bool transferred_;
};

}  // namespace tessera::calibrate
