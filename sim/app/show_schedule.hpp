#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace tessera::app {

/// What `show schedule` draws without a model: stages of equal, given times and free messages.
struct ScheduleArguments {
  int ranks = 4;
  int micro_batches = 8;
  int stages_per_rank = 2;             ///< Of interleaved.
  std::vector<double> times{1, 1, 1};  ///< Forward, input gradient, weight gradient.
};

void add_schedule_options(CLI::App& command, ScheduleArguments& arguments);

/// Draws the schedule `name`, a kind or a file's name or path, as text or SVG, or prints it as a
/// file (yaml). Throws core::ConfigError and core::Refusal.
void show_schedule(const std::string& name, const std::string& format,
                   const ScheduleArguments& arguments);

}  // namespace tessera::app
