#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <memory>

#include "models/device/cluster_file.hpp"
#include "models/fabric/fabric_summary.hpp"
#include "sim/app/architecture_report.hpp"
#include "sim/app/catalogue.hpp"
#include "sim/app/command.hpp"
#include "sim/app/show_cache.hpp"
#include "sim/app/show_price.hpp"
#include "sim/app/show_schedule.hpp"

namespace tessera::app {
namespace {

struct ShowArguments {
  std::string kind;
  std::string name;
  bool resolved = false;
  std::vector<std::string> set;
  std::string format;  ///< Empty: yaml; of schedules: text.
  ScheduleArguments schedule;
  CacheQuestion cache;
};

/// A description and, after it, the descriptions that it names.
struct Shown {
  std::string kind;
  core::ConfigDocument document;
};

/// The name under `key`, unless the description holds a map there instead.
std::optional<std::string> named(const core::ConfigDocument& document, const std::string& key) {
  const core::ConfigNode node = document.root().at(key);
  if (!node.present() || node.is_object() || node.is_list()) return std::nullopt;
  return node.text();
}

void collect(const Kind& kind, const std::string& name, const core::LoadOptions& options,
             std::vector<Shown>& shown) {
  shown.push_back({kind.name, kind.load(name, options)});
  const core::ConfigDocument document = shown.back().document;
  for (const auto& [key, other] : kind.references) {
    const auto next = named(document, key);
    if (!next) continue;
    const Kind& next_kind = kind_of(other);
    core::LoadOptions next_options = document.root().at(key).reference(other, next_kind.folder);
    next_options.references = next_kind.options().references;
    collect(next_kind, *next, next_options, shown);
  }
}

std::string as_yaml(const std::vector<Shown>& shown) {
  std::string text;
  for (const Shown& part : shown)
    text += fmt::format("{}# {} {}: {}\n{}", text.empty() ? "" : "---\n", part.kind,
                        part.document.name(), part.document.file(), part.document.to_yaml(true));
  return text;
}

std::string as_json(const std::vector<Shown>& shown, const ShowArguments& arguments) {
  nlohmann::ordered_json object;
  for (const Shown& part : shown)
    object[part.kind] = {{"name", part.document.name()},
                         {"file", part.document.file()},
                         {"values", part.document.resolved(true)}};
  if (shown.front().kind == "architecture")
    object["counts"] = describe_architecture(arguments.name, arguments.set).counts;
  return object.dump(2) + '\n';
}

/// What the cluster's description comes to, as comments below it.
std::string wiring_of(const std::string& name) {
  const fabric::Topology topology{fabric::topology_of(device::load_cluster(name))};
  return "\n" + fabric::to_text(fabric::summarise(topology), topology);
}

void show(const ShowArguments& arguments) {
  if (arguments.kind == "schedule" || arguments.kind == "schedules")
    return show_schedule(arguments.name, arguments.format, arguments.schedule);
  if (arguments.kind == "cache" || arguments.kind == "caches")
    return show_cache(arguments.name, arguments.format, arguments.cache);
  if (arguments.kind == "price") return show_price(arguments.name, arguments.set, arguments.format);
  if (arguments.format == "text" || arguments.format == "svg" || arguments.format == "csv")
    throw core::ConfigError(
        {"tessera", 0, 0},
        fmt::format("--format: only schedules and caches are shown as {}", arguments.format));
  const Kind& kind = kind_of(arguments.kind);
  core::LoadOptions options = kind.options();
  const bool as_written =
      !arguments.resolved && arguments.set.empty() && arguments.format != "json";
  kind.check(arguments.name, arguments.set);
  if (as_written) {
    fmt::print("{}", kind.text(arguments.name, options));
    if (kind.name == "architecture")
      fmt::print("{}", describe_architecture(arguments.name, arguments.set).summary);
    if (kind.name == "cluster") fmt::print("{}", wiring_of(arguments.name));
    return;
  }
  options.overrides = core::parse_overrides(arguments.set);
  std::vector<Shown> shown;
  collect(kind, arguments.name, options, shown);
  if (arguments.format == "json") {
    fmt::print("{}", as_json(shown, arguments));
    return;
  }
  fmt::print("{}", as_yaml(shown));
  if (kind.name == "architecture")
    fmt::print("{}", describe_architecture(arguments.name, arguments.set).summary);
}

}  // namespace

void add_show_command(CLI::App& program) {
  auto arguments = std::make_shared<ShowArguments>();
  CLI::App* command = program.add_subcommand("show", "Print a description, checked");
  command
      ->add_option(
          "kind", arguments->kind,
          "device, node, cluster, schedule, ... (see list); cache of an architecture or all; price "
          "of a device, a cluster or all")
      ->required();
  command->add_option("name", arguments->name, "A name of that kind, or a path")->required();
  command->add_flag("--resolved", arguments->resolved,
                    "With what it extends and names, and the origin of every value");
  command
      ->add_option("--set", arguments->set, "Override path=value; prints the resolved description")
      ->allow_extra_args(false);
  command
      ->add_option("--format", arguments->format,
                   "json prints the resolved description; schedules: text, svg or yaml; caches: "
                   "text, csv or json")
      ->check(CLI::IsMember({"yaml", "json", "text", "svg", "csv"}));
  add_schedule_options(*command, arguments->schedule);
  add_cache_options(*command, arguments->cache);
  command->callback([arguments] { show(*arguments); });
}

}  // namespace tessera::app
