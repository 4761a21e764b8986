#include "sim/app/program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "sim/app/command.hpp"
#include "sim/app/run_settings.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

constexpr const char* kFirstSteps =
    "First steps:\n"
    "  tessera list scenarios                                what can be run\n"
    "  tessera run deepseek_v3_pretrain_h800 --out h800      table, and h800/report.html\n"
    "  tessera kernel gemm --device h100_sxm M=4096 N=4096 K=4096 dtype=bf16 --counters\n"
    "  tessera COMMAND --help                                what a command takes\n\n"
    "Exit codes: 0 done; 1 the model refuses, with the reason; 2 the input is wrong; 3 our fault.";

std::vector<std::string> commands_of(const CLI::App& program) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

/// The innermost command that the arguments reached, and how it is called.
struct Reached {
  const CLI::App* command;
  std::string name;  ///< "calibrate collectives"; empty for the program itself.
};
Reached reached(const CLI::App& program) {
  Reached at{&program, ""};
  while (!at.command->get_subcommands().empty()) {
    at.command = at.command->get_subcommands().front();
    at.name += (at.name.empty() ? "" : " ") + at.command->get_name();
  }
  return at;
}

/// What was wrong with the command line, for people.
std::string explain(const CLI::App& program, const CLI::ParseError& error,
                    const std::vector<std::string>& arguments) {
  const auto [command, name] = reached(program);
  const std::string called = name.empty() ? "" : name + ": ";
  if (name.empty() && !arguments.empty() && !arguments.front().starts_with("-"))
    return "command: " + core::unknown_name(arguments.front(), commands_of(program));
  for (const std::string& left : program.remaining(true)) {
    if (!left.starts_with("-")) continue;
    const std::string option = left.substr(0, left.find('='));
    const auto near = core::nearest_name(option, options_of(*command));
    return fmt::format("{}there is no option {}{}", called, option,
                       near ? fmt::format(" (did you mean {}?)", *near) : "");
  }
  return called + error.what();
}

}  // namespace

int run_program(const std::vector<std::string>& arguments) {
  CLI::App program{
      "Tessera: what a workload costs on a GPU cluster, from a kernel's cycles to the bill"};
  program.name("tessera");
  program.set_version_flag("--version", "tessera " TESSERA_VERSION);
  program.require_subcommand(1);
  program.footer(kFirstSteps);
  add_run_command(program);
  add_compare_command(program);
  add_sweep_command(program);
  add_merge_command(program);
  add_kernel_command(program);
  add_export_check_command(program);
  add_list_command(program);
  add_show_command(program);
  add_import_command(program);
  add_calibrate_command(program);
  add_validate_command(program);
  add_route_command(program);
  add_doctor_command(program);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    program.parse(reversed);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
    if (arguments.empty()) {
      fmt::print(stderr, "{}", program.help());
      return 2;
    }
    const std::string command = reached(program).name;
    fmt::print(stderr, "tessera: error: {}\nSee tessera{} --help.\n",
               explain(program, error, arguments), command.empty() ? "" : " " + command);
    return 2;
  } catch (const core::ConfigError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  } catch (const core::Refusal& refusal) {
    fmt::print(stderr, "tessera: refused ({}): {}\n", core::to_string(refusal.kind()),
               refusal.what());
    return 1;
  } catch (const RefusedResult& refused) {
    fmt::print(stderr, "tessera: refused ({})\n", refused.what());
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "tessera: internal error: {}\n", error.what());
    return 3;
  }
}

}  // namespace tessera::app
