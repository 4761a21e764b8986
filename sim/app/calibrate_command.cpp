#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "sim/app/calibration.hpp"
#include "sim/app/command.hpp"
#include "sim/app/worker_pool.hpp"

namespace tessera::app {

namespace {

void check_leave_out(CalibrationOptions& options) {
  if (options.leave_out.empty()) return;
  if (options.leave_out != "device" && !options.leave_out.starts_with("family="))
    throw core::ConfigError(
        {"--leave-out", 0, 0},
        fmt::format("found '{}'; expected device, or family=FILE", options.leave_out));
  if (options.start.empty())
    throw core::ConfigError({"--leave-out", 0, 0},
                            "needs --start: the fits that are carried over or held against");
}

}  // namespace

void add_calibrate_command(CLI::App& program) {
  auto options = std::make_shared<CalibrationOptions>();
  options->jobs = available_cores();
  CLI::App* command = program.add_subcommand(
      "calibrate", "Fit a GPU's parameters and its kernels' costs to measured kernels");
  command->add_option("measurements", options->measurements,
                      "Folder with gemm.csv, quantize.csv, ...");
  command->add_option("--device", options->devices, "Devices to fit, separated by commas")
      ->delimiter(',');
  command->add_option("--out", options->out, "Folder for DEVICE.yaml");
  command
      ->add_option("--families", options->families,
                   "What to fit, in this order: measurement files by name; gemm is its bf16 part "
                   "and moves the GPU, gemm_quantised the rest; power_gemm and "
                   "power_gemm_quantised fit energies (default: gemm, power_gemm, gemm, quantize, "
                   "gemm_quantised, power_gemm_quantised, attention_context, "
                   "encoder_attention, attention_generation, moe)")
      ->delimiter(',');
  command->add_option("--rows", options->rows, "Rows of a family that are fitted, at most")
      ->check(CLI::Range(20, 2000));
  command
      ->add_option("--residual-rows", options->residual_rows,
                   "Rows of a family on which residuals and intervals are taken, at most")
      ->check(CLI::Range(20, 100000));
  command
      ->add_option("--passes", options->passes,
                   "Corrections of the closed form by simulation; 0: keep the parameters, take the "
                   "residuals")
      ->check(CLI::Range(0, 10));
  command->add_option("--half", options->half, "fit: one half of the shapes; all: every row")
      ->check(CLI::IsMember({"fit", "all"}));
  command->add_option(
      "--start", options->start,
      "Folder of fits to start from: what no named stage fits is kept, with its residuals and "
      "provenance (default: the priors)");
  command->add_option(
      "--leave-out", options->leave_out,
      "device: carry parameters over from the other devices of --start; family=FILE:"
      " keep that file's rows from the fit. Only the shortest row of each "
      "harness is used; prints what that leaves unexplained");
  command->add_flag("--only-harness", options->only_harness,
                    "Fit what the harness adds, and nothing of the GPU or its kernels");
  command->add_option(
      "--energies-from", options->energies_from,
      "Device whose fitted energies are transferred to devices without measured watts");
  command->add_option("--jobs", options->jobs, "Worker processes")->check(CLI::Range(1, 1024));
  add_calibrate_collectives(*command);
  add_calibrate_serving(*command);
  command->callback([options, command] {
    if (command->got_subcommand("collectives") || command->got_subcommand("serving")) return;
    // Not `required()`: CLI11 would ask the subcommand's users for them too.
    if (options->measurements.empty()) throw CLI::RequiredError("measurements");
    if (options->devices.empty()) throw CLI::RequiredError("--device");
    if (options->out.empty()) throw CLI::RequiredError("--out");
    check_leave_out(*options);
    calibrate_devices(*options);
  });
}

}  // namespace tessera::app
