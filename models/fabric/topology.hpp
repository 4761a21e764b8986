#pragma once

#include <boost/graph/adjacency_list.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/device/cluster_spec.hpp"
#include "sim/core/units.hpp"

/// How the GPUs of a cluster are wired, and which way their messages go.
namespace tessera::fabric {

using core::Bytes;
using core::BytesPerSecond;
using core::Seconds;
using core::Time;

enum class VertexKind {
  gpu,
  nic,
  nvswitch,
  pcie_switch,
  processor,
  leaf,
  spine,
  core,
  group,
  site
};
[[nodiscard]] std::string to_string(VertexKind kind);

/// What a link is made of; traffic is counted per class.
enum class LinkClass {
  nvlink,   ///< GPU to NVSwitch.
  pcie,     ///< GPU to its NIC, or to the PCIe switch where NVLink does not join all GPUs.
  host,     ///< PCIe switch to the processor.
  rdma,     ///< NIC to its leaf switch.
  network,  ///< Between switches.
  wan,      ///< Between sites.
};
[[nodiscard]] std::string to_string(LinkClass link_class);

struct Vertex {
  VertexKind kind;
  int index;      ///< Among its kind, over the whole cluster.
  int domain;     ///< NVLink domain (node or rack) it belongs to; -1 for switches of the network.
  int plane;      ///< Network plane or rail; -1 where it has none.
  int count = 1;  ///< Switches that it stands for.
};

/// One direction of one cable, or of a bundle that traffic is spread over evenly. Both directions
/// have the same rate and latency.
struct Link {
  int id;  ///< Index in Topology::links().
  LinkClass link_class;
  BytesPerSecond rate;  ///< Of the whole bundle, faults taken off.
  Time latency;
};

enum class NetworkKind {
  none,            ///< One NVLink domain.
  multi_plane,     ///< Planes that share no switch: crossing planes goes over NVLink.
  rail_optimised,  ///< A rail is a set of leaves; the spines join all rails.
  fat_tree,        ///< All NICs of a domain on one leaf; the spines join the leaves.
  dragonfly,       ///< Groups of routers, all joined inside and pairwise between groups.
};

using device::LinkFault;
using device::Routing;

/// Domains of GPUs behind NVLink or PCIe switches, joined by a network. Immutable.
struct TopologySpec {
  int domains;          ///< Nodes (HGX-8) or racks (NVL72).
  int gpus_per_domain;  ///< GPUs in use that reach each other without a NIC.

  BytesPerSecond nvlink_rate;  ///< Per GPU and direction, all links; 0: PCIe joins the GPUs.
  int gpus_per_nvlink;  ///< GPUs that NVLink joins: all of a domain, or bridged pairs of it; PCIe
                        ///< joins the pairs.
  Time nvlink_latency;  ///< GPU to GPU, one way, through the switch.
  bool in_switch_reduction;  ///< NVSwitch can reduce and multicast (NVLS).

  int gpus_per_nic;         ///< GPUs that share one NIC.
  BytesPerSecond nic_rate;  ///< Per NIC and direction.
  double nic_efficiency;    ///< Part of nic_rate that payload reaches, (0, 1].
  Time nic_latency;         ///< NIC to NIC under one leaf, one way, host side included.
  double nic_message_rate;  ///< Messages per second that one NIC can post; 0: unlimited.

  BytesPerSecond pcie_rate;  ///< GPU to NIC, per direction.
  Time pcie_latency;         ///< GPU to NIC, one way.
  int gpus_per_pcie_switch;  ///< GPUs that reach each other without the processor.
  int gpus_per_socket;       ///< GPUs of one processor.

  NetworkKind network;
  int planes;                ///< Planes or rails; NIC i of a domain sits in plane i mod planes.
  int leaf_radix;            ///< Ports of a leaf.
  int spine_radix;           ///< Ports of a spine, and of a core switch.
  double oversubscription;   ///< Leaf ports down over ports up, >= 1.
  BytesPerSecond link_rate;  ///< Between switches, per port and direction.
  double link_efficiency;    ///< Part of link_rate that many flows reach together, (0, 1].
  Time switch_latency;       ///< Leaf to spine, cable included.

