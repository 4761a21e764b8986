#include "calibrate/fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "calibrate/robust_fit.hpp"

namespace tessera::calibrate {
namespace {

constexpr double kStep = 0.03;  ///< Of a parameter's logarithm, for differences.

/// The observations as the model sees them at some values of the free parameters.
class Observed {
 public:
  Observed(const device::FitSet& start, const std::vector<FreeParameter>& free,
           const std::vector<double>& observations, const Evaluate& evaluate)
      : start_(start),
        free_(free),
        observations_(observations),
        evaluate_(evaluate),
        correction_(observations.size(), 0.0) {}

  [[nodiscard]] device::FitSet fits_at(const std::vector<double>& values) const {
    device::FitSet fits = start_;
    for (std::size_t i = 0; i < free_.size(); ++i)
      fits.parameters[free_[i].name] = {.value = values[i],
                                        .grade = core::Grade::fitted,
                                        .unit = free_[i].unit,
                                        .source = "prior: " + free_[i].source};
    return fits;
  }

  /// log(predicted / measured), NaN where the model refuses; the closed form as corrected.
  [[nodiscard]] std::vector<double> log_ratios(const std::vector<double>& values,
                                               gpu::Fidelity fidelity) const {
    const auto predicted = evaluate_(fits_at(values), fidelity);
    std::vector<double> ratios;
    for (std::size_t i = 0; i < observations_.size(); ++i) {
      const double correction = fidelity == gpu::Fidelity::analytical ? correction_[i] : 0.0;
      ratios.push_back(predicted[i] ? std::log(*predicted[i] / observations_[i]) + correction
                                    : std::nan(""));
    }
    return ratios;
  }

  /// Makes the closed form agree with the cycle simulation at `values`, row by row.
  void correct(const std::vector<double>& values) {
    const device::FitSet fits = fits_at(values);
    const auto cycle = evaluate_(fits, gpu::Fidelity::cycle);
    const auto closed = evaluate_(fits, gpu::Fidelity::analytical);
    for (std::size_t i = 0; i < observations_.size(); ++i)
      correction_[i] = cycle[i] && closed[i] ? std::log(*cycle[i] / *closed[i]) : 0.0;
  }

 private:
  const device::FitSet& start_;
  const std::vector<FreeParameter>& free_;
  const std::vector<double>& observations_;
  const Evaluate& evaluate_;
  std::vector<double> correction_;
};

double median_size(const std::vector<double>& ratios) {
  std::vector<double> sizes;
  for (const double each : ratios)
    if (std::isfinite(each)) sizes.push_back(std::abs(each));
  if (sizes.empty()) return 0;
  const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
  std::nth_element(sizes.begin(), middle, sizes.end());
  return *middle;
}

std::vector<FitVariable> variables(const device::FitSet& start,
                                   const std::vector<FreeParameter>& free) {
  std::vector<FitVariable> all;
  for (const FreeParameter& parameter : free) {
    all.push_back({.name = parameter.name,
                   .prior = parameter.prior,
                   .prior_sigma = parameter.prior_spread,
                   .lowest = parameter.lowest,
                   .highest = parameter.highest});
    const auto known = start.parameters.find(parameter.name);
    if (known != start.parameters.end()) all.back().start = known->second.value;
  }
  return all;
}

}  // namespace

FitReport fit(const device::FitSet& start, const std::vector<FreeParameter>& free,
              const std::vector<double>& observations, const Evaluate& evaluate,
              const FitOptions& options, const std::function<void(const std::string&)>& log) {
  Observed observed{start, free, observations, evaluate};
  std::vector<FitVariable> moved = variables(start, free);
  const std::vector<double> weights =
      options.weights.empty() ? std::vector<double>(observations.size(), 1.0) : options.weights;
  const RobustOptions robust{.scale = options.robust_scale,
                             .loss = Loss::cauchy,
                             .difference = kStep,
                             .iterations = options.iterations};
  std::vector<double> best;
  for (const FitVariable& variable : moved)
    best.push_back(
        std::clamp(variable.start.value_or(variable.prior), variable.lowest, variable.highest));
  const std::vector<double> before = observed.log_ratios(best, gpu::Fidelity::cycle);
  FitReport report{.rows = observations.size()};
  report.median_before = report.median_after = median_size(before);
  double best_cost = robust_cost(moved, weights, robust, best, before);
  std::vector<double> values = best;
  RobustFit last;
  for (int pass = 0; pass < options.passes; ++pass) {
    observed.correct(values);
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i].start = values[i];
    last = fit_robustly(moved, weights, robust, [&](const std::vector<double>& at) {
      return observed.log_ratios(at, gpu::Fidelity::analytical);
    });
    for (std::size_t i = 0; i < moved.size(); ++i) values[i] = last.parameters[i].value;
    const std::vector<double> ratios = observed.log_ratios(values, gpu::Fidelity::cycle);
    const double cost = robust_cost(moved, weights, robust, values, ratios);
    log(fmt::format("pass {}: median |log error| {:.3f}, cost {:.1f}", pass + 1,
                    median_size(ratios), cost));
    if (cost >= best_cost) continue;
    best = values;
    best_cost = cost;
    report.median_after = median_size(ratios);
  }
  report.fits = observed.fits_at(best);
  for (std::size_t i = 0; i < last.parameters.size(); ++i)
    report.fits.parameters[free[i].name].standard_error =
        best[i] * last.parameters[i].relative_error;
  for (const RobustFit::Entangled& pair : last.entangled)
    report.entangled.push_back(fmt::format("{} and {} ({:+.2f})", free[pair.first].name,
                                           free[pair.second].name, pair.correlation));
  return report;
}

}  // namespace tessera::calibrate
