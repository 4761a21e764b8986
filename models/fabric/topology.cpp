#include "models/fabric/topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <queue>

#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

constexpr std::int64_t kUnreached = std::numeric_limits<std::int64_t>::max();

/// SplitMix64's finaliser: spreads flows over equal paths the same way on every machine.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// What a way over PCIe costs beyond its latency: more than any way over NVLink, which a GPU always
/// takes to a peer that it reaches, even when both share a NIC or a PCIe switch.
constexpr std::int64_t kPcieCrossing = 1'000'000'000;  // ps; far above all sums of latencies

/// What routing counts for a link. A picosecond more than the latency, so that hops without latency
/// still count.
std::int64_t cost(const Topology::Graph& graph, Topology::Graph::edge_descriptor edge) {
  const bool over_pcie = graph[edge].link_class == LinkClass::pcie;
  return graph[edge].latency.value() + 1 + (over_pcie ? kPcieCrossing : 0);
}

/// Latency from every vertex to `target`, settled at least as far out as `source`. Dijkstra that
/// stops early: most pairs are neighbours, and a whole search over the cluster would cost a
/// thousand times more. Searches from the target because cables are the same both ways.
std::vector<std::int64_t> distances_to(const Topology::Graph& graph, std::size_t target,
                                       std::size_t source) {
  std::vector<std::int64_t> distance(num_vertices(graph), kUnreached);
  using Entry = std::pair<std::int64_t, std::size_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
  distance[target] = 0;
  open.emplace(0, target);
  while (!open.empty()) {
    const auto [reached, vertex] = open.top();
    open.pop();
    if (reached > distance[vertex]) continue;
    if (reached > distance[source]) break;
    for (auto [edge, end] = out_edges(vertex, graph); edge != end; ++edge) {
      const std::size_t next = boost::target(*edge, graph);
      const std::int64_t through = reached + cost(graph, *edge);
      if (through >= distance[next]) continue;
      distance[next] = through;
      open.emplace(through, next);
    }
  }
  return distance;
}

}  // namespace

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
  }
  return "network";
}

TopologySpec topology_of(const device::ClusterSpec& cluster) {
  const device::NodeSpec& node = cluster.node;
  const device::FabricSpec& fabric = cluster.fabric;
  const bool rails = fabric.kind == device::FabricKind::rail_fat_tree;
  const NetworkKind kind = cluster.domains == 1 ? NetworkKind::none
                           : rails              ? NetworkKind::rail_optimised
                           : fabric.kind == device::FabricKind::fat_tree ? NetworkKind::fat_tree
                                                                         : NetworkKind::multi_plane;
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
          .network = kind,
          .planes = rails ? node.nic.per_node : fabric.planes,
          .leaf_radix = fabric.leaf_radix,
          .spine_radix = fabric.spine_radix,
          .oversubscription = fabric.oversubscription,
          .link_rate = fabric.link_rate,
          .link_efficiency = fabric.efficiency,
          .switch_latency = fabric.switch_latency + fabric.cable_latency};
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
  for (int domain = 0; domain < spec.domains; ++domain) build_domain(domain);
  if (spec.network != NetworkKind::none) build_network();
}

int Topology::nics_per_domain() const {
  if (spec_.network == NetworkKind::none) return 0;
  return (spec_.gpus_per_domain + spec_.gpus_per_nic - 1) / spec_.gpus_per_nic;
}

int Topology::nic_of(int gpu) const {
  if (spec_.network == NetworkKind::none) return -1;
  return domain_of(gpu) * nics_per_domain() + (gpu % spec_.gpus_per_domain) / spec_.gpus_per_nic;
}

void Topology::connect(VertexId a, VertexId b, LinkClass link_class, BytesPerSecond rate,
                       Time latency) {
  for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
    const Link link{static_cast<int>(links_.size()), link_class, rate, latency};
    add_edge(from, to, link, graph_);
    links_.push_back(link);
  }
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

void Topology::build_domain(int domain) {
  for (int slot = 0; slot < spec_.gpus_per_domain; ++slot)
    gpu_vertices_.push_back(
        add_vertex({VertexKind::gpu, domain * spec_.gpus_per_domain + slot, domain, -1}, graph_));
  const bool has_nvlink = spec_.nvlink_rate > BytesPerSecond{0};
  if (has_nvlink) build_nvlink(domain);
  if (!has_nvlink || spec_.gpus_per_nvlink < spec_.gpus_per_domain) build_pcie(domain);
  build_nics(domain);
}

void Topology::build_nvlink(int domain) {
  VertexId inner{};
  for (int slot = 0; slot < spec_.gpus_per_domain; ++slot) {
    const int gpu = domain * spec_.gpus_per_domain + slot;
    if (slot % spec_.gpus_per_nvlink == 0)
      inner = add_vertex({VertexKind::nvswitch, gpu / spec_.gpus_per_nvlink, domain, -1}, graph_);
    connect(gpu_vertices_[static_cast<std::size_t>(gpu)], inner, LinkClass::nvlink,
            spec_.nvlink_rate,
            Time{spec_.nvlink_latency.value() / 2});  // half on each side of the switch
  }
}

