#include <rapidcheck.h>
#include <catch2/catch_test_macros.hpp>

#include "models/fabric/collectives.hpp"
#include "tests/formula/clusters.hpp"
#include "tests/property/holds.hpp"

namespace tessera::fabric {
namespace {

int any(int low, int high) { return *rc::gen::inRange(low, high + 1); }

/// Any kind of network over nodes of eight, with few ports, so that all layers come up.
TopologySpec any_cluster() {
  TopologySpec spec = hopper_cluster(any(2, 24));
  spec.network = static_cast<NetworkKind>(any(1, 4));
  spec.gpus_per_nic = 1 << any(0, 2);
  const bool planes =
      spec.network == NetworkKind::multi_plane || spec.network == NetworkKind::rail_optimised;
  spec.planes = planes ? 8 / spec.gpus_per_nic : 1;
  spec.leaf_radix = 4 * any(4, 6);
  spec.spine_radix = 4 * any(4, 6);
  spec.oversubscription = spec.network == NetworkKind::dragonfly ? 1 : any(1, 3);
  spec.routing = any(0, 1) == 0 ? Routing::adaptive : Routing::ecmp;
  spec.hash_seed = static_cast<std::uint64_t>(any(0, 1000));
  return spec;
}

/// The ends of every link.
std::vector<std::pair<Topology::VertexId, Topology::VertexId>> ends_of(const Topology& topology) {
  std::vector<std::pair<Topology::VertexId, Topology::VertexId>> ends(topology.links().size());
  const Topology::Graph& graph = topology.graph();
  for (auto [edge, end] = edges(graph); edge != end; ++edge)
    ends[static_cast<std::size_t>(graph[*edge].id)] = {source(*edge, graph), target(*edge, graph)};
  return ends;
}

TEST_CASE("a route is a way from its sender to its receiver that crosses no link twice",
          "[property]") {
  CHECK(holds("routes", [] {
    const Topology topology{any_cluster()};
    const auto ends = ends_of(topology);
    const int from = any(0, topology.gpus() - 1), to = any(0, topology.gpus() - 1);
    const Route route = topology.route(from, to, static_cast<std::uint64_t>(any(0, 100)));
    RC_ASSERT(route.links.empty() == (from == to));
    if (from == to) return;
    const auto end = [&](std::size_t hop) {
      return ends[static_cast<std::size_t>(route.links[hop])];
    };
    RC_ASSERT(topology.graph()[end(0).first].index == from);
    RC_ASSERT(topology.graph()[end(route.links.size() - 1).second].index == to);
    Time latency{0};
    for (std::size_t hop = 0; hop < route.links.size(); ++hop) {
      if (hop > 0) RC_ASSERT(end(hop - 1).second == end(hop).first);
      latency += topology.links()[static_cast<std::size_t>(route.links[hop])].latency;
    }
    RC_ASSERT(latency == route.latency);
    std::vector<int> sorted = route.links;
    std::sort(sorted.begin(), sorted.end());
    RC_ASSERT(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
  }));
}

TEST_CASE("adaptive routing is never slower than a hash, and a fault never helps", "[property]") {
  CHECK(holds("routing and faults", [] {
    TopologySpec spec = any_cluster();
    // Minimal paths of a dragonfly differ: its bundles spread over every router of a group.
    if (spec.network == NetworkKind::dragonfly) spec.network = NetworkKind::fat_tree;
    const FabricParameters parameters = prior_parameters(device::Generation::hopper);
    CollectiveRequest request{
        .kind = any(0, 1) == 0 ? CollectiveKind::all_gather : CollectiveKind::all_to_all,
        .bytes = Bytes{1LL << any(20, 30)},
        .tiled = true};
    const int stride = 1 << any(0, 3);
    for (int gpu = 0; gpu < spec.domains * 8; gpu += stride) request.ranks.push_back(gpu);
    const auto time = [&](const TopologySpec& of) {
      const Topology topology{of};
      CollectiveModel model{topology, parameters};
      return model.run(request).time;
    };
    spec.routing = Routing::adaptive;
    const Time adaptive = time(spec);
    spec.routing = Routing::ecmp;
    RC_ASSERT(time(spec) >= adaptive);
    spec.routing = Routing::adaptive;
    const int nics = spec.domains * 8 / spec.gpus_per_nic;
    spec.faults = {{"nic" + std::to_string(any(0, nics - 1)), any(1, 9) * 0.1, {}}};
    RC_ASSERT(time(spec) >= adaptive);
  }));
}

}  // namespace
}  // namespace tessera::fabric
