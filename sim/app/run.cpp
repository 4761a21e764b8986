#include <fmt/format.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "reports/json.hpp"
#include "reports/report.hpp"
#include "sim/app/any_scenario.hpp"
#include "sim/app/command.hpp"
#include "sim/app/output_directory.hpp"
#include "sim/app/run_settings.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

/// What a result's folder may hold; anything else there is somebody's.
const std::set<std::string> kResultFiles = {"result.json", "kernels.csv", "spans.json",
                                            "report.html", "schedule.svg"};

struct Arguments {
  std::string scenario;
  std::vector<std::string> set;
  std::string out;
  std::string format = "table";
  bool draw = false;
  RunSettings settings;
};

/// Throws core::ConfigError for options that say something of a training step alone.
void refuse_options_of_training(const Arguments& arguments, const std::string& job) {
  const auto refuse = [&](bool given, const char* option) {
    if (given)
      throw core::ConfigError(
          {"tessera", 0, 0},
          fmt::format("{}: found with job {}; expected a training", option, job));
  };
  refuse(arguments.draw, "--draw");
  refuse(arguments.settings.sensitivity, "--sensitivity");
}

void run(const Arguments& arguments) {
  const AnyScenario scenario = read_any_scenario(arguments.scenario, {arguments.set, std::nullopt});
  if (!parts_of(scenario).front()->trains())
    refuse_options_of_training(arguments, job_of(scenario));
  std::optional<OutputDirectory> out;
  if (!arguments.out.empty()) out.emplace(arguments.out, kResultFiles);
  RunContext context{arguments.settings};
  RunOptions options = context.options();
  options.sensitivity |= parts_of(scenario).front()->sensitivity;
  const core::Result result = run_any_scenario(scenario, options, context.statistics());
  const reports::SchedulePicture picture =
      arguments.draw ? reports::schedule_picture(result.timeline, result.title)
                     : reports::SchedulePicture{};
  if (out)
    out->commit(
        [&](const std::filesystem::path& folder) { reports::write_all(result, folder, picture); });
  const bool as_json = arguments.format == "json";
  if (as_json)
    fmt::print("{}", reports::to_json(result));
  else
    reports::print_table(result, stdout);
  if (!picture.empty()) reports::print_picture(picture, as_json ? stderr : stdout);
  context.report();
  if (out) fmt::print(stderr, "report: {}\n", (out->path() / "report.html").generic_string());
  if (result.refused) throw RefusedResult(*result.refused);
}

}  // namespace

void add_run_command(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program.add_subcommand("run", "Simulate a scenario");
  command->add_option("scenario", arguments->scenario, "A file, or a name of workloads/scenarios")
      ->required();
  command->add_option("--set", arguments->set, "Change a value: path=value")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--out", arguments->out, "Folder for result.json, tables and the report");
  command->add_option("--format", arguments->format, "What to print")
      ->check(CLI::IsMember({"table", "json"}));
  command->add_flag("--draw", arguments->draw,
                    "Also draw the ranks over the step: as text, and with --out in report.html and "
                    "schedule.svg");
  arguments->settings.add_to(*command);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace tessera::app
