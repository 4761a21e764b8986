#include "models/fabric/topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "models/fabric/route_tables.hpp"
#include "models/fabric/wiring.hpp"

namespace tessera::fabric {

std::string to_string(VertexKind kind) {
  switch (kind) {
    case VertexKind::gpu:
      return "gpu";
    case VertexKind::nic:
      return "nic";
    case VertexKind::nvswitch:
      return "nvswitch";
    case VertexKind::pcie_switch:
      return "pcie_switch";
    case VertexKind::processor:
      return "processor";
    case VertexKind::leaf:
      return "leaf";
    case VertexKind::spine:
      return "spine";
    case VertexKind::core:
      return "core";
    case VertexKind::group:
      return "group";
    case VertexKind::site:
      return "site";
  }
  return "gpu";
}

std::string to_string(LinkClass link_class) {
  switch (link_class) {
    case LinkClass::nvlink:
      return "nvlink";
    case LinkClass::pcie:
      return "pcie";
    case LinkClass::host:
      return "host";
    case LinkClass::rdma:
      return "rdma";
    case LinkClass::network:
      return "network";
    case LinkClass::wan:
      return "wan";
  }
  return "network";
}

namespace {

NetworkKind network_of(const device::ClusterSpec& cluster) {
  if (cluster.domains == 1) return NetworkKind::none;
  switch (cluster.fabric.kind) {
    case device::FabricKind::multiplane_fat_tree:
      return NetworkKind::multi_plane;
    case device::FabricKind::rail_fat_tree:
      return NetworkKind::rail_optimised;
    case device::FabricKind::fat_tree:
      return NetworkKind::fat_tree;
    case device::FabricKind::dragonfly:
      return NetworkKind::dragonfly;
  }
  return NetworkKind::fat_tree;
}

/// Adds domains to a graph under construction.
class DomainBuilder {
 public:
  using VertexId = Topology::VertexId;

  DomainBuilder(const TopologySpec& spec, Wiring& wiring) : spec_(spec), wiring_(wiring) {}

  void build(int domain) {
    first_ = gpus_.size();
    for (int slot = 0; slot < spec_.gpus_per_domain; ++slot)
      gpus_.push_back(
          wiring_.add({VertexKind::gpu, domain * spec_.gpus_per_domain + slot, domain, -1}));
    const bool has_nvlink = spec_.nvlink_rate > BytesPerSecond{0};
    if (has_nvlink) build_nvlink(domain);
    if (!has_nvlink || spec_.gpus_per_nvlink < spec_.gpus_per_domain) build_pcie(domain);
    if (spec_.network != NetworkKind::none) build_nics(domain);
  }

  [[nodiscard]] std::vector<VertexId>& gpus() { return gpus_; }
  [[nodiscard]] std::vector<VertexId>& nics() { return nics_; }

 private:
  [[nodiscard]] VertexId gpu(int slot) const {
    return gpus_[first_ + static_cast<std::size_t>(slot)];
  }

  void build_nvlink(int domain) {
    VertexId inner{};
    for (int slot = 0; slot < spec_.gpus_per_domain; ++slot) {
      if (slot % spec_.gpus_per_nvlink == 0)
        inner =
            wiring_.add({VertexKind::nvswitch, wiring_.counts()[VertexKind::nvswitch], domain, -1});
      wiring_.connect(gpu(slot), inner, LinkClass::nvlink, spec_.nvlink_rate,
                      Time{spec_.nvlink_latency.value() / 2});  // half on each side of the switch
    }
  }

  void build_pcie(int domain) {
    // One vertex for all processors of a node: what their own link costs is in the protocols'
    // shares.
    const VertexId processor = wiring_.add({VertexKind::processor, domain, domain, -1});
    VertexId inner{};
    for (int slot = 0; slot < spec_.gpus_per_domain; ++slot) {
      if (slot % spec_.gpus_per_pcie_switch == 0) {
        inner = wiring_.add(
            {VertexKind::pcie_switch, wiring_.counts()[VertexKind::pcie_switch], domain, -1});
        wiring_.connect(inner, processor, LinkClass::host, spec_.pcie_rate, spec_.pcie_latency);
      }
      wiring_.connect(gpu(slot), inner, LinkClass::pcie, spec_.pcie_rate, spec_.pcie_latency);
    }
  }

  void build_nics(int domain) {
    const int count = (spec_.gpus_per_domain + spec_.gpus_per_nic - 1) / spec_.gpus_per_nic;
    for (int nic = 0; nic < count; ++nic) {
      nics_.push_back(
          wiring_.add({VertexKind::nic, domain * count + nic, domain, nic % spec_.planes}));
      for (int slot = nic * spec_.gpus_per_nic;
           slot < std::min((nic + 1) * spec_.gpus_per_nic, spec_.gpus_per_domain); ++slot)
        wiring_.connect(gpu(slot), nics_.back(), LinkClass::pcie, spec_.pcie_rate,
                        spec_.pcie_latency);
    }
  }

