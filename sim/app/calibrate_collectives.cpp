#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "calibrate/collectives.hpp"
#include "sim/app/command.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {

namespace {

void write_fits(const std::string& measurements, const std::string& out) {
  std::filesystem::create_directories(out);
  fmt::print("{:12s} {:14s} {:24s} {:>5s} {:>7s} {:>7s} {:>7s} {:>7s}\n", "gpu", "family",
             "test half", "rows", "median", "p90", "bias", "in90");
  for (const calibrate::FabricFit& fit : calibrate::fit_collectives(measurements)) {
    const std::filesystem::path file = std::filesystem::path(out) / (fit.fit.name + ".yaml");
    std::ofstream stream(file, std::ios::binary);
    stream << calibrate::to_yaml(fit);
    if (!stream) throw core::ConfigError({file.string(), 0, 0}, "cannot be written");
    for (const calibrate::ResidualSummary& r : fit.residuals)
      if (r.half == calibrate::Half::test)
        fmt::print("{:12s} {:14s} {:24s} {:5d} {:6.1f}% {:6.1f}% {:+6.1f}% {:6.1f}%\n", r.gpu,
                   r.family, r.group, r.rows, 100 * r.median, 100 * r.p90, 100 * r.bias,
                   100 * r.inside);
  }
}

}  // namespace

void add_calibrate_collectives(CLI::App& calibrate) {
  struct Options {
    std::string measurements;
    std::string out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = calibrate.add_subcommand(
      "collectives",
      "Fit NCCL and expert exchange to measured times, and show the other half's errors");
  command->add_option("--measurements", options->measurements, "Folder of the comm_*.csv files")
      ->required();
  command->add_option("--out", options->out, "Folder that gets fabric_GENERATION.yaml")->required();
  command->callback([options] { write_fits(options->measurements, options->out); });
}

}  // namespace tessera::app
