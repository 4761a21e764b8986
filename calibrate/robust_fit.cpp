#include "calibrate/robust_fit.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <cassert>
#include <cmath>

namespace tessera::calibrate {

namespace {

constexpr double kLongestStep = 0.5;  ///< Of a logarithm: models are not linear further out.
constexpr double kSettled = 1e-4;     ///< A gain below this part of the cost ends the search.
constexpr int kAttempts = 5;          ///< Dampings that one step tries.
constexpr double kEntangled = 0.9;

using Vector = Eigen::VectorXd;
using Matrix = Eigen::MatrixXd;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double loss(Loss kind, double scaled) {
  return kind == Loss::cauchy ? std::log1p(scaled * scaled)
                              : 2 * (std::sqrt(1 + scaled * scaled) - 1);
}

/// Weight of a row in the normal equations: the loss's slope over the residual.
double slope(Loss kind, double scaled) {
  return kind == Loss::cauchy ? 1 / (1 + scaled * scaled) : 1 / std::sqrt(1 + scaled * scaled);
}

/// The least-squares problem, in logarithms of the variables.
class Problem {
 public:
  Problem(const std::vector<FitVariable>& variables, const std::vector<double>& weights,
          const RobustOptions& options,
          const std::function<std::vector<double>(const std::vector<double>&)>& log_ratios)
      : variables_(variables), weights_(weights), options_(options), log_ratios_(log_ratios) {}

  [[nodiscard]] std::vector<double> values(const Vector& x) const {
    std::vector<double> plain(variables_.size());
    for (std::size_t i = 0; i < plain.size(); ++i)
      plain[i] = std::clamp(std::exp(x[static_cast<long>(i)]), variables_[i].lowest,
                            variables_[i].highest);
    return plain;
  }

  [[nodiscard]] std::vector<double> ratios(const Vector& x) {
    ++evaluations_;
    std::vector<double> r = log_ratios_(values(x));
    assert(r.size() == weights_.size() && "one ratio a row");
    return r;
  }

  [[nodiscard]] double cost(const Vector& x, const std::vector<double>& r) const {
    return robust_cost(variables_, weights_, options_, values(x), r);
  }

  /// Rows' derivatives at `x`; a row that is refused on either side counts nothing.
  [[nodiscard]] Matrix jacobian(const Vector& x, const std::vector<double>& r) {
    Matrix result(static_cast<long>(r.size()), x.size());
    for (long j = 0; j < x.size(); ++j) {
      Vector moved = x;
      moved[j] += options_.difference;
      const std::vector<double> beside = ratios(moved);
      for (std::size_t i = 0; i < r.size(); ++i)
        result(static_cast<long>(i), j) = (beside[i] - r[i]) / options_.difference;
    }
    return result;
  }

  /// Information of the rows under the loss, and of the priors.
  void normal_equations(const Vector& x, const std::vector<double>& r, const Matrix& derivatives,
                        Matrix& rows, Matrix& priors, Vector& gradient) const {
    rows = priors = Matrix::Zero(x.size(), x.size());
    gradient = Vector::Zero(x.size());
    for (std::size_t i = 0; i < r.size(); ++i) {
      const auto row = derivatives.row(static_cast<long>(i));
      if (!std::isfinite(r[i]) || !row.allFinite()) continue;
      const double weight =
          weights_[i] * slope(options_.loss, r[i] / options_.scale) / std::pow(options_.scale, 2);
      rows += weight * row.transpose() * row;
      gradient += weight * r[i] * row.transpose();
    }
    for (long j = 0; j < x.size(); ++j) {
      const FitVariable& variable = variables_[static_cast<std::size_t>(j)];
      priors(j, j) = 1 / std::pow(variable.prior_sigma, 2);
      gradient[j] += (x[j] - std::log(variable.prior)) * priors(j, j);
    }
  }

  [[nodiscard]] int evaluations() const { return evaluations_; }

