#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "models/fabric/topology.hpp"

namespace tessera::fabric {

/// One end of a cable as users name it: "leaf2".
struct CableEnd {
  VertexKind kind;
  int index;
  friend auto operator<=>(const CableEnd&, const CableEnd&) = default;
};

/// Equal cables between the same two ends.
struct Cables {
  CableEnd near;
  CableEnd far;
  double count = 1;
};

/// Builds a graph in which some cables are degraded or down.
class Wiring {
 public:
  using Graph = Topology::Graph;
  using VertexId = Topology::VertexId;

  /// Throws ConfigError for a fault that does not name a link or names one twice.
  Wiring(const std::vector<LinkFault>& faults, Graph& graph, std::vector<Link>& links);

  VertexId add(const Vertex& vertex);
  /// Joins two vertices, both ways, by one link that stands for all `cables` of `rate` each, less
  /// their faults. Without a cable that works they are not joined. Returns whether they are.
  bool connect(VertexId a, VertexId b, LinkClass link_class, BytesPerSecond rate, Time latency,
               const std::vector<Cables>& cables);
  /// The same for one cable between what the two vertices stand for.
  bool connect(VertexId a, VertexId b, LinkClass link_class, BytesPerSecond rate, Time latency);
  /// Throws ConfigError for faults of cables that were never laid.
  void check_faults() const;

  [[nodiscard]] Graph& graph() { return graph_; }
  /// Switches of a kind that were added, counted each.
  [[nodiscard]] std::map<VertexKind, int>& counts() { return counts_; }

 private:
  struct Fault {
    CableEnd near, far;
    double rate;
    const LinkFault* written;
  };

  [[nodiscard]] double left_of(const Cables& cables);

  Graph& graph_;
  std::vector<Link>& links_;
  std::map<VertexKind, int> counts_;
  std::vector<Fault> faults_;
  std::map<std::pair<CableEnd, CableEnd>, std::size_t> fault_index_;
  std::set<std::size_t> met_;  ///< Faults whose cable was laid.
};

/// Joins NICs by the network of `spec`: leaves, spines, cores, groups and sites. Returns the leaf
/// of every NIC, -1 where its cable is down. Throws Refusal (outside_model) when switches have too
/// few ports.
[[nodiscard]] std::vector<int> build_network(const TopologySpec& spec,
                                             const std::vector<Topology::VertexId>& nics,
                                             Wiring& wiring);

}  // namespace tessera::fabric
