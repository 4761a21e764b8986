#include "calibrate/robust_fit.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <unsupported/Eigen/NonLinearOptimization>

namespace tessera::calibrate {

namespace {

constexpr int kReweightings = 6;         ///< The weights settle within a few rounds.
constexpr double kDifference = 1e-4;     ///< Step of numerical derivatives, in the logarithm.
constexpr int kLargestEvaluations = 60;  ///< Of one round, in units of Jacobians.

/// Weighted log ratios followed by distances from the priors, as Eigen's solver wants them.
struct Residuals {
  const std::vector<FitVariable>& parameters;
  const std::function<std::vector<double>(const std::vector<double>&)>& log_ratios;
  std::vector<double> weights;  ///< sqrt of all weights of a row, over the scale.
  mutable int evaluations = 0;

  [[nodiscard]] int inputs() const { return static_cast<int>(parameters.size()); }
  [[nodiscard]] int values() const { return static_cast<int>(weights.size()) + inputs(); }

  int operator()(const Eigen::VectorXd& x, Eigen::VectorXd& out) const {
    ++evaluations;
    std::vector<double> plain(parameters.size());
    for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = std::exp(x[static_cast<long>(i)]);
    const std::vector<double> ratios = log_ratios(plain);
    assert(ratios.size() == weights.size() && "one ratio a row");
    for (std::size_t i = 0; i < ratios.size(); ++i)
      out[static_cast<long>(i)] = weights[i] * ratios[i];
    for (std::size_t i = 0; i < parameters.size(); ++i)
      out[static_cast<long>(ratios.size() + i)] =
          (x[static_cast<long>(i)] - std::log(parameters[i].prior)) / parameters[i].prior_sigma;
    return 0;
  }

  int df(const Eigen::VectorXd& x, Eigen::MatrixXd& jacobian) const {
    Eigen::VectorXd high(values()), low(values()), at = x;
    for (long i = 0; i < x.size(); ++i) {
      at[i] = x[i] + kDifference;
      (*this)(at, high);
      at[i] = x[i] - kDifference;
      (*this)(at, low);
      at[i] = x[i];
      jacobian.col(i) = (high - low) / (2 * kDifference);
    }
    return 0;
  }
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

RobustFit fit_robustly(
    const std::vector<FitVariable>& parameters, const std::vector<double>& weights, double scale,
    const std::function<std::vector<double>(const std::vector<double>&)>& log_ratios) {
  Residuals residuals{parameters, log_ratios, std::vector<double>(weights.size())};
  Eigen::VectorXd x(static_cast<long>(parameters.size()));
  for (std::size_t i = 0; i < parameters.size(); ++i)
    x[static_cast<long>(i)] = std::log(parameters[i].prior);

  std::vector<double> ratios;
  const auto evaluate = [&] {
    std::vector<double> plain(parameters.size());
    for (std::size_t i = 0; i < plain.size(); ++i) plain[i] = std::exp(x[static_cast<long>(i)]);
    ratios = log_ratios(plain);
  };
  const auto reweight = [&] {
    evaluate();
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double in_scale = ratios[i] / scale;
      // Soft L1: rho(r) = 2 (sqrt(1 + r^2) - 1) has weight 1 / sqrt(1 + r^2).
      residuals.weights[i] = std::sqrt(weights[i] / std::sqrt(1 + in_scale * in_scale)) / scale;
    }
  };
  for (int round = 0; round < kReweightings; ++round) {
    reweight();
    Eigen::LevenbergMarquardt<Residuals> solver(residuals);
    solver.parameters.maxfev = kLargestEvaluations;
    solver.parameters.xtol = solver.parameters.ftol = 1e-6;
    solver.minimize(x);
  }
  reweight();

  RobustFit fit;
  std::vector<double> sizes;
  for (const double r : ratios) sizes.push_back(std::abs(r));
  fit.residual_scale = 1.4826 * median(sizes);  // of a normal distribution, from its median
  Eigen::MatrixXd jacobian(residuals.values(), residuals.inputs());
  residuals.df(x, jacobian);
  // The scale stands in for the spread of rows; correct by what the spread turned out to be.
  const double correction = std::max(fit.residual_scale / scale, 1e-6);
  const Eigen::MatrixXd information =
      jacobian.topRows(static_cast<long>(weights.size())).transpose() *
          jacobian.topRows(static_cast<long>(weights.size())) / (correction * correction) +
      jacobian.bottomRows(residuals.inputs()).transpose() * jacobian.bottomRows(residuals.inputs());
  const Eigen::MatrixXd covariance =
      information.ldlt().solve(Eigen::MatrixXd::Identity(x.size(), x.size()));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const double error =
        std::sqrt(std::max(0.0, covariance(static_cast<long>(i), static_cast<long>(i))));
    fit.parameters.push_back(
        {std::exp(x[static_cast<long>(i)]), error, error <= 0.5 * parameters[i].prior_sigma});
  }
  fit.evaluations = residuals.evaluations;
  return fit;
}

}  // namespace tessera::calibrate
