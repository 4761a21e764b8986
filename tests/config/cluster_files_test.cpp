#include <catch2/catch_test_macros.hpp>
#include <string>

#include "models/device/cluster_file.hpp"
#include "models/device/device_file.hpp"
#include "models/device/price_list.hpp"

namespace tessera::device {
namespace {

TEST_CASE("every node file is read whole", "[config][node]") {
  for (const std::string& name : core::names_in("hw_configs/nodes")) {
    INFO(name);
    CHECK(load_node(name).name == name);
  }
}

TEST_CASE("every cluster file is read whole and has 2,048 GPUs", "[config][cluster]") {
  const std::vector<std::string> expected = {"b200_2048_multiplane", "gb200_32x64_nvl72",
                                             "h200_2048_multiplane", "h20_2048_multiplane",
                                             "h800_2048_multiplane"};
  CHECK(core::names_in("hw_configs/clusters") == expected);
  for (const std::string& name : expected) {
    INFO(name);
    CHECK(load_cluster(name).gpus() == 2048);
  }
}

TEST_CASE("the published H800 and H20 clusters are as published", "[config][cluster]") {
  const ClusterSpec h800 = load_cluster("h800_2048_multiplane");
  CHECK(h800.node.device.nvlink.rate == BytesPerSecond{200e9});
  CHECK(h800.node.nic.rate == BytesPerSecond{50e9});
  CHECK(h800.node.nic.per_node == 8);
  CHECK(h800.fabric.planes == 8);
  const ClusterSpec h20 = load_cluster("h20_2048_multiplane");
  CHECK(h20.node.nic.per_node == 4);
  CHECK(h20.node.nic.gpus_per_nic == 2);
  CHECK(h20.fabric.planes == 4);
  const ClusterSpec gb200 = load_cluster("gb200_32x64_nvl72");
  CHECK(gb200.domains == 32);
  CHECK(gb200.nodes_per_domain() == 16);
  CHECK(gb200.node.nvlink_domain.gpus == 72);
}

TEST_CASE("an override reaches through a cluster into its node and device", "[config][cluster]") {
  const ClusterSpec cluster = load_cluster(
      "h800_2048_multiplane", core::parse_overrides({"domains=4", "node.nic.rate=800 Gb/s",
                                                     "node.device.sm.max_warps=48"}));
  CHECK(cluster.domains == 4);
  CHECK(cluster.node.nic.rate == BytesPerSecond{100e9});
  CHECK(cluster.node.device.sm.max_warps == 48);
}

TEST_CASE("every device has a rental price, H20's graded assumed", "[config][prices]") {
  const PriceList prices = load_prices();
  for (const std::string& device : core::names_in("hw_configs/devices")) {
    INFO(device);
    CHECK(prices.rental.contains(device));
  }
  CHECK(prices.rental.at("h20_sxm").value.grade == core::Grade::assumed);
  CHECK(prices.rental.at("h800_sxm").value.value == 2.0);
  CHECK(prices.rental.size() == core::names_in("hw_configs/devices").size());
}

TEST_CASE("every device has a server price, and its range is in order", "[config][prices]") {
  const PriceList prices = load_prices();
  for (const std::string& device : core::names_in("hw_configs/devices")) {
    INFO(device);
    CHECK(prices.ownership.server.contains(device));
  }
  CHECK(prices.ownership.server.at("h20_sxm").value.value == 1.6 * 12000);
  CHECK(prices.ownership.network_share.value.value == 0.19);
}

}  // namespace
}  // namespace tessera::device
