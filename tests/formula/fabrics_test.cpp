#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <numeric>
#include <set>

#include "models/fabric/collectives.hpp"
#include "models/fabric/fabric_summary.hpp"
#include "sim/core/diagnostics.hpp"
#include "tests/formula/clusters.hpp"

namespace tessera::fabric {
namespace {

using Catch::Matchers::WithinRel;
using core::literals::operator""_GiB;
using core::literals::operator""_ns;

constexpr double kGiB = 0x1p30;

FabricParameters ideal() {
  FabricParameters p = prior_parameters(device::Generation::hopper);
  for (auto* costs : {&p.ring, &p.tree})
    for (ProtocolCost& cost : *costs) cost = {0, 0, 0, 1, 0};
  p.ring_local_pass = 0;
  p.in_switch = {0, 0, 0, 1, 0};
  p.pairwise = p.send = {0, 0, 0, 1, 0};
  return p;
}

std::vector<int> first(int count, int stride = 1) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) ranks[static_cast<std::size_t>(i)] = i * stride;
  return ranks;
}

/// Leaves of eight NICs: one node each.
TopologySpec small_leaves(int nodes, NetworkKind kind) {
  TopologySpec spec = hopper_cluster(nodes);
  spec.network = kind;
  spec.planes = kind == NetworkKind::rail_optimised || kind == NetworkKind::multi_plane ? 8 : 1;
  spec.leaf_radix = spec.spine_radix = 16;
  return spec;
}

double time_of(const TopologySpec& spec, CollectiveRequest request,
               Folding folding = Folding::automatic) {
  const Topology topology{spec};
  CollectiveModel model{topology, ideal(), folding};
  return core::to_seconds(model.run(request).time).value();
}

CollectiveRequest ring(std::vector<int> ranks) {
  return {.kind = CollectiveKind::all_gather,
          .ranks = std::move(ranks),
          .bytes = 1_GiB,
          .algorithm = Algorithm::ring,
          .tiled = true};
}

int hops(const Topology& topology, int from, int to) {
  return static_cast<int>(topology.route(from, to).links.size());
}

TEST_CASE("path lengths: same leaf, other leaf of a pod, other pod", "[topology]") {
  // 8 down and 8 up a leaf; 16 leaves fit under two layers, 64 need cores: pods of eight leaves.
  const Topology two{small_leaves(16, NetworkKind::fat_tree)};
  CHECK(two.switches(VertexKind::leaf) == 16);
  CHECK(two.switches(VertexKind::spine) == 8);
  CHECK(two.switches(VertexKind::core) == 0);
  CHECK(hops(two, 0, 8) == 6);  // GPU NIC leaf spine leaf NIC GPU
  const Topology three{small_leaves(64, NetworkKind::fat_tree)};
  CHECK(three.switches(VertexKind::leaf) == 64);
  CHECK(three.switches(VertexKind::spine) == 64);
  CHECK(three.switches(VertexKind::core) == 32);
  CHECK(hops(three, 0, 8) == 6);
  CHECK(hops(three, 0, 8 * 8) == 8);
  // Rails: slot 3 of eight neighbouring nodes is on one leaf.
  const Topology rails{small_leaves(64, NetworkKind::rail_optimised)};
  CHECK(hops(rails, 3, 7 * 8 + 3) == 4);
  CHECK(hops(rails, 3, 8 * 8 + 3) == 8);
}

TEST_CASE("ECMP and adaptive wiring have the same switches and bisection", "[topology]") {
  for (const NetworkKind kind :
       {NetworkKind::fat_tree, NetworkKind::rail_optimised, NetworkKind::multi_plane}) {
    TopologySpec spec = small_leaves(64, kind);
    const Topology adaptive{spec};
    spec.routing = Routing::ecmp;
    const Topology ecmp{spec};
    double rate[2] = {0, 0};
    for (const Link& link : adaptive.links())
      if (link.link_class == LinkClass::network) rate[0] += link.rate.value();
    for (const Link& link : ecmp.links())
      if (link.link_class == LinkClass::network) rate[1] += link.rate.value();
    CHECK_THAT(rate[1], WithinRel(rate[0], 1e-9));
    for (const VertexKind layer : {VertexKind::leaf, VertexKind::spine, VertexKind::core})
      CHECK(ecmp.switches(layer) == adaptive.switches(layer));
  }
}

