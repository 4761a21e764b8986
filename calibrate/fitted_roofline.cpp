#include "calibrate/fitted_roofline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "calibrate/measured_row.hpp"
#include "calibrate/scoreboard.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

constexpr std::size_t kFewestRows = 20;

struct Sample {
  double flops, bytes, measured;
};

struct Samples {
  std::vector<Sample> fit, test;
};

Sample sample(const MeasuredRow& row, double measured) {
  const auto m = static_cast<double>(row.size("M")), n = static_cast<double>(row.size("N")),
             k = static_cast<double>(row.size("K"));
  const core::DataType type = row.type("dtype");
  const double bits = m * k * core::activation_bits(type) + n * k * core::weight_bits(type) +
                      m * n * core::activation_bits(core::DataType::bf16);
  return {2 * m * n * k, bits / 8, measured};
}

/// Logarithms of rate, bandwidth and constant.
using Point = std::array<double, 3>;

FittedRoofline roofline_at(const Point& point) {
  return {std::exp(point[0]), std::exp(point[1]), std::exp(point[2])};
}

double error_at(const Point& point, const std::vector<Sample>& samples) {
  const FittedRoofline roofline = roofline_at(point);
  double sum = 0;
  for (const Sample& s : samples)
    sum += std::abs(std::log(roofline.microseconds(s.flops, s.bytes) / s.measured));
  return sum;
}

/// Where the search starts: the best rates that any row reached and the shortest row.
Point first_guess(const std::vector<Sample>& samples) {
  double rate = 0, bandwidth = 0, constant = samples.front().measured;
  for (const Sample& s : samples) {
    rate = std::max(rate, s.flops / s.measured);
    bandwidth = std::max(bandwidth, s.bytes / s.measured);
    constant = std::min(constant, s.measured);
  }
  return {std::log(rate), std::log(bandwidth), std::log(constant / 2)};
}

/// Pattern search: tries a step up and down in each coordinate, halves the step when none helps.
/// The error is convex enough in three coordinates for this to end at its least.
FittedRoofline fit(const std::vector<Sample>& samples) {
  constexpr double kFirstStep = 0.5, kLastStep = 1e-3;
  Point best = first_guess(samples);
  double least = error_at(best, samples);
  for (double step = kFirstStep; step > kLastStep;) {
    bool moved = false;
    for (std::size_t i = 0; i < best.size(); ++i)
      for (const double sign : {1.0, -1.0}) {
        Point next = best;
        next[i] += sign * step;
        const double error = error_at(next, samples);
        if (error >= least) continue;
        best = next;
        least = error;
        moved = true;
      }
    if (!moved) step /= 2;
  }
  return roofline_at(best);
}

}  // namespace

double FittedRoofline::microseconds(double flops, double bytes) const {
  return constant_us + std::max(flops / flops_per_us, bytes / bytes_per_us);
}

std::map<std::string, RooflineScore> fitted_rooflines(const CsvTable& gemm) {
  std::map<std::string, Samples> groups;
  for (std::size_t row = 0; row < gemm.size(); ++row) {
    const auto measured = gemm.number(row, "latency_us");
    if (!measured || *measured <= 0) continue;
    const std::string group = fmt::format("{} {} {}", gemm.text(row, "gpu"),
                                          gemm.text(row, "framework"), gemm.text(row, "dtype"));
    try {
      const Sample s = sample(MeasuredRow{gemm, row}, *measured);
      (half(gemm, row) == Half::fit ? groups[group].fit : groups[group].test).push_back(s);
    } catch (const core::Refusal&) {
      continue;  // of a type that is not modelled: counted where predictions are made
    }
  }
  std::map<std::string, RooflineScore> scores;
  for (const auto& [group, samples] : groups) {
    if (samples.fit.size() < kFewestRows || samples.test.size() < kFewestRows) continue;
    RooflineScore score{.fitted = fit(samples.fit), .rows = samples.test.size()};
    std::vector<double> sizes;
    for (const Sample& s : samples.test)
      sizes.push_back(std::abs(score.fitted.microseconds(s.flops, s.bytes) / s.measured - 1));
    score.median = quantile(sizes, 0.5);
    score.p90 = quantile(sizes, 0.9);
    scores[group] = score;
  }
  return scores;
}

}  // namespace tessera::calibrate
