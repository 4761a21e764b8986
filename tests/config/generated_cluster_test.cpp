#include "models/device/generated_cluster.hpp"

#include "models/device/cluster_file.hpp"
#include "tests/config/mistakes.hpp"

namespace tessera::device {
namespace {

/// "a, b or c"
std::string known_fabrics() {
  const std::vector<std::string> names = core::names_in(kFabricFolder);
  std::string text = names.front();
  for (std::size_t i = 1; i < names.size(); ++i)
    text += (i + 1 < names.size() ? ", " : " or ") + names[i];
  return text;
}

TEST_CASE("a name without a file is a cluster of whole domains", "[config][cluster]") {
  struct Named {
    const char* name;
    const char* node;
    int domains;
    int gpus_per_domain;
    double nic_gigabytes;
  };
  const Named names[] = {{"h100_sxm_8", "hgx_h100", 1, 8, 50},
                         {"h100_512_fat_tree", "hgx_h100", 64, 8, 50},
                         {"a100_sxm_280_rail", "hgx_a100", 35, 8, 25},
                         {"a100_40gb_16_multiplane", "hgx_a100_40gb", 2, 8, 25},
                         {"b300_sxm_256_rail", "hgx_b300", 32, 8, 100},
                         {"gb200_8", "gb200_nvl72", 1, 8, 50},
                         {"rtx_pro_6000_server_16", "rtx_pro_6000_pcie", 2, 8, 50},
                         {"gb200_2496_nvl72", "gb200_nvl72", 39, 64, 50},
                         {"gb200_2304_nvl72", "gb200_nvl72", 32, 72, 50},
                         {"gb300_7x36_nvl72", "gb300_nvl72", 7, 36, 100}};
  for (const Named& named : names) {
    INFO(named.name);
    const ClusterSpec cluster = load_cluster(named.name);
    CHECK(cluster.name == named.name);
    CHECK(cluster.node.name == named.node);
    CHECK(cluster.domains == named.domains);
    CHECK(cluster.gpus_per_domain == named.gpus_per_domain);
    CHECK(cluster.fabric.link_rate == BytesPerSecond{named.nic_gigabytes * 1e9});
  }
  CHECK(load_cluster("a100_40gb_16_multiplane").fabric.planes == 8);
  // The file wins over the name.
  CHECK(load_cluster("gb200_32x64_nvl72").fabric.kind == FabricKind::multiplane_fat_tree);
}

TEST_CASE("overrides reach into a cluster that a name makes", "[config][cluster]") {
  const ClusterSpec cluster =
      load_cluster("h100_sxm_64_rail",
                   core::parse_overrides({"fabric.oversubscription=2", "node.nic.rate=200 Gb/s"}));
  CHECK(cluster.fabric.oversubscription == 2);
  CHECK(cluster.fabric.link_rate == BytesPerSecond{25e9});
}

TEST_CASE("names that make no cluster say why", "[config][cluster]") {
  const auto message = [](const std::string& name) {
    return config_test::messages_of([&] { static_cast<void>(load_cluster(name)); });
  };
  CHECK(message("h100_sxm_12") ==
        "tessera: error: cluster: found 'h100_sxm_12'; expected a multiple of the 8 GPUs of "
        "hgx_h100");
  CHECK(message("h100_sxm_0_rail") ==
        "tessera: error: cluster: found 'h100_sxm_0_rail'; expected at least one GPU");
  CHECK(message("h100_sxm_64_ral") ==
        "tessera: error: cluster: found 'h100_sxm_64_ral'; fabric: found 'ral'; expected one of " +
            known_fabrics() + " (did you mean 'rail'?)");
  CHECK(message("gb200_4x90_nvl72") ==
        "gb200_4x90_nvl72.yaml (made from the name):4:18: error: gpus_per_domain: found 90; "
        "expected at most the 72 GPUs of a domain of gb200_nvl72 (node: gb200_4x90_nvl72.yaml "
        "(made from the name):2:7)");
}

}  // namespace
}  // namespace tessera::device
