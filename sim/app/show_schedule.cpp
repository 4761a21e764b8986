#include "sim/app/show_schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/training/pipeline.hpp"
#include "models/training/schedule_file.hpp"
#include "models/training/schedule_kind.hpp"
#include "reports/report.hpp"
#include "sim/core/config.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

using core::Time;
using training::Action;
using training::CustomSchedule;
using training::ScheduleKind;

// Bounds that keep a picture drawable.
constexpr int kMaxRanks = 1024;
constexpr int kMaxMicroBatches = 100'000;
constexpr double kMaxTime = 1000;

CustomSchedule schedule_named(const std::string& name, const ScheduleArguments& arguments) {
  std::vector<std::string> known = core::names_in(training::kScheduleFolder);
  for (const auto& [kind_name, kind] : training::schedule_kinds()) {
    if (kind == ScheduleKind::custom) continue;
    known.push_back(kind_name);
    if (kind_name != name) continue;
    const training::ScheduleShape shape{arguments.ranks, arguments.micro_batches,
                                        arguments.stages_per_rank};
    return {name, training::make_schedule(kind, shape), arguments.micro_batches};
  }
  const bool is_path = name.find('/') != std::string::npos || name.ends_with(".yaml");
  if (!is_path && std::find(known.begin(), known.end(), name) == known.end())
    throw core::ConfigError({"tessera", 0, 0}, "schedule: " + core::unknown_name(name, known));
  return training::load_schedule(name);
}

/// A time of the command line on the pipeline's clock: a unit is a second.
Time units(double value) { return Time{std::llround(value * 1e12)}; }

training::PipelineRun run_equal_stages(const training::Schedule& schedule,
                                       const std::vector<double>& times) {
  const double forward = times[0], input = times[1], weight = times[2];
  const auto duration = [&](Action action) {
    switch (action) {
      case Action::forward:
        return units(forward);
      case Action::backward:
        return units(input + weight);
      case Action::input_gradient:
        return units(input);
      case Action::weight_gradient:
        return units(weight);
      case Action::overlapped:
        return units(forward + input + weight);
    }
    return Time{};
  };
  return training::run_pipeline(
      schedule,
      [&](int, const training::Instruction& instruction) {
        const Time time = duration(instruction.action);
        return training::InstructionTime{time, time, time};
      },
      [](int, int) { return Time{}; });
}

core::Timeline timeline_of(const training::Schedule& schedule, const training::PipelineRun& run) {
  core::Timeline timeline;
  for (std::size_t rank = 0; rank < run.ranks.size(); ++rank) {
    const int id = static_cast<int>(rank);
    timeline.processes.emplace_back(id, fmt::format("pipeline rank {}", rank));
    for (const training::Execution& e : run.ranks[rank]) {
      timeline.spans.push_back({id, 0, describe(e.instruction, schedule.placement),
                                span_category(e.instruction.action), e.start, e.end - e.start});
    }
  }
  return timeline;
}

void print_text(const CustomSchedule& custom, const reports::SchedulePicture& picture) {
  fmt::print("{}\n", picture.title);
  std::fflush(stdout);
  reports::print_picture(picture, stdout);
  int input = 0, weight = 0;
  for (const training::Program& program : custom.schedule.programs) {
    input = std::max(input, training::most_in_flight(program, false));
    weight = std::max(weight, training::most_in_flight(program, true));
  }
  fmt::print(
      "{} stages, {:g} units long; at most {} chunks in flight until their input gradient, "
      "{} until their weight gradient\n",
      custom.schedule.placement.stages(), picture.end, input, weight);
}

}  // namespace

void add_schedule_options(CLI::App& command, ScheduleArguments& arguments) {
  const std::string group = "Schedules";
  command.add_option("--ranks,--stages", arguments.ranks, "Pipeline ranks")
      ->check(CLI::Range(1, kMaxRanks))
      ->group(group);
  command.add_option("--micro-batches", arguments.micro_batches, "Of one pipeline and step")
      ->check(CLI::Range(1, kMaxMicroBatches))
      ->group(group);
  command.add_option("--virtual", arguments.stages_per_rank, "Stages a rank, of interleaved")
      ->check(CLI::Range(1, kMaxRanks))
      ->group(group);
  command
      .add_option("--times", arguments.times,
                  "Of a stage: forward, input gradient, weight gradient; an overlapped pair takes "
                  "their sum")
      ->delimiter(',')
      ->expected(3)
      ->check(CLI::Range(0.001, kMaxTime))
      ->group(group);
}

void show_schedule(const std::string& name, const std::string& format,
                   const ScheduleArguments& arguments) {
  if (format == "json")
    throw core::ConfigError({"tessera", 0, 0}, "--format: schedules are text, svg or yaml");
  const CustomSchedule custom = schedule_named(name, arguments);
  const training::Schedule& schedule = custom.schedule;
  if (format == "yaml") {
    if (schedule.placement.copies() > 1)
      throw core::Refusal(core::RefusalKind::outside_model,
                          name + " runs two copies of the model, which a file cannot write");
    fmt::print("{}", training::to_yaml(schedule, custom.micro_batches));
    return;
  }
  const training::PipelineRun run = run_equal_stages(schedule, arguments.times);
  reports::SchedulePicture picture = reports::schedule_picture(
      timeline_of(schedule, run),
      fmt::format("{} over {} ranks, {} micro-batches; F {:g}, Bi {:g}, W {:g}", name,
                  schedule.placement.ranks(), custom.micro_batches, arguments.times[0],
                  arguments.times[1], arguments.times[2]));
  picture.unit = "";
  if (format == "svg")
    fmt::print("{}", reports::to_svg(picture));
  else
    print_text(custom, picture);
}

}  // namespace tessera::app
