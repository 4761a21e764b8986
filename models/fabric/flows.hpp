#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "models/fabric/topology.hpp"
#include "sim/core/units.hpp"

/// Who gets how much of a shared link, and when each transfer ends.
namespace tessera::fabric {

/// What a flow takes of one resource per byte that it moves: 1 of a link, messages / bytes of a
/// NIC's message rate, 1 of a copy engine.
struct Demand {
  int resource;
  double units_per_byte;
  friend auto operator<=>(const Demand&, const Demand&) = default;
};

/// `count` equal transfers, each of `bytes` over the same resources.
struct Flow {
  std::vector<Demand> demands;  ///< Empty: takes no time beyond `latency`.
  double bytes = 0;
  int count = 1;           ///< Equal flows that are folded into this one.
  Time start{0};           ///< Not before.
  std::vector<int> after;  ///< Flows (ids) that must have arrived first.
  Time latency{0};         ///< From the last byte sent to its arrival.
};

/// Parts of the links' rates that payload can use.
struct LinkEfficiency {
  double nvlink = 1;
  double pcie = 1;
  double network = 1;  ///< On top of TopologySpec::nic_efficiency.
  double host = 1;
};

/// Simulates flows that share links max-min fairly (progressive filling), recomputed whenever a
/// flow starts or ends, for the links that the change can reach. Rates follow a change at once:
/// does not model how a transport finds its rate, nor packets, buffers or pauses.
class FlowSimulation {
 public:
  explicit FlowSimulation(const Topology& topology, LinkEfficiency efficiency = {});

  /// A further shared resource (a copy engine, a message queue) of so many units per second.
  int add_resource(double units_per_second);

  /// Transfer along a topology route. `messages` (0: do not care) counts against the message rate
  /// of the first NIC on the way.
  [[nodiscard]] Flow along(const Route& route, double bytes, double messages = 0);

  /// Id of the flow; ids count from 0. Requires: bytes >= 0, ids in `after` already added.
  int add(Flow flow);

  /// Arrival of every flow's last byte, by id. Runs once.
  std::vector<Time> run();

  /// Rates (bytes/s, one of `count`) if all added flows were active at once, by flow id; infinite
  /// for a flow without demands. Ignores `start` and `after`.
  [[nodiscard]] std::vector<double> steady_rates();

  /// Units per second of a resource; links come first, by id.
  [[nodiscard]] double capacity(int resource) const {
    return resources_[static_cast<std::size_t>(resource)].capacity;
  }

  /// How often rates were recomputed by run().
  [[nodiscard]] std::uint64_t recomputations() const { return recomputations_; }

 private:
  /// Flows over the same resources: they run at one rate, so one number serves all.
  struct PathClass {
    std::vector<Demand> demands;
    double rate = 0;                              ///< Of one flow, bytes/s.
    double served = 0;                            ///< Bytes that a flow active since the start got.
    double active = 0;                            ///< Flows now running, folded ones counted.
    std::vector<std::pair<double, int>> waiting;  ///< Min-heap of (served at the end, flow).
  };
  struct Resource {
    double capacity;
    std::vector<int> classes;  ///< Path classes that use it.
  };

  int class_of(const Flow& flow);
  void begin(int flow, std::vector<int>& changed);
  void finish_due(std::vector<int>& changed, std::vector<int>& finished);
  void refill(const std::vector<int>& changed);
  void fill(const std::vector<int>& classes, const std::vector<int>& resources);

  const Topology& topology_;
  std::vector<Resource> resources_;
  std::map<int, int> message_queues_;  ///< First rdma link of a path -> resource.
  std::vector<Flow> flows_;
  std::vector<int> flow_class_;
  std::vector<PathClass> classes_;
  std::map<std::vector<Demand>, int> class_index_;
  std::vector<double> load_, left_;  ///< Scratch of fill(), by resource.
  std::vector<char> class_marked_, resource_marked_;
  std::uint64_t recomputations_ = 0;
};

}  // namespace tessera::fabric
