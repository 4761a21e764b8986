#include "calibrate/fit.hpp"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <map>

namespace tessera::calibrate {
namespace {

constexpr double kStep = 0.03;  ///< Of a parameter's logarithm, for differences.
constexpr double kEntangled = 0.9;

/// The least-squares problem around one state of the parameters.
class Problem {
 public:
  Problem(const device::FitSet& start, const std::vector<FreeParameter>& free,
          const std::vector<double>& observations, const Evaluate& evaluate, double robust_scale)
      : start_(start),
        free_(free),
        observations_(observations),
        evaluate_(evaluate),
        robust_scale_(robust_scale),
        correction_(observations.size(), 0.0) {}

  [[nodiscard]] device::FitSet fits_at(const Eigen::VectorXd& x) const {
    device::FitSet fits = start_;
    for (std::size_t i = 0; i < free_.size(); ++i)
      fits.parameters[free_[i].name] = {.value = value(x, i),
                                        .grade = core::Grade::fitted,
                                        .unit = free_[i].unit,
                                        .source = "prior: " + free_[i].source};
    return fits;
  }

  [[nodiscard]] double value(const Eigen::VectorXd& x, std::size_t i) const {
    return std::clamp(std::exp(x[static_cast<Eigen::Index>(i)]), free_[i].lowest, free_[i].highest);
  }

  /// log(predicted / measured), NaN where the model refuses.
  [[nodiscard]] Eigen::VectorXd residuals(const Eigen::VectorXd& x, gpu::Fidelity fidelity) const {
    const device::FitSet fits = fits_at(x);
    const auto predicted = evaluate_(fits, fidelity);
    Eigen::VectorXd r(static_cast<Eigen::Index>(observations_.size()));
    for (std::size_t i = 0; i < observations_.size(); ++i) {
      double& at = r[static_cast<Eigen::Index>(i)];
      if (!predicted[i]) {
        at = std::nan("");
        continue;
      }
      const double corrected =
          *predicted[i] * (fidelity == gpu::Fidelity::analytical ? std::exp(correction_[i]) : 1.0);
      at = std::log(corrected / observations_[i]);
    }
    return r;
  }

  /// Makes the closed form agree with the cycle simulation at `x`, row by row.
  void correct(const Eigen::VectorXd& x) {
    const device::FitSet fits = fits_at(x);
    const auto cycle = evaluate_(fits, gpu::Fidelity::cycle);
    const auto closed = evaluate_(fits, gpu::Fidelity::analytical);
    for (std::size_t i = 0; i < observations_.size(); ++i)
      correction_[i] = cycle[i] && closed[i] ? std::log(*cycle[i] / *closed[i]) : 0.0;
  }

  [[nodiscard]] double cost(const Eigen::VectorXd& x, const Eigen::VectorXd& r) const {
    double sum = 0;
    for (const double each : r)
      if (std::isfinite(each)) sum += std::log1p(std::pow(each / robust_scale_, 2));
    for (std::size_t i = 0; i < free_.size(); ++i) sum += std::pow(prior_residual(x, i), 2);
    return sum;
  }

  [[nodiscard]] double prior_residual(const Eigen::VectorXd& x, std::size_t i) const {
    return (x[static_cast<Eigen::Index>(i)] - std::log(free_[i].prior)) / free_[i].prior_spread;
  }

  /// Normal equations at `x`: Cauchy weights on the rows, unit weight on the priors.
  void normal_equations(const Eigen::VectorXd& x, const Eigen::VectorXd& r,
                        Eigen::MatrixXd& hessian, Eigen::VectorXd& gradient) const {
    const auto n = static_cast<Eigen::Index>(free_.size());
    Eigen::MatrixXd jacobian(r.size(), n);
    for (Eigen::Index j = 0; j < n; ++j) {
      Eigen::VectorXd moved = x;
      moved[j] += kStep;
      jacobian.col(j) = (residuals(moved, gpu::Fidelity::analytical) - r) / kStep;
    }
    hessian = Eigen::MatrixXd::Zero(n, n);
    gradient = Eigen::VectorXd::Zero(n);
    for (Eigen::Index i = 0; i < r.size(); ++i) {
      if (!std::isfinite(r[i]) || !jacobian.row(i).allFinite()) continue;
      const double weight =
          1 / (1 + std::pow(r[i] / robust_scale_, 2)) / std::pow(robust_scale_, 2);
      hessian += weight * jacobian.row(i).transpose() * jacobian.row(i);
      gradient += weight * r[i] * jacobian.row(i).transpose();
    }
    for (Eigen::Index j = 0; j < n; ++j) {
      const double spread = free_[static_cast<std::size_t>(j)].prior_spread;
      hessian(j, j) += 1 / (spread * spread);
      gradient[j] += prior_residual(x, static_cast<std::size_t>(j)) / spread;
    }
  }

