#pragma once

#include "models/fabric/topology.hpp"

namespace tessera::fabric {

/// HGX-8 nodes with round figures: 450 GB/s NVLink, one 50 GB/s NIC a GPU, eight planes.
inline TopologySpec hopper_cluster(int nodes) {
  return {.domains = nodes,
          .gpus_per_domain = 8,
          .nvlink_rate = BytesPerSecond{450e9},
          .gpus_per_nvlink = 8,
          .nvlink_latency = Time{500'000},
          .in_switch_reduction = true,
          .gpus_per_nic = 1,
          .nic_rate = BytesPerSecond{50e9},
          .nic_efficiency = 1.0,
          .nic_latency = Time{2'000'000},
          .nic_message_rate = 0,
          .pcie_rate = BytesPerSecond{64e9},
          .pcie_latency = Time{500'000},
          .gpus_per_pcie_switch = 2,
          .gpus_per_socket = 4,
          .network = NetworkKind::multi_plane,
          .planes = 8,
          .leaf_radix = 64,
          .spine_radix = 64,
          .oversubscription = 1,
          .link_rate = BytesPerSecond{50e9},
          .link_efficiency = 1,
          .switch_latency = Time{500'000}};
}

}  // namespace tessera::fabric
