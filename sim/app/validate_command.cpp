#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <span>

#include "models/device/fit_file.hpp"
#include "sim/app/command.hpp"
#include "sim/app/output_directory.hpp"
#include "sim/app/output_file.hpp"
#include "sim/app/parameter_table.hpp"
#include "sim/app/run_settings.hpp"
#include "sim/app/serving_validation.hpp"
#include "sim/app/shipped_residuals.hpp"
#include "sim/app/training_validation.hpp"
#include "sim/app/validation.hpp"
#include "sim/app/worker_pool.hpp"

namespace tessera::app {
namespace {

struct ValidateOptions {
  std::string what = "kernels";
  std::string out;
  std::string fidelity = "cycle";
  std::string half;
  bool parameters = false;
  ValidationOptions kernels;
  TrainingValidationOptions training;
};

/// The folder that --out names, if any, before the work whose outcome it is to hold.
std::optional<OutputDirectory> output_of(const ValidateOptions& options,
                                         const std::set<std::string>& names) {
  if (options.out.empty()) return std::nullopt;
  return OutputDirectory{options.out, names};
}

/// What --out may hold: a page, and a file a family of the measurements.
std::set<std::string> output_names(const std::filesystem::path& measurements) {
  std::set<std::string> names{"report.html"};
  std::error_code unreadable;  // is told by who reads them
  for (const auto& file : std::filesystem::directory_iterator{measurements, unreadable})
    if (file.path().extension() == ".csv") names.insert(file.path().filename().string());
  return names;
}

/// The measured rows with what was predicted; the second fidelity in a column of its own.
std::string rows_text(const ValidatedFile& file) {
  calibrate::CsvTable table = file.scored.table;
  table.append("binding", file.binding);
  if (file.other && table.has("latency_us")) {
    std::vector<std::string> values;
    for (std::size_t row = 0; row < table.size(); ++row)
      values.emplace_back(file.other->table.text(row, "predicted_us"));
    table.append("analytical_us", std::move(values));
  }
  return table.to_text();
}

void write(const Validation& validation, const OutputDirectory& directory) {
  directory.commit([&](const std::filesystem::path& folder) {
    for (const ValidatedFile& file : validation.files)
      write_output_file((folder / (file.scored.file + ".csv")).string(), rows_text(file));
    write_output_file((folder / "report.html").string(), to_html(validation));
  });
}

std::vector<gpu::Fidelity> fidelities(const std::string& name) {
  if (name == "analytical") return {gpu::Fidelity::analytical};
  if (name == "both") return {gpu::Fidelity::cycle, gpu::Fidelity::analytical};
  return {gpu::Fidelity::cycle};
}

void run_kernels(ValidateOptions& options) {
  ValidationOptions& kernels = options.kernels;
  const std::string fits = kernels.fits.empty() ? device::kFitFolder : kernels.fits;
  if (options.parameters) {
    if (!kernels.measurements.empty())
      throw core::ConfigError({"command line", 0, 0},
                              "--parameters shows the fits; it does not go with --measurements");
    fmt::print("{}", parameter_table(fits));
    return;
  }
  if (kernels.measurements.empty()) {
    if (!options.out.empty())
      throw core::ConfigError({"command line", 0, 0},
                              "--out needs --measurements: it writes the measured rows");
    fmt::print("{}", to_text(load_shipped_residuals(fits)));
    return;
  }
  kernels.fidelities = fidelities(options.fidelity);
  if (options.half == "test") kernels.half = calibrate::Half::test;
  if (options.half == "fit") kernels.half = calibrate::Half::fit;
  const auto directory = output_of(options, output_names(kernels.measurements));
  const Validation validation = validate_kernels(kernels);
  if (directory) write(validation, *directory);
  fmt::print("{}", to_text(validation));
}

void write(const std::vector<ValidatedRun>& runs, const OutputDirectory& directory) {
  directory.commit([&](const std::filesystem::path& folder) {
    write_output_file((folder / "training_results.csv").string(), to_csv(runs));
    write_output_file((folder / "report.html").string(), to_html(runs));
  });
}

void run_training(const ValidateOptions& options) {
  if (options.fidelity == "both")
    throw core::ConfigError({"command line", 0, 0},
                            "--fidelity: found 'both'; expected cycle or analytical for training");
  const auto directory = output_of(options, {"training_results.csv", "report.html"});
  RunSettings settings;
  settings.fidelity = options.fidelity;
  settings.jobs = options.kernels.jobs;
  RunContext context{settings};
  const std::vector<ValidatedRun> runs =
      validate_training(options.training, context.options(), context.statistics());
  if (directory) write(runs, *directory);
  fmt::print("{}", to_text(runs));
}

void run_serving(const ValidateOptions& options) {
  if (options.kernels.measurements.empty())
    throw core::ConfigError({"command line", 0, 0},
                            "serving needs --measurements: the folder of e2e_serving.csv");
  if (options.fidelity == "both")
    throw core::ConfigError({"command line", 0, 0},
                            "--fidelity: found 'both'; expected cycle or analytical for serving");
  ServingValidationOptions serving{.measurements = options.kernels.measurements,
                                   .fits = options.kernels.fits,
                                   .fidelity = fidelities(options.fidelity).front(),
                                   .jobs = options.kernels.jobs};
  if (options.half == "test") serving.half = calibrate::Half::test;
  if (options.half == "fit") serving.half = calibrate::Half::fit;
  const auto directory = output_of(options, {"e2e_serving.csv"});
  const ServingValidation validation = validate_serving(serving);
  if (directory) {
    directory->commit([&](const std::filesystem::path& folder) {
      write_output_file((folder / "e2e_serving.csv").string(), to_csv(validation));
    });
  }
  fmt::print("{}", to_text(validation));
}

/// Options that belong to one of the tables only.
constexpr const char* kKernelsOnly[] = {"--measurements", "--files", "--half",      "--by",
                                        "--rows",         "--fits",  "--parameters"};
constexpr const char* kTrainingOnly[] = {"--results", "--id", "--stated-only"};

/// Options that choose among files and rows of kernels.
constexpr const char* kRowsOnly[] = {"--files", "--by", "--rows", "--parameters"};

void refuse_given(const CLI::App& command, std::span<const char* const> names,
                  const std::string& what) {
  for (const char* name : names)
    if (command.count(name) > 0)
      throw core::ConfigError({"command line", 0, 0},
                              fmt::format("{} does not go with {}", name, what));
}

void run(ValidateOptions& options, const CLI::App& command) {
  if (options.what == "serving") {
    refuse_given(command, kTrainingOnly, "serving");
    refuse_given(command, kRowsOnly, "serving");
    return run_serving(options);
  }
  const bool training = options.what == "training";
  if (training)
    refuse_given(command, kKernelsOnly, "training");
  else
    refuse_given(command, kTrainingOnly, "kernels");
  if (training)
    run_training(options);
  else
    run_kernels(options);
}

}  // namespace

void add_validate_command(CLI::App& program) {
  auto options = std::make_shared<ValidateOptions>();
  options->kernels.jobs = available_cores();
  CLI::App* command =
      program.add_subcommand("validate", "How far predictions lie from measurements");
  command->add_option("what", options->what, "kernels (default), training or serving")
      ->check(CLI::IsMember({"kernels", "training", "serving"}));
  command->add_option("--measurements", options->kernels.measurements,
                      "Folder of measured rows; without it, the residuals that ship with the fits");
  command
      ->add_option("--files", options->kernels.files,
                   "Which files of the folder, by name (default: all with kernels)")
      ->delimiter(',');
  command->add_option("--out", options->out,
                      "Folder for the measured rows with their predictions, and report.html");
  command->add_option("--results", options->training.results,
                      "Training: a file of published results instead of those that ship");
  command->add_option("--id", options->training.rows, "Training: only these rows (default: all)")
      ->delimiter(',');
  command->add_flag("!--stated-only", options->training.other_choices,
                    "Training: leave out the range over choices that a source does not state");
  command->add_option("--fidelity", options->fidelity, "cycle, analytical or both")
      ->check(CLI::IsMember({"cycle", "analytical", "both"}));
  command
      ->add_option("--half", options->half,
                   "test: shapes that no fit has seen; fit: the others (default: all)")
      ->check(CLI::IsMember({"test", "fit"}));
  command
      ->add_option("--by", options->kernels.by,
                   "Columns that make a group (default: file,gpu,framework,dtype)")
      ->delimiter(',');
  command->add_option("--rows", options->kernels.rows,
                      "Rows of a file at most, spread by a hash (default: all)");
  command->add_flag("--parameters", options->parameters,
                    "The free parameters of each fit: meaning, value, standard error, prior");
  command->add_option("--fits", options->kernels.fits, "Folder of fits instead of those that ship");
  command->add_option("--jobs", options->kernels.jobs, "Worker processes (default: all cores)")
      ->check(CLI::Range(1, 1024));
  command->callback([options, command] { run(*options, *command); });
}

}  // namespace tessera::app