TEST_CASE("a fat tree oversubscribed o to 1 gives neighbouring leaves 1/o of their NICs",
          "[topology]") {
  TopologySpec spec = small_leaves(8, NetworkKind::fat_tree);
  // One group of all eight GPUs a node: every NIC sends to the next node, which is on another leaf.
  const double full = time_of(spec, ring(first(64)));
  CHECK_THAT(full, WithinRel(kGiB * 63 / 64 / 400e9, 0.01));
  spec.oversubscription = 3;
  spec.leaf_radix = 11;  // 8 down, 3 up
  CHECK_THAT(time_of(spec, ring(first(64))), WithinRel(full * 8 / 3, 0.01));
  // Eight groups, one GPU a node each, share the same uplinks.
  CHECK_THAT(time_of(spec, ring(first(8, 8))), WithinRel(kGiB * 7 / 8 / 50e9 * 8 / 3, 0.01));
  // A group of two nodes has three siblings elsewhere, on other leaves.
  CHECK_THAT(time_of(spec, ring(first(16))), WithinRel(kGiB * 15 / 16 / 400e9 * 8 / 3, 0.01));
}

TEST_CASE("the bisection is what routes give: all NICs, an o-th, one line between sites",
          "[topology]") {
  TopologySpec spec = small_leaves(8, NetworkKind::fat_tree);
  const auto bisection = [&] { return summarise(Topology{spec}).bisection; };
  CHECK_THAT(bisection().rate, WithinRel(32 * 50e9, 1e-9));
  CHECK(bisection().held == 0);
  spec.oversubscription = 2;
  spec.leaf_radix = 12;  // 8 down, 4 up
  CHECK_THAT(bisection().rate, WithinRel(16 * 50e9, 1e-9));
  CHECK(bisection().held == 64);
  spec.routing = Routing::ecmp;
  CHECK(bisection().rate <= 16 * 50e9);
  CHECK(bisection().fullest_cable >= 2);
  spec.routing = Routing::adaptive;
  spec.oversubscription = 1;
  spec.sites = 2;
  spec.wan_rate = BytesPerSecond{10e9};
  CHECK_THAT(bisection().rate, WithinRel(10e9, 1e-9));
  spec.domains = 1;
  spec.sites = 1;
  spec.network = NetworkKind::none;
  CHECK(bisection().full_rate == 0);
}

TEST_CASE("tiers and paths are counted", "[topology]") {
  const FabricSummary summary = summarise(Topology{small_leaves(64, NetworkKind::fat_tree)});
  REQUIRE(summary.tiers.size() == 5);
  CHECK(summary.tiers[4].ends == "spine - core");
  CHECK_THAT(summary.tiers[4].rate, WithinRel(512 * 50e9, 1e-9));
  REQUIRE(summary.paths.size() == 3);
  CHECK(summary.paths[0].gpus == 7);
  CHECK(summary.paths[1].gpus == 56);
  CHECK(summary.paths[2].gpus == 448);
}

TEST_CASE("cores oversubscribed o to 1 slow only what crosses pods", "[topology]") {
  TopologySpec spec = small_leaves(64, NetworkKind::fat_tree);
  const double full = time_of(spec, ring(first(512)));
  spec.core_oversubscription = 3;  // 12 leaves a pod, 4 ports up a spine
  const CollectiveRequest crossing{
      .kind = CollectiveKind::all_to_all, .ranks = first(512), .bytes = 1_GiB};
  CHECK_THAT(time_of(spec, ring(first(512))), WithinRel(full, 0.01));  // one node of twelve crosses
  TopologySpec wide = spec;
  wide.core_oversubscription = 1;
  CHECK(time_of(spec, crossing) > 1.5 * time_of(wide, crossing));
}

