#include "calibrate/carry_over.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "models/device/device_file.hpp"

namespace tessera::calibrate {
namespace {

using Catch::Approx;
using device::Generation;

device::Parameter parameter(double value, double standard_error, const std::string& source = "") {
  return {.value = value,
          .standard_error = standard_error,
          .grade = core::Grade::fitted,
          .unit = "1",
          .source = source,
          .fitted_on = "gemm"};
}

CarriedFit fit(const std::string& name, std::map<std::string, device::Parameter> parameters) {
  return {device::load_device(name), {.fits = {.name = name, .parameters = std::move(parameters)}}};
}

FitRecord carried(const std::string& target, const std::vector<CarriedFit>& sources) {
  static const auto kLibrary = kernels::ImplementationLibrary::load();
  return carry_over(device::load_device(target), sources, kLibrary);
}

}  // namespace

TEST_CASE("the nearest generation speaks for a GPU that nobody measured", "[carry_over]") {
  const auto record = carried(
      "h200_sxm",
      {fit("a100_sxm", {{"launch_us", parameter(9, 0.1)}, {"l2.merged", parameter(0.4, 0.1)}}),
       fit("h100_sxm", {{"launch_us", parameter(2, 0.1)}})});
  CHECK(record.fits.parameters.at("launch_us").value == Approx(2));
  CHECK(record.fits.parameters.at("l2.merged").value == Approx(0.4));  // only Ampere knows it
  CHECK(record.fits.parameters.at("launch_us").grade == core::Grade::transferred);
  CHECK(record.fits.parameters.at("launch_us").source == "of h100_sxm");
  CHECK(record.carried_from == "a100_sxm and h100_sxm");
}

TEST_CASE("sources count by their standard errors", "[carry_over]") {
  const auto record = carried("h20_sxm", {fit("h100_sxm", {{"launch_us", parameter(1, 0.1)}}),
                                          fit("h200_sxm", {{"launch_us", parameter(4, 0.8)}})});
  const device::Parameter& pooled = record.fits.parameters.at("launch_us");
  // Relative errors 0.1 and 0.2: weights 100 and 25, a mean of log 4 / 5.
  CHECK(pooled.value == Approx(std::exp(std::log(4.0) / 5)));
  // The spread between the sources is larger than either error.
  CHECK(pooled.standard_error > 0.5 * pooled.value);
}

TEST_CASE("what a source took from the target does not come back", "[carry_over]") {
  const auto record =
      carried("h200_sxm", {fit("h100_sxm", {{"power.idle_w", parameter(200, 10, "of h200_sxm")}})});
  CHECK_FALSE(record.fits.parameters.contains("power.idle_w"));
}

TEST_CASE("an implementation nobody ran takes its namesake's costs", "[carry_over]") {
  const auto record =
      carried("b200_sxm", {fit("h100_sxm", {{"cublas_hopper.step", parameter(7, 1)},
                                            {"flash_attention_3.step", parameter(60, 1)}})});
  CHECK(record.fits.parameters.at("cublas_blackwell.step").value == Approx(7));
  CHECK(record.fits.parameters.contains("flash_attention_3.step"));
}

TEST_CASE("what descriptions give is carried as a ratio to them", "[carry_over]") {
  const auto h100 = device::load_device("h100_sxm"), b200 = device::load_device("b200_sxm");
  const auto described = [](const device::DeviceSpec& device) {
    return static_cast<double>(device.hbm.latency.value());
  };
  const auto record = carried(
      "b200_sxm", {fit("h100_sxm", {{"hbm.latency_cycles", parameter(1.2 * described(h100), 5)}})});
  CHECK(record.fits.parameters.at("hbm.latency_cycles").value == Approx(1.2 * described(b200)));
}

TEST_CASE("of two residuals the wider one is carried", "[carry_over]") {
  CarriedFit narrow = fit("h100_sxm", {{"launch_us", parameter(1, 0.1)}});
  CarriedFit wide = fit("h200_sxm", {{"launch_us", parameter(1, 0.1)}});
  narrow.record.residuals = {{.group = "g", .rows = 9, .lower = -0.1, .upper = 0.1}};
  wide.record.residuals = {{.group = "g", .rows = 9, .lower = -0.2, .upper = 0.1}};
  const auto record = carried("h20_sxm", {narrow, wide});
  REQUIRE(record.residuals.size() == 1);
  CHECK(record.residuals[0].lower == -0.2);
}

}  // namespace tessera::calibrate
