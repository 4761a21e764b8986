#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "models/streams/costs.hpp"
#include "sim/core/result.hpp"

namespace tessera::streams {

/// `value` with the interval that `varied` leaves it: two a family, lower and upper. The effects of
/// the families add in quadrature, inside a family all errors go together. Nothing that a run is
/// asked for is negative.
[[nodiscard]] core::Estimate estimate_of(double value, const std::vector<double>& varied,
                                         std::string unit, core::Grade grade);

/// A run with all costs at their best value, and with each family at both ends of its interval.
template <class Run>
struct Ensemble {
  Run nominal;
  std::vector<Run> varied;                    ///< Two a family: lower, upper.
  core::Grade grade = core::Grade::measured;  ///< The worst of all costs used.

  /// A quantity of the run with its interval.
  [[nodiscard]] core::Estimate estimate(const std::function<double(const Run&)>& of,
                                        std::string unit) const {
    std::vector<double> ends;
    for (const Run& run : varied) ends.push_back(of(run));
    return estimate_of(of(nominal), ends, std::move(unit), grade);
  }
};

/// `run` under every variation; the grade is left to the caller.
template <class Run>
[[nodiscard]] Ensemble<Run> vary(const std::function<Run(const Variation&)>& run) {
  Ensemble<Run> ensemble;
  ensemble.nominal = run({});
  for (const Family family : kFamilies) {
    ensemble.varied.push_back(run({Variation::Side::lower, family}));
    ensemble.varied.push_back(run({Variation::Side::upper, family}));
  }
  return ensemble;
}

}  // namespace tessera::streams