 private:
  const device::FitSet& start_;
  const std::vector<FreeParameter>& free_;
  const std::vector<double>& observations_;
  const Evaluate& evaluate_;
  double robust_scale_;
  std::vector<double> correction_;
};

double median_size(const Eigen::VectorXd& r) {
  std::vector<double> sizes;
  for (const double each : r)
    if (std::isfinite(each)) sizes.push_back(std::abs(each));
  if (sizes.empty()) return 0;
  std::nth_element(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2),
                   sizes.end());
  return sizes[sizes.size() / 2];
}

Eigen::VectorXd descend(const Problem& problem, Eigen::VectorXd x, int iterations,
                        Eigen::MatrixXd& hessian) {
  double damping = 1e-2;
  Eigen::VectorXd r = problem.residuals(x, gpu::Fidelity::analytical);
  double cost = problem.cost(x, r);
  for (int i = 0; i < iterations; ++i) {
    Eigen::VectorXd gradient;
    problem.normal_equations(x, r, hessian, gradient);
    bool moved = false;
    for (int attempt = 0; attempt < 5 && !moved; ++attempt) {
      Eigen::MatrixXd damped = hessian;
      damped.diagonal() *= 1 + damping;
      Eigen::VectorXd step = -damped.ldlt().solve(gradient);
      const double longest = step.cwiseAbs().maxCoeff();
      if (longest > 0.5) step *= 0.5 / longest;
      const Eigen::VectorXd next_r = problem.residuals(x + step, gpu::Fidelity::analytical);
      const double next_cost = problem.cost(x + step, next_r);
      if (next_cost < cost) {
        const bool settled = cost - next_cost < 1e-4 * cost;
        x += step;
        r = next_r;
        cost = next_cost;
        damping = std::max(damping / 4, 1e-4);
        moved = true;
        if (settled) return x;
      } else {
        damping *= 8;
      }
    }
    if (!moved) break;
  }
  return x;
}

}  // namespace

FitReport fit(const device::FitSet& start, const std::vector<FreeParameter>& free,
              const std::vector<double>& observations, const Evaluate& evaluate,
              const FitOptions& options, const std::function<void(const std::string&)>& log) {
  const auto n = static_cast<Eigen::Index>(free.size());
  Problem problem{start, free, observations, evaluate, options.robust_scale};
  Eigen::VectorXd x(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    const FreeParameter& parameter = free[static_cast<std::size_t>(i)];
    const auto known = start.parameters.find(parameter.name);
    x[i] =
        std::log(known == start.parameters.end() ? parameter.prior
                                                 : std::max(known->second.value, parameter.lowest));
  }
  FitReport report;
  report.rows = observations.size();
  report.median_before = median_size(problem.residuals(x, gpu::Fidelity::cycle));
  Eigen::MatrixXd hessian;
  Eigen::VectorXd best = x;
  report.median_after = report.median_before;
  double best_cost = problem.cost(x, problem.residuals(x, gpu::Fidelity::cycle));
  for (int pass = 0; pass < options.passes; ++pass) {
    problem.correct(x);
    x = descend(problem, x, options.iterations, hessian);
    const Eigen::VectorXd r = problem.residuals(x, gpu::Fidelity::cycle);
    const double cost = problem.cost(x, r);
    log(fmt::format("pass {}: median |log error| {:.3f}, cost {:.1f}", pass + 1, median_size(r),
                    cost));
    if (cost < best_cost) {
      best = x;
      best_cost = cost;
      report.median_after = median_size(r);
    }
  }
  report.fits = problem.fits_at(best);
  const Eigen::MatrixXd covariance = hessian.ldlt().solve(Eigen::MatrixXd::Identity(n, n));
  for (Eigen::Index i = 0; i < n; ++i) {
    const std::string& name = free[static_cast<std::size_t>(i)].name;
    device::Parameter& parameter = report.fits.parameters[name];
    parameter.standard_error = parameter.value * std::sqrt(std::max(0.0, covariance(i, i)));
    for (Eigen::Index j = 0; j < i; ++j) {
      const double correlation = covariance(i, j) / std::sqrt(covariance(i, i) * covariance(j, j));
      if (std::abs(correlation) > kEntangled)
        report.entangled.push_back(fmt::format(
            "{} and {} ({:+.2f})", free[static_cast<std::size_t>(j)].name, name, correlation));
    }
  }
  return report;
}

}  // namespace tessera::calibrate
