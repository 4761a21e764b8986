#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "models/device/device_file.hpp"
#include "reports/export_check.hpp"
#include "sim/app/catalogue.hpp"
#include "sim/app/command.hpp"

namespace tessera::app {
namespace {

constexpr const char* kAll = "all";

struct Arguments {
  std::vector<std::string> devices;
  std::vector<std::string> dates;
  std::vector<std::string> set;
  std::string rules = "export_rules";
  std::string format = "table";
};

/// The dates asked for; without any, the last that the rules know of for one device, and every day
/// on which a class may change for several.
std::vector<std::string> dates_of(const Arguments& arguments, const device::ExportRules& rules,
                                  bool several) {
  for (const std::string& date : arguments.dates)
    if (!device::is_date(date))
      throw core::ConfigError(
          {"tessera", 0, 0},
          fmt::format("--date: found '{}'; expected a date such as 2026-01-15", date));
  if (!arguments.dates.empty()) return arguments.dates;
  if (several) return reports::turning_days(rules);
  return {reports::last_day(rules)};
}

void check(const Arguments& arguments) {
  const device::ExportRules rules = device::load_export_rules(arguments.rules);
  std::vector<std::string> names = arguments.devices;
  if (names == std::vector<std::string>{kAll}) names = names_of(kind_of("device"));
  const std::vector<std::string> dates = dates_of(arguments, rules, names.size() > 1);
  std::vector<std::vector<reports::ExportCheck>> checks;
  for (const std::string& name : names) {
    const device::DeviceSpec device =
        device::load_device(name, core::parse_overrides(arguments.set));
    std::vector<reports::ExportCheck>& row = checks.emplace_back();
    for (const std::string& date : dates) row.push_back(reports::export_check(device, rules, date));
  }
  if (arguments.format == "json")
    fmt::print("{}", reports::to_json(checks, rules));
  else if (names.size() == 1 && dates.size() == 1)
    fmt::print("{}", reports::to_text(checks.front().front(), rules));
  else
    fmt::print("{}", reports::to_export_table(checks, rules));
}

}  // namespace

void add_export_check_command(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program.add_subcommand(
      "export-check", "Where devices stand under US export rules, with margins and sources");
  command->add_option("devices", arguments->devices, "Names, device files, or all")
      ->required()
      ->delimiter(',');
  command->add_option("--date", arguments->dates, "Days such as 2026-01-15, several with commas")
      ->delimiter(',');
  command->add_option("--set", arguments->set, "Change a value of the device: path=value")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--rules", arguments->rules, "Another file of rules");
  command->add_option("--format", arguments->format, "What to print")
      ->check(CLI::IsMember({"table", "json"}));
  command->callback([arguments] { check(*arguments); });
}

}  // namespace tessera::app
