#include <rapidcheck.h>

#include <catch2/catch_test_macros.hpp>
#include <map>
#include <numeric>
#include <string>

#include "models/device/cluster_file.hpp"
#include "models/fabric/collectives.hpp"
#include "models/fabric/direct_reduce.hpp"
#include "models/fabric/expert_exchange.hpp"
#include "tests/formula/clusters.hpp"
#include "tests/property/holds.hpp"

namespace tessera::fabric {
namespace {

/// A whole number in [low, high].
int any(int low, int high) { return *rc::gen::inRange(low, high + 1); }

std::vector<int> first(int count) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

double seconds(Time t) { return core::to_seconds(t).value(); }

FabricParameters hopper() { return prior_parameters(device::Generation::hopper); }

CollectiveRequest any_collective(int gpus) {
  CollectiveRequest request;
  request.kind = static_cast<CollectiveKind>(any(0, 3));
  request.ranks = first(any(2, gpus));
  request.bytes = Bytes{std::int64_t{1} << any(10, 32)};
  return request;
}

TEST_CASE("no flow is faster than its links, no link carries more than its rate", "[property]") {
  CHECK(holds("flows", [] {
    const Topology topology{hopper_cluster(any(1, 3))};
    FlowSimulation flows{topology};
    std::vector<Route> routes;
    std::vector<double> bytes;
    std::vector<Time> starts;
    for (int flow = any(1, 40); flow > 0; --flow) {
      const Route route = topology.route(any(0, topology.gpus() - 1), any(0, topology.gpus() - 1));
      Flow made = flows.along(route, any(1, 1'000'000) * 1e3);
      made.start = Time{any(0, 1'000'000) * 1'000LL};
      routes.push_back(route);
      bytes.push_back(made.bytes);
      starts.push_back(made.start);
      flows.add(std::move(made));
    }
    const std::vector<Time> arrival = flows.run();
    std::vector<double> carried(topology.links().size(), 0);
    std::vector<double> until(topology.links().size(), 0);
    for (std::size_t f = 0; f < routes.size(); ++f)
      for (const int link : routes[f].links) {
        const auto l = static_cast<std::size_t>(link);
        carried[l] += bytes[f];
        until[l] = std::max(until[l], seconds(arrival[f]));
        const double alone = bytes[f] / topology.links()[l].rate.value();
        RC_ASSERT(seconds(arrival[f] - starts[f]) >= alone * (1 - 1e-9));
      }
    for (std::size_t l = 0; l < carried.size(); ++l)
      RC_ASSERT(carried[l] <= topology.links()[l].rate.value() * until[l] * (1 + 1e-9));
  }));
}

TEST_CASE("a work-conserving link: the last of its flows ends when its bytes are through",
          "[property]") {
  CHECK(holds("incast", [] {
    const Topology topology{hopper_cluster(1)};
    FlowSimulation flows{topology};
    double bytes = 0;
    for (int flow = any(1, 30); flow > 0; --flow) {
      const double size = any(1, 1'000'000) * 1e3;
      flows.add(flows.along(topology.route(any(1, 7), 0), size));
      bytes += size;
    }
    Time last{0};
    for (const Time at : flows.run()) last = std::max(last, at);
    // All go into GPU 0; its link is never idle before the end.
    const double expected = bytes / 450e9 + seconds(topology.spec().nvlink_latency);
    RC_ASSERT(std::abs(seconds(last) / expected - 1) < 1e-6);
  }));
}

TEST_CASE("collectives: not below the ring's bound, and longer when larger", "[property]") {
  CHECK(holds("collectives", [] {
    const Topology topology{hopper_cluster(any(1, 3))};
    CollectiveModel model{topology, hopper()};
    CollectiveRequest request = any_collective(topology.gpus());
    const bool ring_bound = request.kind == CollectiveKind::reduce_scatter ||
                            request.kind == CollectiveKind::all_gather;
    const CollectiveResult small = model.run(request);
    const double n = static_cast<double>(request.ranks.size());
    const double floor = (n - 1) / n * static_cast<double>(request.bytes.value()) / 450e9;
    if (ring_bound) RC_ASSERT(seconds(small.time) >= floor);
    RC_ASSERT(small.lower <= small.time && small.time <= small.upper);
    request.algorithm = small.algorithm;
    request.bytes = request.bytes * 4;
    RC_ASSERT(model.run(request).time > small.time);
  }));
}

TEST_CASE("a faster fabric is never slower", "[property]") {
  CHECK(holds("rates", [] {
    TopologySpec slow = hopper_cluster(any(1, 3));
    TopologySpec fast = slow;
    fast.nvlink_rate = slow.nvlink_rate * any(1, 4);
    fast.nic_rate = slow.nic_rate * any(1, 4);
    fast.link_rate = fast.nic_rate;
    fast.pcie_rate = slow.pcie_rate * 4;
    const Topology before{slow}, after{fast};
    CollectiveModel slower{before, hopper()}, faster{after, hopper()};
    CollectiveRequest request = any_collective(before.gpus());
    // The library may choose differently on another fabric; the algorithm may not lose.
    request.algorithm = slower.run(request).algorithm;
    if (request.algorithm != Algorithm::pairwise) request.algorithm = Algorithm::ring;
    RC_ASSERT(faster.run(request).time <= slower.run(request).time);
  }));
}

TEST_CASE("exchange: rows are conserved, and time grows with tokens and shrinks with SMs",
          "[property]") {
  CHECK(holds("exchange", [] {
    const int nodes = any(1, 4);
    const Topology topology{hopper_cluster(nodes)};
    ExchangeModel model{topology, hopper()};
    ExchangeRequest request;
    request.ranks = first(8 * nodes);
    request.tokens = any(1, 8192);
    request.hidden = 128 * any(8, 64);
    request.sms = any(4, 32);
    request.routing = {.experts = 8 * nodes * any(1, 8), .top_k = any(1, 8), .groups = nodes};
    request.routing.seed = static_cast<std::uint64_t>(any(1, 100));
    if (any(0, 1) == 1)
      for (int e = 0; e < request.routing.experts; ++e)
        request.routing.expert_load.push_back(any(1, 100));
    std::vector<int> domains;
    for (int r = 0; r < 8 * nodes; ++r) domains.push_back(r / 8);
    const TokenReach reach = reach_of_tokens(request.routing, domains);
    const double copies = std::accumulate(reach.copies.begin(), reach.copies.end(), 0.0);
    RC_ASSERT(std::abs(copies - request.routing.top_k) < 1e-6);
    RC_ASSERT(reach.domains() <= reach.ranks() + 1e-9);
    RC_ASSERT(reach.ranks() <= request.routing.top_k + 1e-9);

    const ExchangeResult base = model.run(request);
    RC_ASSERT(base.hottest_rank >= 1 - 1e-9);
    ExchangeRequest more = request;
    more.tokens *= 2;
    RC_ASSERT(model.run(more).time > base.time);
    more = request;
    more.sms *= 2;
    RC_ASSERT(model.run(more).time <= base.time);
    // What NICs carry at the least.
    const double remote =
        base.bytes_per_rank.count(LinkClass::rdma) ? base.bytes_per_rank.at(LinkClass::rdma) : 0;
    RC_ASSERT(seconds(base.time) >= remote / 50e9);
  }));
}

TEST_CASE("what is folded equals what is simulated flow by flow", "[property]") {
  CHECK(holds("unfold", [] {
    const int nodes = any(1, 4);
    const Topology topology{hopper_cluster(nodes)};
    FabricParameters wires = hopper();
    for (ExchangeCost* cost : {&wires.dispatch, &wires.combine}) {
      *cost = {};
      cost->nvlink_sm_rate = cost->forward_sm_rate = cost->rdma_sm_rate = 1e18;
      cost->token_sm_rate = 1e18;
      cost->nvlink_fraction = cost->network_fraction = 1;
      cost->sharpness = cost->network_sharpness = 1000;
    }
    ExchangeModel model{topology, wires};
    ExchangeRequest request;
    request.ranks = first(8 * nodes);
    request.tokens = any(64, 8192);
    request.hidden = 7168;
    request.direction = static_cast<ExchangeDirection>(any(0, 1));
    request.routing = {.experts = 64 * nodes, .top_k = any(1, 8), .groups = nodes};
    const double folded = seconds(model.run(request).time);
    const double unfolded = seconds(model.simulate_wires(request));
    RC_ASSERT(std::abs(unfolded / folded - 1) < 0.02);
  }));
}

/// One node of a described server as a cluster.
Topology node(const std::string& name) {
  const device::NodeSpec spec = device::load_node(name);
  return Topology{topology_of({.name = name,
                               .node = spec,
                               .domains = 1,
                               .gpus_per_domain = spec.gpus,
                               .fabric = {.kind = device::FabricKind::multiplane_fat_tree,
                                          .planes = spec.nic.per_node,
                                          .leaf_radix = 64,
                                          .spine_radix = 64,
                                          .oversubscription = 1,
                                          .link_rate = spec.nic.rate,
                                          .switch_latency = Time{0},
                                          .cable_latency = Time{0},
                                          .efficiency = 1,
                                          .power_per_gpu = core::Watts{0}}})};
}

TEST_CASE("shipped fits: no bus above its link, on measured and on carried-over servers",
          "[property]") {
  for (const std::string name :
       {"hgx_a100", "hgx_a800", "hgx_h100", "hgx_h200", "hgx_h800", "hgx_h20", "hgx_b200",
        "hgx_b300", "rtx_pro_6000_pcie", "l40s_pcie", "a100_pairwise_nvlink"}) {
    INFO(name);
    const device::NodeSpec spec = device::load_node(name);
    const Topology topology = node(name);
    CollectiveModel model{topology, load_parameters(spec.device)};
    for (int ranks = 2; ranks <= spec.gpus; ranks *= 2)
      for (int size = 10; size <= 32; size += 2) {
        const double link = (topology.joined_by_nvlink(first(ranks)) ? spec.device.nvlink.rate
                                                                     : spec.host.pcie_rate)
                                .value();
        for (const CollectiveKind kind :
             {CollectiveKind::all_reduce, CollectiveKind::all_gather, CollectiveKind::all_to_all}) {
          const auto result = model.run(
              {.kind = kind, .ranks = first(ranks), .bytes = Bytes{std::int64_t{1} << size}});
          // The switch adds: each byte leaves a GPU once, where a ring sends it nearly twice.
          const double reduced = result.algorithm == Algorithm::in_switch ? 2.0 : 1.0;
          CHECK(result.bus_bandwidth <= link * reduced);
        }
      }
  }
}

TEST_CASE("libraries' all-reduces: longer with bytes and with a slower link, never above the link",
          "[property]") {
  for (const std::string name : {"hgx_a100", "hgx_h100", "hgx_h800", "hgx_h20", "hgx_b200"}) {
    const device::NodeSpec spec = device::load_node(name);
    const Topology topology = node(name);
    const FabricParameters parameters = load_parameters(spec.device);
    const BytesPerSecond memory = spec.device.hbm.peak_rate * spec.device.hbm.reachable;
    DirectReduceModel model{topology, parameters, memory};
    TopologySpec slower = topology.spec();
    slower.nvlink_rate = slower.nvlink_rate * 0.4;
    const Topology cut{slower};
    DirectReduceModel slow{cut, parameters, memory};
    for (const auto library : {ReduceLibrary::vllm, ReduceLibrary::sglang, ReduceLibrary::trtllm})
      for (const int ranks : {2, 4, 8}) {
        INFO(name << ", " << to_string(library) << ", " << ranks << " ranks");
        std::map<ReduceMethod, Time> last;
        for (int size = 8; size <= 30; ++size) {
          const DirectReduceRequest request{library, first(ranks), Bytes{std::int64_t{1} << size},
                                            false};
          const DirectReduceResult result = model.run(request);
          if (last.count(result.method) > 0) CHECK(result.time >= last[result.method]);
          last[result.method] = result.time;
          CHECK(slow.run(request).time >= result.time);
          const double algorithm_rate =
              static_cast<double>(std::int64_t{1} << size) / core::to_seconds(result.time).value();
          CHECK(algorithm_rate <= spec.device.nvlink.rate.value());
        }
      }
  }
}

}  // namespace
}  // namespace tessera::fabric