TEST_CASE("ECMP: flows that collide on an uplink share it; the seed decides which do", "[ecmp]") {
  TopologySpec spec = small_leaves(2, NetworkKind::fat_tree);
  spec.routing = Routing::ecmp;
  std::set<double> seen;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    spec.hash_seed = seed;
    const Topology topology{spec};
    // Eight NICs, one uplink bundle of spines: count how many flows the fullest carries.
    std::map<int, int> flows;
    int most = 0;
    for (int gpu = 0; gpu < 8; ++gpu)
      for (const int link : topology.route(gpu, gpu + 8, 0).links)
        if (topology.links()[static_cast<std::size_t>(link)].link_class == LinkClass::network)
          most = std::max(most, ++flows[link]);
    const double uplink = topology.switches(VertexKind::spine) == 1 ? 400e9 : 50e9;
    CollectiveModel model{topology, ideal()};
    CollectiveRequest request{
        .kind = CollectiveKind::send_receive, .ranks = {0, 8}, .bytes = 1_GiB, .tiled = true};
    // The fullest link decides when all eight pairs send at once.
    const double seconds = core::to_seconds(model.run(request).time).value();
    CHECK_THAT(seconds, WithinRel(kGiB / std::min(50e9, uplink / most), 0.01));
    seen.insert(seconds);
  }
}

TEST_CASE("ECMP over many spines is slower than adaptive routing, and the same each time",
          "[ecmp]") {
  TopologySpec spec = small_leaves(16, NetworkKind::fat_tree);
  const double adaptive = time_of(spec, ring(first(128)));
  spec.routing = Routing::ecmp;
  std::set<double> seeds;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    spec.hash_seed = seed;
    const double hashed = time_of(spec, ring(first(128)));
    CHECK(hashed >= 1.9 * adaptive);  // of 16 x 8 hops onto eight spines some two meet
    CHECK(hashed == time_of(spec, ring(first(128))));
    seeds.insert(hashed);
  }
  CHECK(seeds.size() > 1);
}

TEST_CASE("a degraded NIC slows its ring to what is left; a dead one sends by a neighbour's",
          "[faults]") {
  TopologySpec spec = hopper_cluster(4);
  const CollectiveRequest one = ring(first(4, 8));
  spec.faults = {{"nic8", 0.25, {}}};
  CHECK_THAT(time_of(spec, one), WithinRel(kGiB * 3 / 4 / 12.5e9, 0.01));
  spec.faults = {{"nic8", 0, {}}};
  const Topology topology{spec};
  const Route detour = topology.route(0, 8);
  CHECK(topology.leaf_of(8) == -1);
  CHECK(detour.links.size() > 4);
  // All eight groups at once: two share one NIC's rate.
  CHECK_THAT(time_of(spec, one), WithinRel(kGiB * 3 / 4 / 25e9, 0.01));
}

TEST_CASE("dead uplinks take their part from a leaf, with adaptive routing", "[faults]") {
  TopologySpec spec = small_leaves(4, NetworkKind::fat_tree);
  const double full = time_of(spec, ring(first(32)));
  // Two spines of four cables to each leaf.
  CHECK(Topology{spec}.switches(VertexKind::spine) == 2);
  spec.faults = {{"leaf1-spine0", 0, {}}};
  CHECK_THAT(time_of(spec, ring(first(32))), WithinRel(2 * full, 0.01));
  spec.faults = {{"leaf1-spine0", 0.5, {}}};
  CHECK_THAT(time_of(spec, ring(first(32))), WithinRel(full / 0.75, 0.01));
  spec.faults = {{"leaf1-spine0", 0, {}}, {"leaf1-spine1", 0, {}}};
  CHECK_THROWS_AS(time_of(spec, ring(first(32))), core::Refusal);
}

TEST_CASE("a fault anywhere slows the groups that wait for each other", "[faults]") {
  TopologySpec spec = hopper_cluster(4);
  spec.faults = {{"nic13", 0.25, {}}, {"gpu30", 0.1, {}}};
  CHECK_THAT(time_of(spec, ring(first(4, 8))), WithinRel(kGiB * 3 / 4 / 12.5e9, 0.01));
  CHECK_THAT(time_of(spec, ring(first(8))), WithinRel(kGiB * 7 / 8 / 45e9, 0.01));
  CollectiveRequest alone = ring(first(4, 8));
  alone.tiled = false;
  CHECK_THAT(time_of(spec, alone), WithinRel(kGiB * 3 / 4 / 50e9, 0.01));
}

TEST_CASE("a GPU without NVLink reaches its neighbours by NIC", "[faults]") {
  TopologySpec spec = small_leaves(2, NetworkKind::fat_tree);
  spec.faults = {{"gpu3", 0, {}}};
  CHECK_THAT(time_of(spec, ring({0, 1, 2, 3})), WithinRel(kGiB * 3 / 4 / 50e9, 0.01));
}