void Topology::build_pcie(int domain) {
  // One vertex for all processors of a node: what their own link costs is in the protocols' shares.
  const VertexId processor = add_vertex({VertexKind::processor, domain, domain, -1}, graph_);
  VertexId inner{};
  for (int slot = 0; slot < spec_.gpus_per_domain; ++slot) {
    const int gpu = domain * spec_.gpus_per_domain + slot;
    if (slot % spec_.gpus_per_pcie_switch == 0) {
      inner = add_vertex({VertexKind::pcie_switch, gpu / spec_.gpus_per_pcie_switch, domain, -1},
                         graph_);
      connect(inner, processor, LinkClass::host, spec_.pcie_rate, spec_.pcie_latency);
    }
    connect(gpu_vertices_[static_cast<std::size_t>(gpu)], inner, LinkClass::pcie, spec_.pcie_rate,
            spec_.pcie_latency);
  }
}

void Topology::build_nics(int domain) {
  for (int nic = 0; nic < nics_per_domain(); ++nic) {
    const int index = domain * nics_per_domain() + nic;
    nic_vertices_.push_back(
        add_vertex({VertexKind::nic, index, domain, nic % spec_.planes}, graph_));
    for (int slot = nic * spec_.gpus_per_nic;
         slot < std::min((nic + 1) * spec_.gpus_per_nic, spec_.gpus_per_domain); ++slot)
      connect(gpu_vertices_[static_cast<std::size_t>(domain * spec_.gpus_per_domain + slot)],
              nic_vertices_.back(), LinkClass::pcie, spec_.pcie_rate, spec_.pcie_latency);
  }
}

void Topology::build_network() {
  const double up_share = 1 / (1 + spec_.oversubscription);
  const int down = std::max(1, static_cast<int>(spec_.leaf_radix * (1 - up_share)));
  const bool by_domain = spec_.network == NetworkKind::fat_tree;
  std::map<int, std::vector<VertexId>> leaves;  // by plane; a fat tree has one
  std::map<int, int> used;
  for (const VertexId nic : nic_vertices_) {
    const int plane = by_domain ? 0 : graph_[nic].plane;
    if (used[plane]++ % down == 0)
      leaves[plane].push_back(add_vertex(
          {VertexKind::leaf, static_cast<int>(leaves[plane].size()), -1, plane}, graph_));
    connect(nic, leaves[plane].back(), LinkClass::rdma, spec_.nic_rate * spec_.nic_efficiency,
            Time{spec_.nic_latency.value() / 2});  // half on each side of the leaf
  }
  if (spec_.network == NetworkKind::multi_plane) {
    for (const auto& [plane, under] : leaves) join_leaves(under, plane, spec_.leaf_radix - down);
    return;
  }
  std::vector<VertexId> all;
  for (const auto& [rail, under] : leaves) all.insert(all.end(), under.begin(), under.end());
  join_leaves(all, -1, spec_.leaf_radix - down);
}

void Topology::join_leaves(const std::vector<VertexId>& leaves, int plane, int up_ports) {
  const int count = static_cast<int>(leaves.size());
  if (count < 2) return;
  if (count > spec_.spine_radix)
    throw core::Refusal(
        core::RefusalKind::outside_model,
        fmt::format("a two-layer tree under {}-port spines joins at most as many leaves; {} are "
                    "needed: use more planes or switches with more ports",
                    spec_.spine_radix, count));
  const int spines =
      std::clamp((count * up_ports + spec_.spine_radix - 1) / spec_.spine_radix, 1, up_ports);
  // The up ports of a leaf are spread over the spines; several to one spine are one fat link.
  const BytesPerSecond rate = spec_.link_rate * spec_.link_efficiency *
                              (static_cast<double>(up_ports) / static_cast<double>(spines));
  for (int spine = 0; spine < spines; ++spine) {
    const VertexId top = add_vertex({VertexKind::spine, spine, -1, plane}, graph_);
    for (const VertexId leaf : leaves)
      connect(leaf, top, LinkClass::network, rate, spec_.switch_latency);
  }
}

Route Topology::route(int from, int to, std::uint64_t salt) const {
  assert(from >= 0 && from < gpus() && to >= 0 && to < gpus() && "GPUs of this cluster");
  Route route{{}, Time{0}};
  if (from == to) return route;
  const VertexId source = gpu_vertices_[static_cast<std::size_t>(from)];
  const VertexId target = gpu_vertices_[static_cast<std::size_t>(to)];
  const std::vector<std::int64_t> distance = distances_to(graph_, target, source);
  if (distance[source] == kUnreached)
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        fmt::format("GPUs {} and {} are not connected", from, to));
  const std::uint64_t flow =
      mix(mix(mix(static_cast<std::uint64_t>(from)) + static_cast<std::uint64_t>(to)) + salt);
  for (VertexId at = source; at != target;) {
    std::vector<Graph::edge_descriptor> equal;
    for (auto [edge, end] = out_edges(at, graph_); edge != end; ++edge) {
      const std::int64_t rest = distance[boost::target(*edge, graph_)];
      if (rest != kUnreached && rest + cost(graph_, *edge) == distance[at]) equal.push_back(*edge);
    }
    const auto chosen = equal[mix(flow + route.links.size()) % equal.size()];
    route.links.push_back(graph_[chosen].id);
    route.latency += graph_[chosen].latency;
    at = boost::target(chosen, graph_);
  }
  return route;
}

}  // namespace tessera::fabric
