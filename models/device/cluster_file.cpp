#include "models/device/cluster_file.hpp"

#include <fmt/format.h>

#include "models/device/device_file.hpp"
#include "models/device/generated_cluster.hpp"

namespace tessera::device {
namespace {

using core::ConfigDocument;
using core::ConfigNode;
using namespace core::literals;

constexpr int kMaxGpus = 1 << 20;  ///< In a node, a domain or a cluster's domains.

const std::vector<std::pair<std::string, FabricKind>> kFabricKinds = {
    {"multiplane_fat_tree", FabricKind::multiplane_fat_tree},
    {"rail_fat_tree", FabricKind::rail_fat_tree},
    {"fat_tree", FabricKind::fat_tree},
    {"dragonfly", FabricKind::dragonfly},
};

const std::vector<std::pair<std::string, Routing>> kRoutings = {{"adaptive", Routing::adaptive},
                                                                {"ecmp", Routing::ecmp}};

int read_count(const ConfigNode& node, std::string_view key, int min, int max = kMaxGpus) {
  return static_cast<int>(node.integer(key, min, max));
}

BytesPerSecond read_rate(const ConfigNode& node, std::string_view key) {
  return node.quantity<BytesPerSecond>(key, BytesPerSecond{1e6}, BytesPerSecond{1e15});
}

Time read_latency(const ConfigNode& node, std::string_view key) {
  return node.quantity<Time>(key, 0_ns, 1_s);
}

/// The document that `key` names; its mistakes join this document's.
template <class Spec, class Load>
Spec read_named(const ConfigNode& root, std::string_view key, core::LoadOptions options,
                const Load& load) {
  const std::string name = root.text(key);
  if (name.empty()) return {};
  try {
    return load(name, options);
  } catch (const core::ConfigError& error) {
    root.absorb(error);
    return {};
  }
}

NicSpec read_nic(const ConfigNode& node) {
  return {.rate = read_rate(node, "rate"),
          .per_node = read_count(node, "per_node", 1, 64),
          .gpus_per_nic = read_count(node, "gpus_per_nic", 1, 64),
          .efficiency = node.number("efficiency", 0.01, 1),
          .message_rate = node.quantity_in("message_rate", "messages/s", 1, 1e12),
          .latency = read_latency(node, "latency"),
          .post_overhead = read_latency(node, "post_overhead")};
}

NvlinkDomainSpec read_domain(const ConfigNode& node) {
  return {.gpus = read_count(node, "gpus", 1),
          .switches = read_count(node, "switches", 0),
          .in_switch_reduction = node.boolean("in_switch_reduction"),
          .switch_latency = read_latency(node, "switch_latency")};
}

HostSpec read_host(const ConfigNode& node) {
  return {.cpu = node.text("cpu"),
          .sockets = read_count(node, "sockets", 1, 64),
          .pcie_rate = read_rate(node, "pcie_rate"),
          .gpus_per_pcie_switch = read_count(node, "gpus_per_pcie_switch", 1, 64),
          .memory = node.quantity<Bytes>("memory", 1_MiB, Bytes{1'000'000'000'000'000})};
}

SitesSpec read_sites(const ConfigNode& fabric) {
  if (!fabric.has("sites")) return {};
  const ConfigNode node = fabric.object("sites");
  return {.count = read_count(node, "count", 2, 1024),
          .rate = read_rate(node, "rate"),
          .latency = read_latency(node, "latency")};
}

/// Links that are slower than they should be, or gone.
std::vector<LinkFault> read_faults(const ConfigNode& root) {
  std::vector<LinkFault> faults;
  const ConfigNode links = root.optional_object("links");
  for (const ConfigNode& item : links.optional_list("degraded")) {
    const ConfigNode fault = item.object();
    faults.push_back(
        {fault.text("link"), fault.number("rate", 1e-6, 0.999999), fault.at("link").position()});
  }
  for (const ConfigNode& item : links.optional_list("down"))
    faults.push_back({item.text(), 0, item.position()});
  return faults;
}

/// What is not written follows from the node: its NICs' rate, and a plane a NIC.
FabricSpec read_fabric(const ConfigNode& node, const NodeSpec& server) {
  const FabricKind kind = node.choice("kind", kFabricKinds);
  const int planes = kind == FabricKind::multiplane_fat_tree ? server.nic.per_node : 1;
  return {.kind = kind,
          .planes = static_cast<int>(node.integer_or("planes", 1, 64, planes)),
          .leaf_radix = read_count(node, "leaf_radix", 2, 4096),
          .spine_radix = read_count(node, "spine_radix", 2, 4096),
          .oversubscription = node.number("oversubscription", 1, 64),
          .link_rate = node.has("link_rate") ? read_rate(node, "link_rate") : server.nic.rate,
          .switch_latency = read_latency(node, "switch_latency"),
          .cable_latency = read_latency(node, "cable_latency"),
          .efficiency = node.number("efficiency", 0.01, 1),
          .power_per_gpu = node.quantity<Watts>("power_per_gpu", Watts{0}, Watts{1e5}),
          .core_oversubscription = node.number_or("core_oversubscription", 1, 64, 1),
          .routing = node.choice_or("routing", kRoutings, Routing::adaptive),
          .hash_seed = node.integer_or("hash_seed", 0, INT64_MAX, 0),
          .in_network_reduction = node.boolean_or("in_network_reduction", false),
          .sites = read_sites(node)};
}

void check_node(const ConfigNode& root, const NodeSpec& node) {
  if (!root.sound()) return;
  const ConfigNode nic = root.object("nic");
  if (node.nic.per_node * node.nic.gpus_per_nic != node.gpus)
    nic.at("per_node")
        .fail_against(root.at("gpus"),
                      fmt::format("found {} NICs of {} GPUs each; expected them to serve {} GPUs",
                                  node.nic.per_node, node.nic.gpus_per_nic, node.gpus));
  const ConfigNode domain = root.object("nvlink_domain");
  const int joined = node.nvlink_domain.gpus;
  if (joined % node.gpus != 0 && node.gpus % joined != 0 && node.device.nvlink.rate.value() > 0)
    domain.at("gpus").fail_against(
        root.at("gpus"),
        fmt::format("found {}; expected a multiple or an even part of the node's GPUs, {}", joined,
                    node.gpus));
  if (node.device.nvlink.rate.value() == 0 && node.nvlink_domain.gpus != 1)
    domain.at("gpus").fail(fmt::format("found {}; expected 1, since {} has no NVLink",
                                       node.nvlink_domain.gpus, node.device.name));
}

void check_cluster(const ConfigNode& root, const ClusterSpec& cluster) {
  if (!root.sound()) return;
  const ConfigNode used = root.at("gpus_per_domain");
  const int largest = std::max(cluster.node.nvlink_domain.gpus, cluster.node.gpus);
  if (cluster.gpus_per_domain > largest)
    used.fail_against(root.at("node"),
                      fmt::format("found {}; expected at most the {} GPUs of a domain of {}",
                                  cluster.gpus_per_domain, largest, cluster.node.name));
  else if (cluster.gpus_per_domain % cluster.node.gpus != 0)
    used.fail_against(root.at("node"),
                      fmt::format("found {}; expected whole nodes of {}, which have {} GPUs",
                                  cluster.gpus_per_domain, cluster.node.name, cluster.node.gpus));
  const ConfigNode fabric = root.object("fabric");
  const ConfigNode planes = fabric.has("planes") ? fabric.at("planes") : fabric.at("kind");
  const bool multiplane = cluster.fabric.kind == FabricKind::multiplane_fat_tree;
  const int expected = multiplane ? cluster.node.nic.per_node : 1;
  if (cluster.fabric.planes != expected)
    planes.fail_against(root.object("fabric").at("kind"),
                        fmt::format("found {}; expected {}", cluster.fabric.planes,
                                    multiplane ? fmt::format("one for each of the {} NICs of {}",
                                                             expected, cluster.node.name)
                                               : std::string("1")));
}

/// What of a fabric contradicts itself.
void check_fabric(const ConfigNode& root, const ClusterSpec& cluster) {
  if (!root.sound()) return;
  const ConfigNode node = root.object("fabric");
  const FabricSpec& fabric = cluster.fabric;
  const bool dragonfly = fabric.kind == FabricKind::dragonfly;
  const auto none_on_dragonfly = [&](const char* key, double value) {
    if (dragonfly && value != 1)
      node.at(key).fail_against(
          node.at("kind"), fmt::format("found {}; expected 1: a dragonfly's routers share their "
                                       "ports out by a fixed rule",
                                       value));
  };
  none_on_dragonfly("oversubscription", fabric.oversubscription);
  none_on_dragonfly("core_oversubscription", fabric.core_oversubscription);
  if (dragonfly && fabric.leaf_radix < 4)
    node.at("leaf_radix")
        .fail(fmt::format("found {}; expected at least 4 ports of a dragonfly's "
                          "router",
                          fabric.leaf_radix));
  if (fabric.sites.count == 1) return;
  const ConfigNode sites = node.object("sites");
  if (cluster.domains % fabric.sites.count != 0)
    sites.at("count").fail_against(root.at("domains"),
                                   fmt::format("found {}, which does not divide the {} domains",
                                               fabric.sites.count, cluster.domains));
  if (fabric.kind == FabricKind::multiplane_fat_tree)
    sites.at("count").fail_against(
        node.at("kind"),
        "sites whose planes share no switch have no one border; expected "
        "rail_fat_tree, fat_tree or dragonfly");
}

}  // namespace

core::LoadOptions node_options(std::vector<core::Override> overrides) {
  return {.kind = "node",
          .folder = "hw_configs/nodes",
          .overrides = std::move(overrides),
          .references = {"device"}};
}

core::LoadOptions cluster_options(std::vector<core::Override> overrides) {
  return {.kind = "cluster",
          .folder = "hw_configs/clusters",
          .overrides = std::move(overrides),
          .references = {"node"}};
}

NodeSpec read_node(const ConfigDocument& document) {
  const ConfigNode root = document.root();
  core::LoadOptions options = root.at("device").reference("device", device_options().folder);
  NodeSpec node{
      .name = document.name(),
      .device = read_named<DeviceSpec>(
          root, "device", options,
          [](const std::string& name, const core::LoadOptions& o) { return load_device(name, o); }),
      .gpus = read_count(root, "gpus", 1, 1024),
      .nvlink_domain = read_domain(root.object("nvlink_domain")),
      .nic = read_nic(root.object("nic")),
      .host = read_host(root.object("host")),
      .overhead_power = root.quantity<Watts>("overhead_power", Watts{0}, Watts{1e6})};
  check_node(root, node);
  document.finish();
  return node;
}

ClusterSpec read_cluster(const ConfigDocument& document) {
  const ConfigNode root = document.root();
  core::LoadOptions options = root.at("node").reference("node", node_options().folder);
  options.references = node_options().references;
  ClusterSpec cluster{
      .name = document.name(),
      .node = read_named<NodeSpec>(root, "node", options,
                                   [](const std::string& name, const core::LoadOptions& o) {
                                     return read_node(ConfigDocument::load(name, o));
                                   }),
      .domains = read_count(root, "domains", 1),
      .gpus_per_domain = read_count(root, "gpus_per_domain", 1),
      .fabric = {}};
  cluster.fabric = read_fabric(root.object("fabric"), cluster.node);
  cluster.faults = read_faults(root);
  check_cluster(root, cluster);
  check_fabric(root, cluster);
  document.finish();
  return cluster;
}

NodeSpec load_node(const std::string& name_or_path, std::vector<core::Override> overrides) {
  return read_node(ConfigDocument::load(name_or_path, node_options(std::move(overrides))));
}

ClusterSpec load_cluster(const std::string& name_or_path, std::vector<core::Override> overrides) {
  return load_cluster(name_or_path, cluster_options(std::move(overrides)));
}

ClusterSpec load_cluster(const std::string& name_or_path, core::LoadOptions options) {
  options.references = cluster_options().references;
  return read_cluster(load_cluster_document(name_or_path, options));
}

FabricSpec read_fabric_file(const ConfigDocument& document) {
  const FabricSpec fabric = read_fabric(document.root(), {});
  document.finish();
  return fabric;
}

}  // namespace tessera::device