 private:
  const std::vector<FitVariable>& variables_;
  const std::vector<double>& weights_;
  const RobustOptions& options_;
  const std::function<std::vector<double>(const std::vector<double>&)>& log_ratios_;
  int evaluations_ = 0;
};

struct State {
  Vector x;
  std::vector<double> r;
  double cost = 0;
  double damping = 1e-2;
};

/// One step downhill; false when no damping finds one, or when it gains next to nothing.
bool descend(Problem& problem, State& state) {
  Matrix rows, priors;
  Vector gradient;
  problem.normal_equations(state.x, state.r, problem.jacobian(state.x, state.r), rows, priors,
                           gradient);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Matrix damped = rows + priors;
    damped.diagonal() *= 1 + state.damping;
    Vector step = -damped.ldlt().solve(gradient);
    const double longest = step.cwiseAbs().maxCoeff();
    if (longest > kLongestStep) step *= kLongestStep / longest;
    const std::vector<double> next = problem.ratios(state.x + step);
    const double next_cost = problem.cost(state.x + step, next);
    if (next_cost < state.cost) {
      const bool settled = state.cost - next_cost < kSettled * state.cost;
      state = {state.x + step, next, next_cost, std::max(state.damping / 4, 1e-4)};
      return !settled;
    }
    state.damping *= 8;
  }
  return false;
}

/// Standard errors and correlations at the end. The scale stands in for the spread of rows; they
/// are corrected by what the spread turned out to be.
void state_errors(Problem& problem, const State& state, const std::vector<FitVariable>& variables,
                  double scale, RobustFit& fit) {
  Matrix rows, priors;
  Vector gradient;
  problem.normal_equations(state.x, state.r, problem.jacobian(state.x, state.r), rows, priors,
                           gradient);
  const double correction = std::max(fit.residual_scale / scale, 1e-6);
  const Matrix information = rows / (correction * correction) + priors;
  const Matrix covariance =
      information.ldlt().solve(Matrix::Identity(state.x.size(), state.x.size()));
  const std::vector<double> values = problem.values(state.x);
  for (std::size_t i = 0; i < variables.size(); ++i) {
    const auto at = static_cast<long>(i);
    const double error = std::sqrt(std::max(0.0, covariance(at, at)));
    fit.parameters.push_back({values[i], error, error <= 0.5 * variables[i].prior_sigma});
    for (long j = 0; j < at; ++j) {
      const double correlation =
          covariance(at, j) / std::sqrt(covariance(at, at) * covariance(j, j));
      if (std::abs(correlation) > kEntangled)
        fit.entangled.push_back({static_cast<std::size_t>(j), i, correlation});
    }
  }
}

}  // namespace

double robust_cost(const std::vector<FitVariable>& variables, const std::vector<double>& weights,
                   const RobustOptions& options, const std::vector<double>& values,
                   const std::vector<double>& ratios) {
  double sum = 0;
  for (std::size_t i = 0; i < ratios.size(); ++i)
    if (std::isfinite(ratios[i])) sum += weights[i] * loss(options.loss, ratios[i] / options.scale);
  for (std::size_t i = 0; i < variables.size(); ++i)
    sum += std::pow(std::log(values[i] / variables[i].prior) / variables[i].prior_sigma, 2);
  return sum;
}

RobustFit fit_robustly(
    const std::vector<FitVariable>& variables, const std::vector<double>& weights,
    const RobustOptions& options,
    const std::function<std::vector<double>(const std::vector<double>&)>& log_ratios) {
  Problem problem{variables, weights, options, log_ratios};
  State state;
  state.x.resize(static_cast<long>(variables.size()));
  for (std::size_t i = 0; i < variables.size(); ++i)
    state.x[static_cast<long>(i)] =
        std::log(std::clamp(variables[i].start.value_or(variables[i].prior), variables[i].lowest,
                            variables[i].highest));
  state.r = problem.ratios(state.x);
  state.cost = problem.cost(state.x, state.r);
  for (int i = 0; i < options.iterations; ++i)
    if (!descend(problem, state)) break;

  RobustFit fit;
  std::vector<double> sizes;
  for (const double r : state.r)
    if (std::isfinite(r)) sizes.push_back(std::abs(r));
  fit.residual_scale = 1.4826 * median(sizes);  // of a normal distribution, from its median
  state_errors(problem, state, variables, options.scale, fit);
  fit.evaluations = problem.evaluations();
  return fit;
}

}  // namespace tessera::calibrate
