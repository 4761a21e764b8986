#include "models/fabric/flows.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>

#include "tests/formula/clusters.hpp"

namespace tessera::fabric {
namespace {

using core::literals::operator""_ns;
using core::literals::operator""_us;
using Catch::Matchers::WithinRel;

TEST_CASE("one flow takes its bytes over the slowest link, then the path's latency", "[flows]") {
  const Topology topology{hopper_cluster(2)};
  FlowSimulation flows{topology};
  flows.add(flows.along(topology.route(0, 1), 450e6));  // 450 MB at 450 GB/s = 1 ms
  flows.add(flows.along(topology.route(0, 8), 50e6));   // 50 MB at 50 GB/s = 1 ms
  const auto arrival = flows.run();
  CHECK(arrival[0] == 1000_us + topology.spec().nvlink_latency);
  CHECK(arrival[1] == 1000_us + topology.spec().nic_latency + 2 * topology.spec().pcie_latency);
}

TEST_CASE("two flows on a link share it; the longer one speeds up when the shorter ends",
          "[flows]") {
  const Topology topology{hopper_cluster(1)};
  FlowSimulation flows{topology};
  flows.add(flows.along(topology.route(0, 1), 225e6));
  flows.add(flows.along(topology.route(0, 2), 450e6));
  const auto arrival = flows.run();
  CHECK(arrival[0] == 1000_us + topology.spec().nvlink_latency);  // 225 MB at half of 450 GB/s
  CHECK(arrival[1] == 1500_us + topology.spec().nvlink_latency);  // 225 MB left at all of it
}

TEST_CASE("an incast of n senders gives each an n-th of the receiver's link", "[flows]") {
  const Topology topology{hopper_cluster(1)};
  FlowSimulation flows{topology};
  for (int sender = 1; sender < 8; ++sender)
    flows.add(flows.along(topology.route(sender, 0), 450e6));
  for (const Time at : flows.run()) CHECK(at == 7000_us + topology.spec().nvlink_latency);
}

TEST_CASE("max-min: a flow that is held elsewhere leaves its share to the others", "[flows]") {
  const Topology topology{hopper_cluster(1)};
  FlowSimulation flows{topology};
  const int slow = flows.add_resource(50e9);
  Flow held = flows.along(topology.route(0, 1), 50e6);
  held.demands.push_back({slow, 1.0});
  flows.add(held);
  flows.add(flows.along(topology.route(0, 2), 400e6));
  const auto arrival = flows.run();
  CHECK(arrival[0] == 1000_us + topology.spec().nvlink_latency);
  CHECK(arrival[1] == 1000_us + topology.spec().nvlink_latency);  // 400 GB/s were left
}

TEST_CASE("a folded flow equals its copies", "[flows]") {
  const Topology topology{hopper_cluster(1)};
  FlowSimulation copies{topology}, folded{topology};
  for (int copy = 0; copy < 5; ++copy) copies.add(copies.along(topology.route(0, 1), 1e6));
  Flow five = folded.along(topology.route(0, 1), 1e6);
  five.count = 5;
  folded.add(five);
  CHECK(copies.run().back() == folded.run().front());
}

TEST_CASE("a flow starts when its predecessors have arrived", "[flows]") {
  const Topology topology{hopper_cluster(1)};
  FlowSimulation flows{topology};
  const int first = flows.add(flows.along(topology.route(0, 1), 450e6));
  Flow second = flows.along(topology.route(1, 2), 450e6);
  second.after = {first};
  flows.add(second);
  CHECK(flows.run()[1] == 2 * (1000_us + topology.spec().nvlink_latency));
}

TEST_CASE("small messages are held by the NIC's message rate", "[flows]") {
  TopologySpec spec = hopper_cluster(2);
  spec.nic_message_rate = 1e8;
  const Topology topology{spec};
  FlowSimulation flows{topology};
  flows.add(flows.along(topology.route(0, 8), 64e6, 1e6));  // 64 B messages: 10 ms, not 1.28 ms
  CHECK(flows.run()[0] == 10000_us + topology.spec().nic_latency + 2 * spec.pcie_latency);
}

TEST_CASE("GPUs that share a NIC still reach each other over NVLink", "[flows]") {
  TopologySpec spec = hopper_cluster(2);
  spec.gpus_per_nic = 2;
  spec.planes = 4;
  spec.pcie_latency = Time{1};  // however tempting the NIC
  const Topology topology{spec};
  for (const int link : topology.route(0, 1).links)
    CHECK(topology.links()[static_cast<std::size_t>(link)].link_class == LinkClass::nvlink);
  // Across planes: NVLink to the GPU of the target's plane, then its NIC.
  const Route across = topology.route(0, 8 + 7);
  CHECK(across.links.size() == 6);
}

TEST_CASE("4,032 flows of a 64-GPU all-to-all end together", "[flows]") {
  const Topology topology{hopper_cluster(8)};
  std::vector<Route> routes;
  for (int from = 0; from < 64; ++from)
    for (int to = 0; to < 64; ++to) {
      if (from == to) continue;
      // To the same-index GPU of the target's node first, as planes demand.
      const int relay = to / 8 * 8 + from % 8;
      Route route = topology.route(from, relay);
      const Route rest = topology.route(relay, to);
      route.links.insert(route.links.end(), rest.links.begin(), rest.links.end());
      routes.push_back(route);
    }
  FlowSimulation flows{topology};
  for (const Route& route : routes) flows.add(flows.along(route, 1e6));
  const auto arrival = flows.run();
  Time last{0};
  for (const Time at : arrival) last = std::max(last, at);
  // A NIC carries 56 MB at 50 GB/s.
  CHECK_THAT(core::to_seconds(last).value(), WithinRel(56e6 / 50e9, 0.01));
}

}  // namespace
}  // namespace tessera::fabric
