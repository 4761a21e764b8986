#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>
#include <random>
#include <simgrid/s4u.hpp>

#include "models/fabric/flows.hpp"
#include "tests/formula/clusters.hpp"

/// Do flows that share links end when SimGrid says they do? Both get the same links, routes, starts
/// and sizes; latencies are left out (tests/validation/deviations.md, F1).
namespace tessera::fabric {
namespace {

namespace sg = simgrid::s4u;

constexpr int kTopologies = 200;
constexpr double kTolerance = 0.02;

struct RandomFlow {
  Route route;
  double start_s;
  double bytes;
  double simgrid_end_s = 0;
};

struct Case {
  std::unique_ptr<Topology> topology;
  std::vector<RandomFlow> flows;
};

/// Uniform over [low, high], the same on every machine.
int any(std::mt19937_64& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<std::uint64_t>(high - low + 1));
}

TopologySpec random_spec(std::mt19937_64& random) {
  TopologySpec spec = hopper_cluster(any(random, 2, 12));
  constexpr NetworkKind kKinds[] = {NetworkKind::multi_plane, NetworkKind::rail_optimised,
                                    NetworkKind::fat_tree, NetworkKind::dragonfly};
  spec.network = kKinds[any(random, 0, 3)];
  const bool planes =
      spec.network == NetworkKind::multi_plane || spec.network == NetworkKind::rail_optimised;
  spec.gpus_per_nic = 1 << any(random, 0, 2);
  spec.planes = planes ? 8 / spec.gpus_per_nic : 1;
  spec.leaf_radix = 4 * any(random, 3, 5);
  spec.spine_radix = 64;
  spec.oversubscription = spec.network == NetworkKind::dragonfly ? 1 : any(random, 1, 4);
  spec.routing = any(random, 0, 1) == 0 ? Routing::adaptive : Routing::ecmp;
  spec.hash_seed = random();
  spec.nic_rate = BytesPerSecond{any(random, 10, 100) * 1e9};
  spec.link_rate = BytesPerSecond{any(random, 10, 100) * 1e9};
  spec.nvlink_rate = BytesPerSecond{any(random, 100, 900) * 1e9};
  if (any(random, 0, 2) == 0) {
    const int nics = spec.domains * 8 / spec.gpus_per_nic;
    spec.faults.push_back({"nic" + std::to_string(any(random, 0, nics - 1)), 0.3, {}});
  }
  return spec;
}

Case random_case(std::mt19937_64& random) {
  Case result;
  result.topology = std::make_unique<Topology>(random_spec(random));
  const int gpus = result.topology->gpus();
  for (int flow = any(random, 1, 40); flow > 0; --flow) {
    const int from = any(random, 0, gpus - 1);
    const int to = (from + any(random, 1, gpus - 1)) % gpus;
    result.flows.push_back({result.topology->route(from, to, random()), any(random, 0, 5000) * 1e-3,
                            any(random, 1, 2000) * 1e8});
  }
  return result;
}

/// One zone of SimGrid for a case: its links, and a pair of hosts a flow.
void describe(Case& from, int number, sg::NetZone* root) {
  const std::string name = "case" + std::to_string(number);
  sg::NetZone* zone = sg::create_full_zone(name)->set_parent(root);
  std::map<int, sg::Link*> links;
  for (std::size_t f = 0; f < from.flows.size(); ++f) {
    RandomFlow& flow = from.flows[f];
    std::vector<sg::LinkInRoute> way;
    for (const int id : flow.route.links) {
      auto& link = links[id];
      const double rate = from.topology->links()[static_cast<std::size_t>(id)].rate.value();
      if (link == nullptr) link = zone->create_link(name + "-" + std::to_string(id), rate)->seal();
      way.emplace_back(link);
    }
    const std::string stem = name + "-flow" + std::to_string(f);
    sg::Host* source = zone->create_host(stem + "-from", 1e9)->seal();
    sg::Host* target = zone->create_host(stem + "-to", 1e9)->seal();
    zone->add_route(source->get_netpoint(), target->get_netpoint(), nullptr, nullptr, way, false);
    sg::Actor::create(stem, source, [&flow, source, target] {
      sg::this_actor::sleep_until(flow.start_s);
      sg::Comm::sendto(source, target, static_cast<std::uint64_t>(flow.bytes));
      flow.simgrid_end_s = sg::Engine::get_clock();
    });
  }
  zone->seal();
}

TEST_CASE("flows over 200 random topologies end as SimGrid says, within 2 %", "[simgrid]") {
  int arguments = 1;
  std::string program = "tests_simgrid";
  char* argument = program.data();
  sg::Engine engine{&arguments, &argument};
  sg::Engine::set_config("network/model:CM02");
  sg::Engine::set_config("network/crosstraffic:0");  // acknowledgements cost nothing
  sg::Engine::set_config("network/TCP-gamma:0");     // no window limits a flow
  sg::Engine::set_config("surf/precision:1e-9");
  sg::Engine::set_config("maxmin/precision:1e-9");
  sg::Engine::set_config("contexts/stack-size:128");
  std::mt19937_64 random{20260101};
  std::vector<Case> cases;
  for (int number = 0; number < kTopologies; ++number) cases.push_back(random_case(random));
  sg::NetZone* root = sg::create_empty_zone("root");
  for (int number = 0; number < kTopologies; ++number)
    describe(cases[static_cast<std::size_t>(number)], number, root);
  root->seal();
  engine.run();

  double worst = 0;
  int compared = 0;
  for (int number = 0; number < kTopologies; ++number) {
    const Case& made = cases[static_cast<std::size_t>(number)];
    FlowSimulation ours{*made.topology};
    for (const RandomFlow& flow : made.flows) {
      Flow mine = ours.along(flow.route, flow.bytes);
      mine.start = core::to_time(Seconds{flow.start_s});
      mine.latency = Time{0};
      ours.add(std::move(mine));
    }
    const std::vector<Time> ends = ours.run();
    for (std::size_t f = 0; f < ends.size(); ++f) {
      const RandomFlow& flow = made.flows[f];
      const double mine = core::to_seconds(ends[f]).value() - flow.start_s;
      const double theirs = flow.simgrid_end_s - flow.start_s;
      worst = std::max(worst, std::abs(mine / theirs - 1));
      ++compared;
      INFO("topology " << number << ", flow " << f << ": " << mine << " s, SimGrid " << theirs);
      CHECK(std::abs(mine / theirs - 1) < kTolerance);
    }
  }
  CHECK(compared > 3000);
  CHECK(worst < 1e-6);  // both fill max-min, so nothing but rounding may differ
}

}  // namespace
}  // namespace tessera::fabric
