#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "reports/aggregate.hpp"
#include "reports/json.hpp"
#include "reports/report.hpp"
#include "reports/study_tables.hpp"
#include "sim/app/command.hpp"
#include "sim/app/output_directory.hpp"
#include "sim/app/price_choice.hpp"
#include "sim/app/run_settings.hpp"
#include "sim/app/scenario.hpp"
#include "sim/app/serving_comparison.hpp"
#include "sim/app/study_output.hpp"
#include "sim/app/training_run.hpp"

namespace tessera::app {
namespace {

const std::set<std::string> kComparisonFiles = {"comparison.html", "comparison.json"};

struct Arguments {
  std::vector<std::string> scenarios;
  std::vector<std::string> clusters;
  std::vector<std::string> set;
  std::vector<std::string> slo;
  std::vector<std::string> price;
  std::string out;
  std::string format = "table";
  RunSettings settings;
};

struct Row {
  std::string name;
  core::Result result;
};

/// The resource that most of the busiest rank's kernel time, or of its exposed communication, is
/// bound by, with its part of the step.
std::string binding_resource(const core::Result& result) {
  std::map<std::string, double> seconds;
  for (const core::KernelRow& kernel : result.kernels)
    seconds[kernel.binding] += reports::seconds_per_step(kernel);
  for (const core::NetworkRow& row : result.network) seconds[row.fabric] += row.exposed_seconds;
  if (seconds.empty()) return "";
  const auto most =
      std::max_element(seconds.begin(), seconds.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  const core::Estimate* step = result.find("step_time");
  const double share = step ? most->second / step->value : 0;
  return fmt::format("{} {:.0f} %", most->first, 100 * share);
}

std::string figure(const core::Result& result, const std::string& name, double scale,
                   int decimals) {
  const core::Estimate* e = result.find(name);
  return e ? fmt::format("{:.{}f}", e->value * scale, decimals) : "-";
}

/// "5.3 (4.1 to 7.0) assumed"
std::string ranged(const core::Result& result, const std::string& name, double scale,
                   int decimals) {
  const core::Estimate* e = result.find(name);
  if (!e) return "-";
  return fmt::format("{:.{}f} ({:.{}f} to {:.{}f}) {}", e->value * scale, decimals,
                     e->lower * scale, decimals, e->upper * scale, decimals,
                     core::to_string(e->grade));
}

std::string memory_text(const core::Result& result) {
  const reports::MemoryUse use = reports::memory_over_ranks(result);
  return fmt::format("{:.0f} of {:.0f}", use.worst_total / 1e9, result.machine.hbm_bytes / 1e9);
}

std::vector<std::string> cells(const Row& row) {
  const core::Result& r = row.result;
  return {row.name,
          ranged(r, "step_time", 1, 2),
          figure(r, "mfu_bf16_non_causal", 100, 1),
          memory_text(r),
          figure(r, "gpu_hours", 1e-6, 3),
          ranged(r, "dollars", 1e-6, 2),
          figure(r, "megawatt_hours_per_trillion_tokens", 1, 0),
          binding_resource(r)};
}

/// Which peak each row's MFU is against.
std::string peaks_text(const std::vector<Row>& rows) {
  std::string text;
  std::set<std::string> said;
  for (const Row& row : rows)
    for (const auto& [type, flops] : row.result.machine.peak_flops)
      if (type == "bf16" && said.insert(row.result.machine.device).second)
        text += fmt::format("{}{} {:.0f}", text.empty() ? "" : ", ", row.result.machine.device,
                            flops / 1e12);
  return text;
}

void print_rows(const std::vector<Row>& rows, const std::vector<std::string>& notes) {
  std::vector<std::vector<std::string>> table = {
      {"", "step, s", "MFU, %", "memory, GB", "M GPU-h", "M USD", "MWh / T tokens", "binding"}};
  for (const Row& row : rows)
    if (!row.result.refused) table.push_back(cells(row));
  reports::print_rows(table, stdout);
  for (const Row& row : rows)
    if (row.result.refused) fmt::print("{}: refused, {}\n", row.name, *row.result.refused);
  fmt::print(
      "MFU: attention counted whole (non-causal), of the dense BF16 peak at the quoted "
      "clock in TFLOP/s: {}.\nRanges are 90 % intervals; memory is that of the fullest "
      "rank.\n",
      peaks_text(rows));
  for (const std::string& note : notes) fmt::print("{}\n", note);
}

std::string json_of(const std::vector<Row>& rows) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Row& row : rows)
    json.push_back({{"name", row.name},
                    {"result", nlohmann::ordered_json::parse(reports::to_json(row.result))}});
  return json.dump(2) + "\n";
}

void write(const std::filesystem::path& folder, const std::string& title,
           const std::vector<Row>& rows) {
  std::vector<reports::ComparisonColumn> columns;
  for (const Row& row : rows) columns.push_back({row.name, &row.result});
  reports::write_comparison_html(title, columns, folder);
  std::ofstream file{folder / "comparison.json", std::ios::binary};
  file << json_of(rows);
  file.close();
  if (!file) throw std::runtime_error("cannot write " + (folder / "comparison.json").string());
}

/// What is compared: every scenario as it is, and the first on each further cluster.
std::vector<std::pair<std::string, Scenario>> read_all(const Arguments& arguments,
                                                       const PriceChoice& prices) {
  std::vector<std::pair<std::string, Scenario>> read;
  for (const std::string& path : arguments.scenarios) {
    Scenario scenario = read_scenario(path, prices.apply({arguments.set, std::nullopt}));
    std::string name = arguments.clusters.empty() ? scenario.name : scenario.cluster.name;
    read.emplace_back(std::move(name), std::move(scenario));
  }
  const std::string own = read.front().second.cluster.name;
  for (const std::string& cluster : arguments.clusters)
    if (cluster != own)
      read.emplace_back(cluster, read_scenario(arguments.scenarios.front(),
                                               prices.apply({arguments.set, cluster})));
  std::vector<std::string> devices;
  bool owned = false;
  for (const auto& [name, scenario] : read) {
    devices.push_back(scenario.device().name);
    owned = owned || scenario.cost.ownership;
  }
  check_quotes(prices, devices, owned);
  return read;
}

std::vector<std::string> notes_of(const PriceChoice& prices,
                                  const std::vector<std::pair<std::string, Scenario>>& scenarios) {
  std::vector<const Scenario*> list;
  for (const auto& [unused, scenario] : scenarios) list.push_back(&scenario);
  return price_notes(prices, list);
}

/// Decode on several clusters: the largest batch within the limits, not the scenario's own.
void compare_decode(const Arguments& arguments) {
  std::optional<OutputDirectory> out;
  if (!arguments.out.empty()) out.emplace(arguments.out, study_files());
  const ServingQuestion question{arguments.scenarios.front(), arguments.set, arguments.clusters,
                                 arguments.slo, read_price_choice(arguments.price, arguments.set)};
  ServingComparison comparison = compare_serving(question, arguments.settings);
  if (out) {
    complete_best(comparison, question, arguments.settings);
    out->commit(
        [&](const std::filesystem::path& folder) { write_study(comparison.study, folder); });
  }
  if (arguments.format == "json")
    fmt::print("{}", reports::study_json(comparison.study));
  else
    print_comparison(comparison, stdout);
  const auto& points = comparison.study.points;
  if (std::all_of(points.begin(), points.end(), [](const auto& point) { return point.refused; }))
    throw RefusedResult("every cluster");
}

/// Whether the question is about a decode scenario. Throws for questions that have no answer.
bool is_about_decode(const Arguments& arguments) {
  const Scenario first = read_scenario(arguments.scenarios.front(), {arguments.set, std::nullopt});
  const bool decodes = !first.trains() && first.inference().phase == serving::Phase::decode;
  if (!decodes && !arguments.slo.empty())
    throw core::ConfigError(
        {"--slo", 0, 0}, fmt::format("found limits for {}, which is no decode scenario; expected "
                                     "them with decode only",
                                     first.name));
  if (!decodes && !first.trains())
    throw core::Refusal(core::RefusalKind::outside_model,
                        "prefill is not compared; training and decode are, and `tessera sweep` "
                        "varies the cluster of any scenario");
  if (decodes && arguments.scenarios.size() > 1)
    throw core::ConfigError({"scenarios", 0, 0},
                            "found several of decode; expected one, with --clusters");
  return decodes;
}

void compare(const Arguments& arguments) {
  if (is_about_decode(arguments)) return compare_decode(arguments);
  const PriceChoice prices = read_price_choice(arguments.price, arguments.set);
  const auto scenarios = read_all(arguments, prices);
  std::optional<OutputDirectory> out;
  if (!arguments.out.empty()) out.emplace(arguments.out, kComparisonFiles);
  RunContext context{arguments.settings};
  std::vector<Row> rows;
  for (const auto& [name, scenario] : scenarios)
    rows.push_back({name, run_scenario(scenario, context.options(), context.statistics())});
  if (out)
    out->commit([&](const std::filesystem::path& folder) {
      write(folder, scenarios.front().second.title, rows);
    });
  if (arguments.format == "json")
    fmt::print("{}", json_of(rows));
  else
    print_rows(rows, notes_of(prices, scenarios));
  context.report();
  const bool all_refused =
      std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.result.refused; });
  if (all_refused) throw RefusedResult("every scenario");
}

}  // namespace

