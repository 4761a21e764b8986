#pragma once

#include <CLI/CLI.hpp>

/// Each command of the program is one file that adds its subcommand to the parser; the subcommand's
/// callback runs it and reports mistakes by throwing core::ConfigError or core::Refusal.
namespace tessera::app {

void add_show_command(CLI::App& program);
void add_doctor_command(CLI::App& program);
void add_list_command(CLI::App& program);
void add_run_command(CLI::App& program);
void add_compare_command(CLI::App& program);
void add_sweep_command(CLI::App& program);
void add_merge_command(CLI::App& program);
void add_kernel_command(CLI::App& program);
void add_export_check_command(CLI::App& program);
void add_import_command(CLI::App& program);
void add_calibrate_command(CLI::App& program);
void add_validate_command(CLI::App& program);
void add_route_command(CLI::App& program);
/// `calibrate collectives`, a part of the above.
void add_calibrate_collectives(CLI::App& calibrate);
void add_calibrate_serving(CLI::App& calibrate);

}  // namespace tessera::app