  const TopologySpec& spec_;
  Wiring& wiring_;
  std::size_t first_ = 0;
  std::vector<VertexId> gpus_, nics_;
};

}  // namespace

TopologySpec topology_of(const device::ClusterSpec& cluster) {
  const device::NodeSpec& node = cluster.node;
  const device::FabricSpec& fabric = cluster.fabric;
  const bool rails = fabric.kind == device::FabricKind::rail_fat_tree;
  // A NIC's latency covers both hosts: half of it is charged to their PCIe links, half to the wire.
  const Time host_side{node.nic.latency.value() / 4};
  return {.domains = cluster.domains,
          .gpus_per_domain = cluster.gpus_per_domain,
          .nvlink_rate = node.device.nvlink.rate,
          .gpus_per_nvlink = node.device.nvlink.rate.value() > 0 ? node.nvlink_domain.gpus : 1,
          .nvlink_latency = node.device.nvlink.latency,
          .in_switch_reduction = node.nvlink_domain.in_switch_reduction,
          .gpus_per_nic = node.nic.gpus_per_nic,
          .nic_rate = node.nic.rate,
          .nic_efficiency = node.nic.efficiency,
          .nic_latency = node.nic.latency - 2 * host_side + node.nic.post_overhead +
                         2 * fabric.cable_latency + fabric.switch_latency,
          .nic_message_rate = node.nic.message_rate,
          .pcie_rate = node.host.pcie_rate,
          .pcie_latency = host_side,
          .gpus_per_pcie_switch = node.host.gpus_per_pcie_switch,
          .gpus_per_socket = std::max(1, node.gpus / node.host.sockets),
          .network = network_of(cluster),
          .planes = rails ? node.nic.per_node : fabric.planes,
          .leaf_radix = fabric.leaf_radix,
          .spine_radix = fabric.spine_radix,
          .oversubscription = fabric.oversubscription,
          .link_rate = fabric.link_rate,
          .link_efficiency = fabric.efficiency,
          .switch_latency = fabric.switch_latency + fabric.cable_latency,
          .core_oversubscription = fabric.core_oversubscription,
          .routing = fabric.routing,
          .hash_seed = static_cast<std::uint64_t>(fabric.hash_seed),
          .in_network_reduction = fabric.in_network_reduction,
          .sites = fabric.sites.count,
          .wan_rate = fabric.sites.rate,
          .wan_latency = fabric.sites.latency,
          .faults = cluster.faults};
}

Topology::Topology(const TopologySpec& spec) : spec_(spec) {
  assert(spec.domains > 0 && spec.gpus_per_domain > 0 && "a cluster has GPUs");
  assert(spec.gpus_per_nvlink > 0 && spec.gpus_per_pcie_switch > 0 && spec.gpus_per_socket > 0 &&
         "a GPU is at least joined to itself");
  assert((spec.domains == 1 || spec.network != NetworkKind::none) && "domains need a network");
  assert(
      (spec.network == NetworkKind::none || (spec.gpus_per_nic > 0 && spec.planes > 0 &&
                                             spec.leaf_radix >= 2 && spec.oversubscription >= 1)) &&
      "a network has NICs, planes and leaves");
  assert(spec.sites > 0 && spec.domains % spec.sites == 0 && "sites are equal parts");
  Wiring wiring{spec_.faults, graph_, links_};
  DomainBuilder domains{spec_, wiring};
  for (int domain = 0; domain < spec.domains; ++domain) {
    domain_start_.push_back(num_vertices(graph_));
    domains.build(domain);
  }
  domain_start_.push_back(num_vertices(graph_));
  nic_leaf_ = build_network(spec_, domains.nics(), wiring);
  wiring.check_faults();
  switches_ = std::move(wiring.counts());
  gpu_vertices_ = std::move(domains.gpus());
  nic_vertices_ = std::move(domains.nics());
  routes_ = std::make_unique<RouteTables>(*this);
}

Topology::~Topology() = default;

int Topology::switches(VertexKind kind) const {
  const auto found = switches_.find(kind);
  return found == switches_.end() ? 0 : found->second;
}

int Topology::leaf_of(int nic) const { return nic_leaf_[static_cast<std::size_t>(nic)]; }

std::string Topology::asymmetry() const {
  if (spec_.network == NetworkKind::none) return "";
  if (!spec_.faults.empty()) return "links are degraded or down";
  if (spec_.routing == Routing::ecmp) return "paths follow a hash";
  if (spec_.sites > 1) return "sites are joined by thin lines";
  if (spec_.network == NetworkKind::dragonfly) return "groups of a dragonfly are joined pairwise";
  if (spec_.oversubscription > 1 || spec_.core_oversubscription > 1)
    return "switches are oversubscribed";
  if (spec_.link_rate * spec_.link_efficiency < spec_.nic_rate * spec_.nic_efficiency)
    return "links between switches are slower than NICs";
  return "";
}

int Topology::nics_per_domain() const {
  if (spec_.network == NetworkKind::none) return 0;
  return (spec_.gpus_per_domain + spec_.gpus_per_nic - 1) / spec_.gpus_per_nic;
}

int Topology::nic_of(int gpu) const {
  if (spec_.network == NetworkKind::none) return -1;
  return domain_of(gpu) * nics_per_domain() + (gpu % spec_.gpus_per_domain) / spec_.gpus_per_nic;
}

bool Topology::share_group(const std::vector<int>& gpus, int size) const {
  const auto group = [&](int gpu) {
    return std::pair{domain_of(gpu), gpu % spec_.gpus_per_domain / size};
  };
  return std::all_of(gpus.begin(), gpus.end(),
                     [&](int gpu) { return group(gpu) == group(gpus.front()); });
}

bool Topology::joined_by_nvlink(const std::vector<int>& gpus) const {
  return spec_.nvlink_rate > BytesPerSecond{0} && share_group(gpus, spec_.gpus_per_nvlink);
}

bool Topology::cross_pcie_switches(const std::vector<int>& gpus) const {
  return !share_group(gpus, spec_.gpus_per_pcie_switch);
}

bool Topology::cross_sockets(const std::vector<int>& gpus) const {
  return !share_group(gpus, spec_.gpus_per_socket);
}

Route Topology::route(int from, int to, std::uint64_t salt) const {
  assert(from >= 0 && from < gpus() && to >= 0 && to < gpus() && "GPUs of this cluster");
  return routes_->route(from, to, salt);
}

}  // namespace tessera::fabric
