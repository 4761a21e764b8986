#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "models/fabric/topology.hpp"

namespace tessera::fabric {

/// Distances that routes follow, worked out once and only where asked: inside a domain by target,
/// between switches by the switch they end at. A route joins a way to a NIC, a way between leaves,
/// and a way from a NIC, so no search runs over the whole cluster.
class RouteTables {
 public:
  explicit RouteTables(const Topology& topology);

  [[nodiscard]] Route route(int from, int to, std::uint64_t salt);

 private:
  using VertexId = Topology::VertexId;
  using Distances = std::vector<std::int64_t>;
  /// A way out by one NIC and in by another.
  struct Passage {
    int exit;
    int entry;
    std::int64_t cost;
  };

  [[nodiscard]] const Distances& inside(int domain, VertexId target);
  [[nodiscard]] const Distances& between(VertexId leaf);
  [[nodiscard]] std::int64_t cost(int from, int to, int exit, int entry);
  [[nodiscard]] std::vector<Passage> passages(int from, int to);
  void walk(Route& route, VertexId from, VertexId to, const Distances& distance, VertexId first,
            std::uint64_t flow);

  const Topology& topology_;
  std::vector<VertexId> leaf_of_nic_;   ///< By NIC; the NIC itself when its cable is down.
  std::vector<std::int64_t> nic_cost_;  ///< Of the cable to the leaf, by NIC.
  std::vector<int> nic_link_;           ///< The link to the leaf, by NIC.
  std::map<std::pair<int, VertexId>, Distances> inside_;  ///< By domain and place in it.
  std::vector<std::unique_ptr<Distances>> between_;       ///< By switch.
};

}  // namespace tessera::fabric
