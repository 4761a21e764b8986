#include "calibrate/fit_record.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {
namespace {

namespace fs = std::filesystem;

FitRecord record() {
  FitRecord r;
  r.fits.parameters["launch_us"] = {.value = 1.5,
                                    .standard_error = 0.1,
                                    .grade = core::Grade::fitted,
                                    .unit = "us",
                                    .source = "prior: assumed",
                                    .fitted_on = "gemm"};
  r.residuals = {{"gemm sglang bfloat16", "gemm", 240, 0.05, 0.2, -0.01}};
  r.stages = {{"gemm", "fit", 240, 2, "4", "aa11"}, {"moe", "all", 95, 1, "5", "bb22"}};
  r.energies_from = "h200_sxm";
  return r;
}

/// A folder of the test's own: tests run beside each other.
struct Folder {
  Folder() {
    std::string name = fs::temp_directory_path() / "tessera_fit_XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  void write(const std::string& text) const { std::ofstream(path / "d.yaml") << text; }
  [[nodiscard]] FitRecord load() const { return load_fit_record((path / "d.yaml").string(), ""); }
  fs::path path;
};

}  // namespace

TEST_CASE("a fit file gives back what calibration wrote", "[fit]") {
  const Folder folder;
  const std::string text = fit_text("d", record());
  folder.write(text);
  const FitRecord back = folder.load();
  CHECK(fit_text("d", back) == text);
  CHECK(back.fits.parameters.at("launch_us").fitted_on == "gemm");
  REQUIRE(back.stages.size() == 2);
  CHECK(back.stages[1].model_version == "5");
  CHECK(back.stages[1].rows == 95);
  REQUIRE(back.residuals.size() == 1);
  CHECK(back.residuals[0].stage == "gemm");
  CHECK(back.energies_from == "h200_sxm");
}

TEST_CASE("a fit that was carried over is read back without stages", "[fit]") {
  const Folder folder;
  FitRecord carried = record();
  carried.stages.clear();
  carried.carried_from = "a100_sxm and h100_sxm";
  folder.write(fit_text("d", carried));
  CHECK(folder.load().stages.empty());
  CHECK(folder.load().carried_from == carried.carried_from);
  CHECK(folder.load().stamp == stamp_of(carried));
}

TEST_CASE("a residual without its rows is a mistake of the fit file", "[fit]") {
  const Folder folder;
  std::string text = fit_text("d", record());
  const std::string rows = "rows: 240, median";
  text.replace(text.find(rows), rows.size(), "median");
  folder.write(text);
  CHECK_THROWS_AS(folder.load(), core::ConfigError);
}

}  // namespace tessera::calibrate