  double core_oversubscription = 1;  ///< Spine ports down over ports up where cores join pods.
  Routing routing = Routing::adaptive;
  std::uint64_t hash_seed = 0;        ///< Of ECMP.
  bool in_network_reduction = false;  ///< Switches of the network add what NICs send (SHARP).
  int sites = 1;                      ///< Equal parts of the domains, each with its own network.
  BytesPerSecond wan_rate{0};         ///< Between two sites, per direction.
  Time wan_latency{0};                ///< Between two sites, one way.
  std::vector<LinkFault> faults;
};

/// The wiring of a described cluster.
[[nodiscard]] TopologySpec topology_of(const device::ClusterSpec& cluster);

/// One path of links through the graph.
struct Route {
  std::vector<int> links;  ///< Ids, in order from source to destination.
  Time latency;            ///< Sum over the links.
};

class RouteTables;

/// Graph of GPUs, NICs and switches. GPUs are numbered domain by domain.
///
/// An NVSwitch vertex stands for all switch planes of its domain: NVLink traffic is striped over
/// them evenly, so their sum is exact. With adaptive routing the spines (and cores) that a leaf (a
/// pod) can choose among are one vertex likewise, and their cables one link of the sum of what is
/// left of their rates: packets are spread so that equal choices are equally full. With ECMP every
/// switch and cable stands for itself, and a flow keeps the path that its hash picked. Dragonflies
/// route minimally. Does not model packet loss or congestion control.
class Topology {
 public:
  using Graph = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, Vertex, Link>;
  using VertexId = Graph::vertex_descriptor;

  /// Throws Refusal (outside_model) when switches have too few ports for the leaves, and
  /// ConfigError for a fault of a link that is not there.
  explicit Topology(const TopologySpec& spec);
  ~Topology();

  [[nodiscard]] const TopologySpec& spec() const { return spec_; }
  [[nodiscard]] const Graph& graph() const { return graph_; }
  [[nodiscard]] const std::vector<Link>& links() const { return links_; }
  [[nodiscard]] int gpus() const { return spec_.domains * spec_.gpus_per_domain; }
  [[nodiscard]] int domain_of(int gpu) const { return gpu / spec_.gpus_per_domain; }
  /// Whether NVLink joins all of these GPUs, which lie in one domain.
  [[nodiscard]] bool joined_by_nvlink(const std::vector<int>& gpus) const;
  /// Whether these GPUs, which lie in one domain, need more than one PCIe switch or processor.
  [[nodiscard]] bool cross_pcie_switches(const std::vector<int>& gpus) const;
  [[nodiscard]] bool cross_sockets(const std::vector<int>& gpus) const;
  /// NIC that a GPU posts to, numbered over the whole cluster; -1 without a network.
  [[nodiscard]] int nic_of(int gpu) const;
  [[nodiscard]] int nics_per_domain() const;
  /// Switches of a kind, those that one vertex stands for counted each.
  [[nodiscard]] int switches(VertexKind kind) const;
  /// Index of the leaf that a NIC is on; -1 when its cable is down.
  [[nodiscard]] int leaf_of(int nic) const;
  /// Why domains cannot stand for each other in this network, or "" when every domain sees the
  /// same: no faults, no hashes, no layer that could fill up before the NICs do, no sites.
  [[nodiscard]] std::string asymmetry() const;

  /// Lowest-latency path between two GPUs; among equal ones a hash of (from, to, salt) decides, as
  /// ECMP would. A path may cross a GPU of the sender's or receiver's domain when that is shorter,
  /// as where planes share no switch. Empty when from == to. Throws Refusal (illegal_combination)
  /// when there is none.
  [[nodiscard]] Route route(int from, int to, std::uint64_t salt = 0) const;

 private:
  friend class RouteTables;

  [[nodiscard]] bool share_group(const std::vector<int>& gpus, int size) const;

  TopologySpec spec_;
  Graph graph_;
  std::vector<Link> links_;
  std::vector<VertexId> gpu_vertices_;
  std::vector<VertexId> nic_vertices_;
  std::vector<VertexId> domain_start_;  ///< First vertex of every domain, then of the network.
  std::vector<int> nic_leaf_;
  std::map<VertexKind, int> switches_;
  std::unique_ptr<RouteTables> routes_;
};

}  // namespace tessera::fabric
