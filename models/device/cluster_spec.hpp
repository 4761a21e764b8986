#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "sim/core/diagnostics.hpp"

/// What a server and a cluster are: GPUs behind NVLink and NICs, and the switches between them.
/// Immutable after reading; no defaults: every field comes from hw_configs/nodes and
/// hw_configs/clusters.
namespace tessera::device {

struct NicSpec {
  BytesPerSecond rate;  ///< Line rate per direction.
  int per_node;
  int gpus_per_nic;     ///< GPUs that share one; per_node * gpus_per_nic GPUs have one.
  double efficiency;    ///< Part of `rate` that payload reaches, (0, 1].
  double message_rate;  ///< Messages per second that one NIC can post.
  Time latency;         ///< GPU memory to wire and wire to GPU memory, both ends together.
  Time post_overhead;   ///< Between a GPU's decision to send and the NIC's first byte.
};

/// The GPUs that NVLink joins without a NIC. One node is one domain, except in rack-scale systems,
/// where `gpus` is the rack's, and in nodes whose GPUs are bridged in pairs.
struct NvlinkDomainSpec {
  int gpus;                  ///< GPUs that can reach each other over NVLink.
  int switches;              ///< NVSwitch planes; 0: no NVLink, or bridges.
  bool in_switch_reduction;  ///< Switches can reduce and multicast (SHARP over NVLink).
  Time switch_latency;       ///< Of one NVSwitch hop.
};

struct HostSpec {
  std::string cpu;
  int sockets;
  BytesPerSecond pcie_rate;  ///< GPU to host, per direction.
  int gpus_per_pcie_switch;  ///< GPUs that reach each other over PCIe without a processor.
  Bytes memory;
};

struct NodeSpec {
  std::string name;
  DeviceSpec device;
  int gpus;  ///< Per node (server or compute tray).
  NvlinkDomainSpec nvlink_domain;
  NicSpec nic;
  HostSpec host;
  Watts overhead_power;  ///< Everything in the node but the GPUs, under load.
};

enum class FabricKind {
  multiplane_fat_tree,  ///< NIC i of every node in plane i; a two-layer fat tree a plane.
  rail_fat_tree,        ///< NIC i of every node on leaf i; spines join the rails.
  fat_tree,             ///< All NICs of a node on one leaf.
  dragonfly,            ///< A quarter of a router's ports to NICs, half to its group.
};
[[nodiscard]] std::string to_string(FabricKind kind);

/// How switches choose among equal paths.
enum class Routing {
  adaptive,  ///< Packet by packet, evenly over what is left of the links.
  ecmp,      ///< One path a flow, by a hash.
};
[[nodiscard]] std::string to_string(Routing routing);

/// Equal parts of a cluster, far from each other.
struct SitesSpec {
  int count = 1;
  BytesPerSecond rate{0};  ///< Between two sites, per direction.
  Time latency{0};         ///< Between two sites, one way.
};

/// A link that has less than its rate.
struct LinkFault {
  std::string link;            ///< "leaf2-spine1"; "nic5", "gpu3" for their one cable.
  double rate;                 ///< What is left of it, [0, 1).
  core::SourcePosition where;  ///< Where it was written.
};

struct FabricSpec {
  FabricKind kind;
  int planes;                        ///< Independent networks; 1 unless multiplane.
  int leaf_radix;                    ///< Ports of a leaf switch or router.
  int spine_radix;                   ///< Ports of a spine switch.
  double oversubscription;           ///< Leaf ports down over ports up, >= 1.
  BytesPerSecond link_rate;          ///< Of every switch port, per direction.
  Time switch_latency;               ///< Of one switch hop.
  Time cable_latency;                ///< Of one link.
  double efficiency;                 ///< Part of link_rate that many flows reach together, (0, 1].
  Watts power_per_gpu;               ///< Switches and optics, shared out.
  double core_oversubscription = 1;  ///< Spine ports down over ports up, under cores, >= 1.
  Routing routing = Routing::adaptive;
  std::int64_t hash_seed = 0;         ///< Of ECMP.
  bool in_network_reduction = false;  ///< Switches add what NICs send (SHARP over InfiniBand).
  SitesSpec sites;
};

/// `domains` groups of GPUs that NVLink joins, and the fabric between them. A server of eight is
/// one domain; a rack of 72 is one domain of 18 nodes.
struct ClusterSpec {
  std::string name;
  NodeSpec node;
  int domains;          ///< NVLink domains (servers without NVLink count as domains of their own).
  int gpus_per_domain;  ///< That jobs get; whole nodes, at most node.nvlink_domain.gpus. The rest
                        ///< are spares.
  FabricSpec fabric;
  std::vector<LinkFault> faults = {};

  /// GPUs that a job can use.
  [[nodiscard]] int gpus() const { return domains * gpus_per_domain; }
  [[nodiscard]] int nodes_per_domain() const { return gpus_per_domain / node.gpus; }
  [[nodiscard]] int nodes() const { return domains * nodes_per_domain(); }
};

}  // namespace tessera::device
