#include "calibrate/fit.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>

namespace tessera::calibrate {
namespace {

using Catch::Matchers::WithinRel;

/// time = overhead + work / rate. The closed form leaves out an eighth of the overhead, as a closed
/// form may.
Evaluate model(const std::vector<double>& work) {
  return [&work](const device::FitSet& fits, gpu::Fidelity fidelity) {
    const double overhead = fits.at("overhead").value;
    const double seen = fidelity == gpu::Fidelity::cycle ? overhead : overhead * 0.875;
    std::vector<std::optional<double>> times;
    for (const double w : work) times.emplace_back(seen + w / fits.at("rate").value);
    return times;
  };
}

}  // namespace

TEST_CASE("the fit recovers what made the observations, through a closed form that is off",
          "[fit]") {
  std::vector<double> work, measured;
  for (int i = 1; i <= 60; ++i) work.push_back(i * i);
  for (const double w : work) measured.push_back(7.0 + w / 3.0);
  measured[5] *= 20;  // one row that measured something else
  const std::vector<FreeParameter> free = {{"overhead", "us", 4, 2.0, 0.1, 100, "test"},
                                           {"rate", "1/us", 1, 2.0, 0.1, 100, "test"}};
  const FitReport report = fit({}, free, measured, model(work), {.passes = 5}, [](const auto&) {});
  CHECK_THAT(report.fits.at("overhead").value, WithinRel(7.0, 0.02));
  CHECK_THAT(report.fits.at("rate").value, WithinRel(3.0, 0.02));
  CHECK(report.median_after < 0.01);
  CHECK(report.median_before > 0.5);
  CHECK(report.fits.at("rate").standard_error > 0);
}

TEST_CASE("a parameter that no observation depends on stays at its prior", "[fit]") {
  const std::vector<double> work = {1, 2, 3, 4, 5, 6};
  std::vector<double> measured;
  for (const double w : work) measured.push_back(2.0 + w);
  device::FitSet start;
  start.parameters["overhead"] = {.value = 2};
  const std::vector<FreeParameter> free = {{"rate", "1/us", 1, 0.5, 0.1, 100, "test"},
                                           {"unused", "1", 5, 0.3, 0.1, 100, "test"}};
  const FitReport report = fit(start, free, measured, model(work), {}, [](const auto&) {});
  CHECK_THAT(report.fits.at("unused").value, WithinRel(5.0, 1e-6));
  CHECK_THAT(report.fits.at("unused").standard_error, WithinRel(5.0 * 0.3, 0.01));
}

}  // namespace tessera::calibrate
