#include "calibrate/robust_fit.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>

namespace tessera::calibrate {
namespace {

using Catch::Matchers::WithinRel;

/// time = base + size / rate at sizes 1, 2, 4, ...; every ninth row is 3 times too long.
struct Line {
  std::vector<double> sizes, times;
  Line(double base, double rate) {
    for (int i = 0; i < 40; ++i) {
      sizes.push_back(std::pow(2.0, i * 0.4));
      times.push_back((base + sizes.back() / rate) * (i % 9 == 4 ? 3.0 : 1.0));
    }
  }
  [[nodiscard]] std::vector<double> log_ratios(const std::vector<double>& p) const {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < sizes.size(); ++i)
      ratios.push_back(std::log((p[0] + sizes[i] / p[1]) / times[i]));
    return ratios;
  }
};

TEST_CASE("parameters are found through outliers", "[robust_fit]") {
  const Line line{20, 3};
  const RobustFit fit =
      fit_robustly({{"base", 5, 1}, {"rate", 1, 1}}, std::vector<double>(40, 1.0), {.scale = 0.05},
                   [&](const std::vector<double>& p) { return line.log_ratios(p); });
  CHECK_THAT(fit.parameters[0].value, WithinRel(20, 0.02));
  CHECK_THAT(fit.parameters[1].value, WithinRel(3, 0.02));
  CHECK(fit.parameters[0].moved_by_data);
  CHECK(fit.parameters[0].relative_error < 0.05);
}

TEST_CASE("what no row depends on stays at its prior and says so", "[robust_fit]") {
  const Line line{20, 3};
  const RobustFit fit = fit_robustly(
      {{"base", 5, 1}, {"rate", 1, 1}, {"idle", 7, 0.5}}, std::vector<double>(40, 1.0),
      {.scale = 0.05}, [&](const std::vector<double>& p) { return line.log_ratios(p); });
  CHECK_THAT(fit.parameters[2].value, WithinRel(7, 1e-6));
  CHECK_FALSE(fit.parameters[2].moved_by_data);
  CHECK_THAT(fit.parameters[2].relative_error, WithinRel(0.5, 1e-3));
}

}  // namespace
}  // namespace tessera::calibrate
