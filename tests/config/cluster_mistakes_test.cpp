#include "models/device/cluster_file.hpp"
#include "models/device/price_list.hpp"
#include "tests/config/mistakes.hpp"

namespace tessera::config_test {
namespace {

TEST_CASE("mistakes of a node are reported where they stand", "[config][node]") {
  check_rows(
      {
          {"extends: hgx_h800\n", {}, ""},
          {"extends: hgx_h800\ndevice: h8000_sxm\n",
           {},
           "n.yaml:2:9: error: device: found 'h8000_sxm'; expected one of a100_40gb, a100_pcie, "
           "a100_sxm, a800_sxm, b200_sxm, b300_sxm, gb200, gb300, h100_nvl, h100_sxm, h200_sxm, "
           "h20_141gb, h20_sxm, h800_sxm, l40s or rtx_pro_6000_server (did you mean 'h800_sxm'?)"},
          {"extends: hgx_h800.yaml\ndevice: h20_sxm.yaml\n", {}, ""},
          {"extends: hgx_h800\ndevice: ../../../etc/h20_sxm.yaml\n",
           {},
           "n.yaml:2:9: error: device: found '../../../etc/h20_sxm.yaml', which leads out of the "
           "configuration; expected a name or a relative path inside it"},
          {"extends: hgx_h800\ndevice: h21_sxm.yaml\n",
           {},
           "n.yaml:2:9: error: device: found 'h21_sxm.yaml', which does not exist"},
          {"extends: hgx_h800\nnic:\n  per_node: 4\n",
           {},
           "n.yaml:3:13: error: nic.per_node: found 4 NICs of 1 GPUs each; expected them to serve "
           "8 "
           "GPUs (gpus: hw_configs/nodes/hgx_h100.yaml:4:7)"},
          {"extends: hgx_h800\nnic:\n  rate: 400 Gbps\n",
           {},
           "n.yaml:3:9: error: nic.rate: found '400 Gbps', whose unit 'Gbps' is not accepted; "
           "expected a rate in B/s, KB/s, MB/s, GB/s, TB/s, Gb/s or Tb/s"},
          {"extends: hgx_h800\nnvlink_domain:\n  in_switch_reduction: yes\n",
           {},
           "n.yaml:3:24: error: nvlink_domain.in_switch_reduction: found 'yes'; expected true or "
           "false"},
          {"extends: l40s_pcie\nnvlink_domain:\n  gpus: 8\n",
           {},
           "n.yaml:3:9: error: nvlink_domain.gpus: found 8; expected 1, since l40s has no NVLink"},
          {"extends: hgx_h800\n",
           {"device.sm.count=x", "gpus=x"},
           "--set:1:17: error: sm.count: found 'x'; expected an integer in [1, 1024]\n"
           "--set:2:6: error: gpus: found 'x'; expected an integer in [1, 1024]"},
      },
      [](const std::string& text, const std::vector<core::Override>& overrides) {
        static_cast<void>(device::read_node(
            core::ConfigDocument::from_text(text, "n.yaml", device::node_options(overrides))));
      });
}

TEST_CASE("mistakes of a cluster are reported where they stand", "[config][cluster]") {
  check_rows(
      {
          {"extends: h800_2048_multiplane\n", {}, ""},
          {"extends: h800_2048_multiplane\nfabric:\n  planes: 4\n",
           {},
           "c.yaml:3:11: error: fabric.planes: found 4; expected one for each of the 8 NICs of "
           "hgx_h800 (fabric.kind: hw_configs/clusters/h800_2048_multiplane.yaml:8:9)"},
          {"extends: h800_2048_multiplane\nfabric:\n  kind: torus\n",
           {},
           "c.yaml:3:9: error: fabric.kind: found 'torus'; expected one of multiplane_fat_tree, "
           "rail_fat_tree, fat_tree or dragonfly"},
          {"extends: h800_2048_multiplane\ngpus_per_domain: 16\n",
           {},
           "c.yaml:2:18: error: gpus_per_domain: found 16; expected at most the 8 GPUs of a domain "
           "of hgx_h800 (node: hw_configs/clusters/h800_2048_multiplane.yaml:4:7)"},
          {"extends: gb200_32x64_nvl72\ngpus_per_domain: 62\n",
           {},
           "c.yaml:2:18: error: gpus_per_domain: found 62; expected whole nodes of gb200_nvl72, "
           "which "
           "have 4 GPUs (node: hw_configs/clusters/gb200_32x64_nvl72.yaml:4:7)"},
          {"extends: h800_2048_multiplane\ndomains: 0\nnode: hgx_h900\n",
           {},
           "c.yaml:2:10: error: domains: found '0'; expected an integer in [1, 1048576]\n"
           "c.yaml:3:7: error: node: found 'hgx_h900'; expected one of a100_pairwise_nvlink, "
           "gb200_nvl72, gb300_nvl72, h100_pairwise_nvlink, hgx_a100, hgx_a100_40gb, hgx_a800, "
           "hgx_b200, hgx_b300, hgx_h100, hgx_h20, hgx_h200, hgx_h20_141gb, hgx_h800, l40s_pcie or "
           "rtx_pro_6000_pcie (did you mean 'hgx_h100'?)"},
          {"extends: h800_2048_multiplane\n",
           {"node.device.hbm.size=80"},
           "--set:1:22: error: hbm.size: found '80', which has no unit; expected a size in B, KB, "
           "MB, "
           "GB, TB, KiB, MiB, GiB or TiB"},
      },
      [](const std::string& text, const std::vector<core::Override>& overrides) {
        static_cast<void>(device::read_cluster(
            core::ConfigDocument::from_text(text, "c.yaml", device::cluster_options(overrides))));
      });
}

TEST_CASE("mistakes of a price list are reported where they stand", "[config][prices]") {
  check_rows(
      {
          {"extends: prices\nrental:\n  h20_sxm:\n    typical: 3 USD/GPU/h\n",
           {},
           "p.yaml:4:14: error: rental.h20_sxm.typical: found 3; expected a value from low 0.71 to "
           "high 2"},
          {"extends: prices\nelectricity:\n  low: 0.05 EUR/kWh\n",
           {},
           "p.yaml:3:8: error: electricity.low: found '0.05 EUR/kWh', whose unit 'EUR/kWh' is not "
           "accepted; expected a quantity in USD/kWh"},
      },
      [](const std::string& text, const std::vector<core::Override>& overrides) {
        static_cast<void>(device::read_prices(
            core::ConfigDocument::from_text(text, "p.yaml", device::price_options(overrides))));
      });
}

}  // namespace
}  // namespace tessera::config_test
