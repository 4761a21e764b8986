#include "sim/app/program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "sim/app/command.hpp"
#include "sim/app/run_settings.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {

int run_program(const std::vector<std::string>& arguments) {
  CLI::App program{
      "Tessera: what a workload costs on a GPU cluster, from a kernel's cycles to the bill"};
  program.name("tessera");
  program.set_version_flag("--version", "tessera " TESSERA_VERSION);
  program.require_subcommand(1);
  add_show_command(program);
  add_doctor_command(program);
  add_list_command(program);
  add_run_command(program);
  add_compare_command(program);
  add_kernel_command(program);
  add_calibrate_command(program);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    program.parse(reversed);
    return 0;
  } catch (const CLI::ParseError& error) {
    const int code = program.exit(error);
    return code == 0 ? 0 : 2;
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
