#include "sim/app/catalogue.hpp"

#include <algorithm>

#include "models/device/cluster_file.hpp"
#include "models/device/device_file.hpp"
#include "models/device/export_rules.hpp"
#include "models/device/fit_file.hpp"
#include "models/device/generated_cluster.hpp"
#include "models/device/price_list.hpp"
#include "models/fabric/topology.hpp"
#include "models/kernels/implementation_library.hpp"
#include "models/training/schedule_file.hpp"
#include "models/workload/architecture_file.hpp"
#include "models/workload/video_transformer.hpp"
#include "sim/app/any_scenario.hpp"
#include "sim/app/scenario.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

using Settings = std::vector<std::string>;

constexpr const char* kKernelFolder = "hw_configs/kernels";

/// Loads a document of `options` with its overrides and reads it with `read`.
template <class Read, class Load = decltype(&core::ConfigDocument::load)>
auto checker(const core::LoadOptions& options, Read read,
             Load load_document = core::ConfigDocument::load) {
  return [options, read, load_document](const std::string& name, const Settings& set) {
    core::LoadOptions load = options;
    load.overrides = core::parse_overrides(set);
    static_cast<void>(read(load_document(name, load)));
  };
}

/// Reads a cluster and wires it, so that faults of links that are not there are found.
device::ClusterSpec wire_cluster(const core::ConfigDocument& document) {
  device::ClusterSpec cluster = device::read_cluster(document);
  static_cast<void>(fabric::Topology{fabric::topology_of(cluster)});
  return cluster;
}

}  // namespace

core::LoadOptions Kind::options() const {
  core::LoadOptions options{.kind = name, .folder = folder};
  for (const auto& [key, unused] : references) options.references.push_back(key);
  return options;
}

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"device",
       "devices",
       "hw_configs/devices",
       {},
       checker(device::device_options(), device::read_device)},
      {"node",
       "nodes",
       "hw_configs/nodes",
       {{"device", "device"}},
       checker(device::node_options(), device::read_node)},
      {"cluster",
       "clusters",
       "hw_configs/clusters",
       {{"node", "node"}},
       checker(device::cluster_options(), wire_cluster, device::load_cluster_document),
       device::load_cluster_document,
       device::cluster_text},
      {"fabric",
       "fabrics",
       device::kFabricFolder,
       {},
       checker({.kind = "fabric", .folder = device::kFabricFolder}, device::read_fabric_file)},
      {"prices", "prices", "hw_configs", {}, checker(device::price_options(), device::read_prices)},
      {"export_rules",
       "export_rules",
       "hw_configs",
       {},
       checker(device::export_rule_options(), device::read_export_rules)},
      {"architecture",
       "architectures",
       workload::kArchitectureFolder,
       {},
       [](const std::string& name, const Settings& set) {
         core::LoadOptions options;
         options.overrides = core::parse_overrides(set);
         if (!workload::load_video_transformer(name, options))
           static_cast<void>(workload::load_architecture(name, options));
       }},
      {"scenario",
       "scenarios",
       "workloads/scenarios",
       {{"cluster", "cluster"}, {"architecture", "architecture"}},
       [](const std::string& name, const Settings& set) {
         static_cast<void>(read_any_scenario(name, {.set = set}));
       }},
      {"schedule",
       "schedules",
       training::kScheduleFolder,
       {},
       checker(training::schedule_options(), training::read_schedule)},
      {"kernel",
       "kernels",
       kKernelFolder,
       {},
       checker({.kind = "kernel", .folder = kKernelFolder}, kernels::read_implementation)},
      {"fit", "fits", device::kFitFolder, {}, checker(device::fit_options(), device::read_fit)},
  };
  return all;
}

const Kind& kind_of(const std::string& name) {
  std::vector<std::string> known;
  for (const Kind& kind : kinds()) {
    if (kind.name == name || kind.plural == name) return kind;
    known.push_back(kind.name);
  }
  throw core::ConfigError({"tessera", 0, 0}, "kind: " + core::unknown_name(name, known));
}

std::vector<std::string> names_of(const Kind& kind) {
  std::vector<std::string> names = core::names_in(kind.folder);
  // The price lists share their folder with the export rules.
  if (kind.name == "prices")
    std::erase_if(names, [](const std::string& name) { return !name.starts_with("prices"); });
  if (kind.name == "export_rules")
    std::erase_if(names, [](const std::string& name) { return !name.starts_with("export_rules"); });
  // What was measured as which implementation is a table, not an implementation.
  std::erase(names, "measured_as");
  return names;
}

}  // namespace tessera::app