TEST_CASE("sites: what crosses the line shares it and pays its way", "[sites]") {
  TopologySpec spec = small_leaves(8, NetworkKind::fat_tree);
  spec.sites = 2;
  spec.wan_rate = BytesPerSecond{10e9};
  spec.wan_latency = Time{5'000'000'000};
  const Topology topology{spec};
  CHECK(core::to_microseconds(topology.route(0, 63).latency) > 5000);
  CHECK(core::to_microseconds(topology.route(0, 31).latency) < 10);
  // Eight rings cross each way.
  CHECK_THAT(time_of(spec, ring(first(64))), WithinRel(kGiB * 63 / 64 / 10e9, 0.01));
  // Messages of a stage inside a site do not wait for those of the stage at its edge.
  const auto message = [&](int from) {
    return time_of(spec, {.kind = CollectiveKind::send_receive,
                          .ranks = {from, from + 8},
                          .bytes = 1_GiB,
                          .tiled = true});
  };
  CHECK_THAT(message(0), WithinRel(kGiB / 50e9, 0.01));
  CHECK_THAT(message(24), WithinRel(kGiB * 8 / 10e9, 0.01));
  // A sibling in the other site does not share it.
  CHECK_THAT(time_of(spec, ring(first(32))), WithinRel(kGiB * 31 / 32 / 400e9, 0.01));
}

TEST_CASE("dragonfly: one hop inside a group, three between groups", "[dragonfly]") {
  TopologySpec spec = small_leaves(32, NetworkKind::dragonfly);
  spec.leaf_radix = 16;  // 4 NICs a router, groups of 8 routers: 4 nodes, 8 groups
  for (const Routing routing : {Routing::adaptive, Routing::ecmp}) {
    spec.routing = routing;
    const Topology topology{spec};
    CHECK(topology.switches(VertexKind::leaf) == 64);
    const Time base = topology.route(0, 8).latency - spec.switch_latency;  // next router or so
    CHECK(topology.route(0, 3 * 8).latency == base + spec.switch_latency);
    CHECK(topology.route(0, 31 * 8 + 4).latency <= base + 3 * spec.switch_latency);
    CHECK(topology.route(0, 31 * 8 + 4).latency >= base + spec.switch_latency);
  }
  // Of 32 cables out of a group to seven others, four go to each: 200 GB/s for 32 NICs.
  spec.routing = Routing::adaptive;
  const CollectiveRequest pair{
      .kind = CollectiveKind::all_to_all, .ranks = first(64), .bytes = 1_GiB};
  CHECK_THAT(time_of(spec, pair), WithinRel(kGiB / 64 * 32 * 32 / 200e9, 0.01));
}

TEST_CASE("an exchange's share of its NICs falls with what the network lacks", "[share]") {
  const auto share = [](const TopologySpec& spec, std::vector<int> ranks,
                        Folding folding = Folding::automatic) {
    const Topology topology{spec};
    return CollectiveTraffic{topology, folding}.network_share(std::move(ranks));
  };
  TopologySpec spec = small_leaves(16, NetworkKind::fat_tree);
  for (const Folding folding : {Folding::automatic, Folding::none}) {
    CHECK_THAT(share(spec, first(64), folding), WithinRel(1.0, 1e-9));
    CHECK_THAT(share(spec, first(16, 8), folding), WithinRel(1.0, 1e-9));
  }
  TopologySpec sharing = hopper_cluster(4);
  sharing.gpus_per_nic = 2;
  sharing.planes = 4;
  CHECK_THAT(share(sharing, first(32)),
             WithinRel(1.0, 1e-9));  // its own ranks are counted elsewhere
  CHECK_THAT(share(sharing, first(4, 8)), WithinRel(0.5, 1e-9));
  spec.oversubscription = 4;
  spec.leaf_radix = 10;  // 8 down, 2 up
  CHECK_THAT(share(spec, first(64)), WithinRel(0.25, 1e-9));
  spec = small_leaves(16, NetworkKind::fat_tree);
  spec.faults = {{"nic3", 0.5, {}}};
  CHECK_THAT(share(spec, first(64)), WithinRel(0.5, 1e-9));
}

TEST_CASE("SHARP sends each byte once where a ring sends it twice", "[sharp]") {
  TopologySpec spec = hopper_cluster(16);
  CollectiveRequest request{.kind = CollectiveKind::all_reduce,
                            .ranks = first(16, 8),
                            .bytes = 1_GiB,
                            .algorithm = Algorithm::in_network};
  CHECK_THROWS_AS(time_of(spec, request), core::Refusal);
  spec.in_network_reduction = true;
  CHECK_THAT(time_of(spec, request), WithinRel(kGiB / 50e9, 0.01));
  request.ranks = first(128);
  CHECK_THAT(time_of(spec, request), WithinRel(kGiB / 400e9, 0.01));
  request.algorithm = Algorithm::automatic;
  CHECK_THAT(time_of(spec, request), WithinRel(kGiB / 400e9, 0.01));
  request.type = core::DataType::int8;  // which switches do not add
  CHECK(time_of(spec, request) > 1.8 * kGiB / 400e9);
}

TEST_CASE("folded equals unfolded within 0.1 % on 512 GPUs", "[folding]") {
  for (const NetworkKind kind :
       {NetworkKind::multi_plane, NetworkKind::rail_optimised, NetworkKind::fat_tree}) {
    for (const int gpus_per_nic : {1, 2}) {
      TopologySpec spec = hopper_cluster(64);
      spec.network = kind;
      spec.gpus_per_nic = gpus_per_nic;
      spec.planes = kind == NetworkKind::fat_tree ? 1 : 8 / gpus_per_nic;
      const Topology topology{spec};
      REQUIRE(topology.asymmetry().empty());
      const FabricParameters parameters = prior_parameters(device::Generation::hopper);
      CollectiveModel folded{topology, parameters, Folding::required};
      CollectiveModel unfolded{topology, parameters, Folding::none};
      for (const CollectiveKind collective :
           {CollectiveKind::all_reduce, CollectiveKind::reduce_scatter, CollectiveKind::all_gather,
            CollectiveKind::all_to_all})
        for (const int stride : {1, 2, 4, 8, 16}) {
          INFO(to_string(collective)
               << " every " << stride << " over network " << static_cast<int>(kind));
          const CollectiveRequest request{.kind = collective,
                                          .ranks = first(512 / stride, stride),
                                          .bytes = 1_GiB,
                                          .tiled = true};
          const CollectiveResult a = folded.run(request), b = unfolded.run(request);
          CHECK_THAT(core::to_seconds(a.time).value(),
                     WithinRel(core::to_seconds(b.time).value(), 0.001));
          CHECK_FALSE(b.folded);
          for (const LinkClass link_class : {LinkClass::nvlink, LinkClass::rdma})
            if (b.bytes_per_rank.count(link_class) > 0)
              CHECK_THAT(a.bytes_per_rank.at(link_class),
                         WithinRel(b.bytes_per_rank.at(link_class), 0.001));
        }
    }
  }
}

TEST_CASE("folding is refused where domains differ", "[folding]") {
  const auto reason = [](const TopologySpec& spec, std::vector<int> ranks) -> std::string {
    try {
      static_cast<void>(time_of(spec, ring(std::move(ranks)), Folding::required));
    } catch (const core::Refusal& refused) {
      return refused.what();
    }
    return "";
  };
  const std::string stem = "ranks cannot stand for each other: ";
  TopologySpec spec = small_leaves(16, NetworkKind::fat_tree);
  CHECK(reason(spec, first(128)).empty());
  CHECK(reason(spec, {0, 8, 17}) == stem + "domain 2 has other slots in the group than domain 0");
  spec.routing = Routing::ecmp;
  CHECK(reason(spec, first(128)) == stem + "paths follow a hash");
  spec.routing = Routing::adaptive;
  spec.oversubscription = 3;
  CHECK(reason(spec, first(128)) == stem + "switches are oversubscribed");
  spec.oversubscription = 1;
  spec.faults = {{"nic0", 0.5, {}}};
  CHECK(reason(spec, first(128)) == stem + "links are degraded or down");
  spec.faults.clear();
  spec.link_rate = BytesPerSecond{25e9};
  CHECK(reason(spec, first(128)) == stem + "links between switches are slower than NICs");
  spec.link_rate = BytesPerSecond{50e9};
  spec.sites = 2;
  spec.wan_rate = BytesPerSecond{1e9};
  CHECK(reason(spec, first(128)) == stem + "sites are joined by thin lines");
  CHECK(reason(small_leaves(16, NetworkKind::dragonfly), first(128)) ==
        stem + "groups of a dragonfly are joined pairwise");
}

}  // namespace
}  // namespace tessera::fabric
