#include "models/device/cluster_file.hpp"
#include "models/fabric/topology.hpp"
#include "tests/config/mistakes.hpp"

namespace tessera::config_test {
namespace {

/// Reads a cluster and wires it.
void wire(const std::string& text, const std::vector<core::Override>& overrides) {
  const device::ClusterSpec cluster = device::read_cluster(
      core::ConfigDocument::from_text(text, "c.yaml", device::cluster_options(overrides)));
  fabric::Topology{fabric::topology_of(cluster)};
}

/// 64 nodes of eight H100 on a rail-optimised fat tree: 16 leaves of 32 NICs, 8 spines.
const std::string kRail =
    "node: hgx_h100\ndomains: 64\ngpus_per_domain: 8\nfabric:\n  kind: rail_fat_tree\n"
    "  leaf_radix: 64\n  spine_radix: 64\n  oversubscription: 1\n  switch_latency: 400 ns\n"
    "  cable_latency: 50 ns\n  efficiency: 0.95\n  power_per_gpu: 100 W\n";

TEST_CASE("links that lead nowhere are reported where they stand", "[config][fabric]") {
  check_rows(
      {
          {kRail + "links: {down: [leaf2-spine1, nic5, gpu3]}\n", {}, ""},
          {kRail + "links: {degraded: [{link: leaf15-spine7, rate: 0.5}]}\n", {}, ""},
          {kRail + "links:\n  down: [leaf16-spine0]\n",
           {},
           "c.yaml:14:10: error: links: found 'leaf16-spine0', which leads nowhere: the cluster "
           "has "
           "leaf0 to leaf15"},
          {kRail + "links:\n  down: [leaf2-spine8]\n",
           {},
           "c.yaml:14:10: error: links: found 'leaf2-spine8', which leads nowhere: the cluster has "
           "spine0 to spine7"},
          {kRail + "links:\n  down: [spine0-core0]\n",
           {},
           "c.yaml:14:10: error: links: found 'spine0-core0', which leads nowhere: the cluster has "
           "no core"},
          {kRail + "links:\n  down: [nic512]\n",
           {},
           "c.yaml:14:10: error: links: found 'nic512', which leads nowhere: the cluster has nic0 "
           "to nic511"},
          {kRail + "links:\n  down: [gpu512]\n",
           {},
           "c.yaml:14:10: error: links: found 'gpu512', which leads nowhere: the cluster has gpu0 "
           "to gpu511"},
          {kRail + "links:\n  down: [nic0-leaf1]\n",
           {},
           "c.yaml:14:10: error: links: found 'nic0-leaf1', but no cable joins these two"},
          {kRail + "links:\n  down: [leaf0-leaf1]\n",
           {},
           "c.yaml:14:10: error: links: found 'leaf0-leaf1', but no cable joins these two"},
          {kRail + "links:\n  down: [uplink3]\n",
           {},
           "c.yaml:14:10: error: links: found 'uplink3'; expected the two ends of a link, as "
           "nic5-leaf0, leaf2-spine1 or spine3-core0, or nic5 or gpu3 for the one cable of a NIC "
           "or a GPU's NVLink"},
          {kRail + "links:\n  down: [nic1, nic2, nic1]\n",
           {},
           "c.yaml:14:22: error: links: found 'nic1', which is named twice"},
          {kRail + "links:\n  degraded:\n    - {link: nic1, rate: 0}\n",
           {},
           "c.yaml:15:26: error: links.degraded.0.rate: found '0'; expected a number in [1e-06, "
           "0.999999]"},
          {kRail + "links:\n  degraded:\n    - {link: nic1, rate: 1}\n",
           {},
           "c.yaml:15:26: error: links.degraded.0.rate: found '1'; expected a number in [1e-06, "
           "0.999999]"},
          {kRail + "links:\n  degraded:\n    - {link: nic1}\n",
           {},
           "c.yaml:15:7: error: links.degraded.0.rate: missing; expected a number in "
           "[1e-06, 0.999999]"},
      },
      wire);
}

TEST_CASE("fabrics that contradict themselves are reported where they stand", "[config][fabric]") {
  check_rows(
      {
          {kRail,
           {"fabric.link_rate=0 Gb/s"},
           "--set:1:18: error: fabric.link_rate: found '0 Gb/s'; expected a rate in [1 MB/s, 1000 "
           "TB/s]"},
          {kRail,
           {"fabric.oversubscription=0.5"},
           "--set:1:25: error: fabric.oversubscription: found '0.5'; expected a number in [1, 64]"},
          {kRail,
           {"fabric.core_oversubscription=0.9"},
           "--set:1:30: error: fabric.core_oversubscription: found '0.9'; expected a number in [1, "
           "64]"},
          {kRail,
           {"fabric.routing=random"},
           "--set:1:16: error: fabric.routing: found 'random'; expected one of adaptive or ecmp"},
          {kRail,
           {"fabric.kind=dragonfly", "fabric.oversubscription=2"},
           "--set:2:25: error: fabric.oversubscription: found 2; expected 1: a dragonfly's routers "
           "share their ports out by a fixed rule (fabric.kind: --set:1:13)"},
          {kRail,
           {"fabric.kind=dragonfly", "fabric.leaf_radix=3"},
           "--set:2:19: error: fabric.leaf_radix: found 3; expected at least 4 ports of a "
           "dragonfly's router"},
          {kRail,
           {"fabric.sites={count: 3, rate: 100 Gb/s, latency: 5 ms}"},
           "--set:1:22: error: fabric.sites.count: found 3, which does not divide the 64 domains "
           "(domains: c.yaml:2:10)"},
          {kRail,
           {"fabric.sites={count: 1, rate: 100 Gb/s, latency: 5 ms}"},
           "--set:1:22: error: fabric.sites.count: found '1'; expected an integer in [2, 1024]"},
          {kRail,
           {"fabric.kind=multiplane_fat_tree",
            "fabric.sites={count: 2, rate: 1 Tb/s, latency: 5 ms}"},
           "--set:2:22: error: fabric.sites.count: sites whose planes share no switch have no one "
           "border; expected rail_fat_tree, fat_tree or dragonfly (fabric.kind: --set:1:13)"},
          {kRail,
           {"fabric.planes=3"},
           "--set:1:15: error: fabric.planes: found 3; expected 1 (fabric.kind: c.yaml:5:9)"},
          {kRail,
           {"gpus_per_domain=6"},
           "--set:1:17: error: gpus_per_domain: found 6; expected whole nodes of hgx_h100, which "
           "have 8 GPUs (node: c.yaml:1:7)"},
          {kRail,
           {"node.nic.rate=0 Gb/s"},
           "--set:1:15: error: nic.rate: found '0 Gb/s'; expected a rate in [1 MB/s, 1000 TB/s]"},
          {kRail,
           {"domains=0"},
           "--set:1:9: error: domains: found '0'; expected an integer in [1, 1048576]"},
      },
      wire);
}

TEST_CASE("switches with too few ports are refused with what is needed", "[config][fabric]") {
  const auto refusal = [](const std::vector<std::string>& set) -> std::string {
    try {
      wire(kRail, core::parse_overrides(set));
    } catch (const core::Refusal& refused) {
      return refused.what();
    }
    return "";
  };
  CHECK(refusal({"domains=512", "fabric.leaf_radix=16", "fabric.spine_radix=16"}) ==
        "a three-layer tree of 16-port switches joins at most 16 pods; 64 are needed: use more "
        "planes or switches with more ports");
  CHECK(refusal({"domains=64", "fabric.kind=dragonfly", "fabric.leaf_radix=8"}) ==
        "a dragonfly of 8-port routers joins at most 9 groups; 64 are needed: use routers with "
        "more ports");
  CHECK(refusal({"fabric.spine_radix=16"}).empty());
}

}  // namespace
}  // namespace tessera::config_test
