#include "models/fabric/route_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <limits>
#include <queue>

#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

using Graph = Topology::Graph;

constexpr std::int64_t kUnreached = std::numeric_limits<std::int64_t>::max() / 8;

/// SplitMix64's finaliser: spreads flows over equal paths the same way on every machine.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// What a way over PCIe costs beyond its latency: more than any way over NVLink, which a GPU always
/// takes to a peer that it reaches, even when both share a NIC or a PCIe switch.
constexpr std::int64_t kPcieCrossing = 1'000'000'000'000;  // ps; above all latencies, WANs too

/// What routing counts for a link. A picosecond more than the latency, so that hops without latency
/// still count.
std::int64_t cost_of(const Link& link) {
  const bool over_pcie = link.link_class == LinkClass::pcie;
  return link.latency.value() + 1 + (over_pcie ? kPcieCrossing : 0);
}

/// Costs from the vertices [first, last) to `target` over ways inside that range, by place in it.
/// Searches from the target because cables are the same both ways.
std::vector<std::int64_t> distances_to(const Graph& graph, std::size_t target, std::size_t first,
                                       std::size_t last) {
  std::vector<std::int64_t> distance(last - first, kUnreached);
  using Entry = std::pair<std::int64_t, std::size_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
  distance[target - first] = 0;
  open.emplace(0, target);
  while (!open.empty()) {
    const auto [reached, vertex] = open.top();
    open.pop();
    if (reached > distance[vertex - first]) continue;
    for (auto [edge, end] = out_edges(vertex, graph); edge != end; ++edge) {
      const std::size_t next = boost::target(*edge, graph);
      if (next < first || next >= last) continue;
      const std::int64_t through = reached + cost_of(graph[*edge]);
      if (through >= distance[next - first]) continue;
      distance[next - first] = through;
      open.emplace(through, next);
    }
  }
  return distance;
}

}  // namespace

RouteTables::RouteTables(const Topology& topology) : topology_(topology) {
  const Graph& graph = topology.graph_;
  const VertexId switches = topology.domain_start_.back();
  for (const VertexId nic : topology.nic_vertices_) {
    leaf_of_nic_.push_back(nic);
    nic_cost_.push_back(kUnreached);
    nic_link_.push_back(-1);
    for (auto [edge, end] = out_edges(nic, graph); edge != end; ++edge) {
      if (boost::target(*edge, graph) < switches) continue;
      leaf_of_nic_.back() = boost::target(*edge, graph);
      nic_cost_.back() = cost_of(graph[*edge]);
      nic_link_.back() = graph[*edge].id;
    }
  }
  between_.resize(num_vertices(graph) - switches);
}

const RouteTables::Distances& RouteTables::inside(int domain, VertexId target) {
  const VertexId start = topology_.domain_start_[static_cast<std::size_t>(domain)];
  // Domains are wired alike, unless links are missing.
  const int shape = topology_.spec_.faults.empty() ? 0 : domain;
  const std::pair key{shape, target - start};
  const auto found = inside_.find(key);
  if (found != inside_.end()) return found->second;
  return inside_
      .emplace(key, distances_to(topology_.graph_, target, start,
                                 topology_.domain_start_[static_cast<std::size_t>(domain) + 1]))
      .first->second;
}

const RouteTables::Distances& RouteTables::between(VertexId leaf) {
  const VertexId first = topology_.domain_start_.back();
  auto& table = between_[leaf - first];
  if (!table)
    table = std::make_unique<Distances>(
        distances_to(topology_.graph_, leaf, first, num_vertices(topology_.graph_)));
  return *table;
}

std::int64_t RouteTables::cost(int from, int to, int exit, int entry) {
  const auto x = static_cast<std::size_t>(exit), y = static_cast<std::size_t>(entry);
  if (nic_cost_[x] >= kUnreached || nic_cost_[y] >= kUnreached) return kUnreached;
  const VertexId switches = topology_.domain_start_.back();
  const std::int64_t middle = between(leaf_of_nic_[y])[leaf_of_nic_[x] - switches];
  const int here = topology_.domain_of(from), there = topology_.domain_of(to);
  const VertexId sender = topology_.gpu_vertices_[static_cast<std::size_t>(from)];
  const VertexId receiver = topology_.gpu_vertices_[static_cast<std::size_t>(to)];
  const std::int64_t out = inside(
      here,
      topology_.nic_vertices_[x])[sender - topology_.domain_start_[static_cast<std::size_t>(here)]];
  const std::int64_t in =
      inside(there, receiver)[topology_.nic_vertices_[y] -
                              topology_.domain_start_[static_cast<std::size_t>(there)]];
  if (middle >= kUnreached || out >= kUnreached || in >= kUnreached) return kUnreached;
  return out + nic_cost_[x] + middle + nic_cost_[y] + in;
}