void add_compare_command(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = program.add_subcommand(
      "compare", "One table over scenarios, or over clusters that do the same job");
  command->add_option("scenarios", arguments->scenarios, "Files, or names of workloads/scenarios")
      ->required();
  command
      ->add_option("--clusters", arguments->clusters,
                   "Clusters on which the first scenario is also run; of decode, names of devices "
                   "will do")
      ->delimiter(',');
  command->add_option("--set", arguments->set, "Change a value of every scenario: path=value")
      ->take_all()
      ->allow_extra_args(false);
  command
      ->add_option("--slo", arguments->slo,
                   "Of decode: limits, as tpot=50ms or tpot=50ms,tokens_per_second_per_user=30 "
                   "tokens/s; given again, another set of them")
      ->take_all()
      ->allow_extra_args(false);
  command
      ->add_option("--price", arguments->price,
                   "Rents: of a device, as 'h800_sxm=2 USD/GPU/h', or 'stated' for those that "
                   "scenarios state (default: the price list's for all)")
      ->take_all()
      ->allow_extra_args(false);
  command->add_option("--out", arguments->out,
                      "Folder for comparison.html and comparison.json; of decode, for points.csv, "
                      "result.json and the page");
  command->add_option("--format", arguments->format, "What to print")
      ->check(CLI::IsMember({"table", "json"}));
  arguments->settings.add_to(*command);
  command->callback([arguments] { compare(*arguments); });
}

}  // namespace tessera::app