std::vector<RouteTables::Passage> RouteTables::passages(int from, int to) {
  const int nics = topology_.nics_per_domain();
  const int own = topology_.nic_of(from), peer = topology_.nic_of(to);
  if (own < 0) return {};
  const int here = topology_.domain_of(from) * nics, there = topology_.domain_of(to) * nics;
  std::vector<Passage> best;
  const auto offer = [&](int exit, int entry) {
    const std::int64_t total = cost(from, to, exit, entry);
    if (total >= kUnreached || (!best.empty() && total > best.front().cost)) return;
    if (!best.empty() && total < best.front().cost) best.clear();
    best.push_back({exit, entry, total});
  };
  offer(own, peer);
  const bool shortest = !best.empty() && leaf_of_nic_[static_cast<std::size_t>(own)] ==
                                             leaf_of_nic_[static_cast<std::size_t>(peer)];
  if (shortest) return best;
  // By a neighbour's NIC on one side; on both only where nothing else is left.
  for (int nic = 0; nic < nics; ++nic) {
    if (here + nic != own) offer(here + nic, peer);
    if (there + nic != peer) offer(own, there + nic);
  }
  if (!best.empty()) return best;
  for (int exit = 0; exit < nics; ++exit)
    for (int entry = 0; entry < nics; ++entry) offer(here + exit, there + entry);
  return best;
}

void RouteTables::walk(Route& route, VertexId from, VertexId to, const Distances& distance,
                       VertexId first, std::uint64_t flow) {
  const Graph& graph = topology_.graph_;
  for (VertexId at = from; at != to;) {
    const Link* chosen = nullptr;
    VertexId next = at;
    std::uint64_t equal = 0;
    // One pass: the k-th equal choice replaces the one before with chance 1/k, by the hash.
    for (auto [edge, end] = out_edges(at, graph); edge != end; ++edge) {
      const VertexId target = boost::target(*edge, graph);
      if (target < first || target - first >= distance.size()) continue;
      if (distance[target - first] + cost_of(graph[*edge]) != distance[at - first]) continue;
      ++equal;
      if (equal > 1 && mix(mix(flow + route.links.size()) + equal) % equal != 0) continue;
      chosen = &graph[*edge];
      next = target;
    }
    assert(chosen != nullptr && "a vertex with a distance has a way on");
    route.links.push_back(chosen->id);
    route.latency += chosen->latency;
    at = next;
  }
}

Route RouteTables::route(int from, int to, std::uint64_t salt) {
  Route route{{}, Time{0}};
  if (from == to) return route;
  const Topology& t = topology_;
  const VertexId sender = t.gpu_vertices_[static_cast<std::size_t>(from)];
  const VertexId receiver = t.gpu_vertices_[static_cast<std::size_t>(to)];
  const int here = t.domain_of(from), there = t.domain_of(to);
  const auto start = [&](int domain) { return t.domain_start_[static_cast<std::size_t>(domain)]; };
  const std::uint64_t flow =
      mix(mix(mix(static_cast<std::uint64_t>(from) ^ mix(t.spec_.hash_seed)) +
              static_cast<std::uint64_t>(to)) +
          salt);
  if (here == there) {
    const Distances& distance = inside(here, receiver);
    if (distance[sender - start(here)] < kUnreached) {
      walk(route, sender, receiver, distance, start(here), flow);
      return route;
    }
  }
  const std::vector<Passage> ways = passages(from, to);
  if (ways.empty())
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        fmt::format("GPUs {} and {} are not connected", from, to));
  const Passage& way = ways[mix(flow) % ways.size()];
  const auto x = static_cast<std::size_t>(way.exit), y = static_cast<std::size_t>(way.entry);
  const auto cable = [&](int id) {
    route.links.push_back(id);
    route.latency += t.links_[static_cast<std::size_t>(id)].latency;
  };
  walk(route, sender, t.nic_vertices_[x], inside(here, t.nic_vertices_[x]), start(here), flow);
  cable(nic_link_[x]);
  walk(route, leaf_of_nic_[x], leaf_of_nic_[y], between(leaf_of_nic_[y]), t.domain_start_.back(),
       flow);
  cable(nic_link_[y] ^ 1);  // links come in pairs, one a direction
  walk(route, t.nic_vertices_[y], receiver, inside(there, receiver), start(there), flow);
  return route;
}

}  // namespace tessera::fabric
