#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/fabric/collective_traffic.hpp"
#include "models/fabric/fabric_parameters.hpp"
#include "models/fabric/topology.hpp"
#include "sim/core/data_type.hpp"
#include "sim/core/result.hpp"

/// How long GPUs take to exchange data by the algorithms of NCCL.
namespace tessera::fabric {

enum class CollectiveKind {
  all_reduce,
  reduce_scatter,
  all_gather,
  all_to_all,
  send_receive,
  ring_shift,  ///< Every rank sends to the next one, the last to the first.
};
[[nodiscard]] std::string to_string(CollectiveKind kind);

enum class Algorithm {
  automatic,  ///< As NCCL would choose.
  ring,
  tree,        ///< Double binary tree between domains, a chain inside.
  in_switch,   ///< NVLS: the NVSwitch reduces; a tree between domains.
  in_network,  ///< SHARP: the switches between domains reduce; NVLS or a ring inside.
  pairwise,    ///< Every rank sends to every other directly.
};
[[nodiscard]] std::string to_string(Algorithm algorithm);

struct CollectiveRequest {
  CollectiveKind kind = CollectiveKind::all_reduce;
  std::vector<int> ranks;  ///< GPU ids; send_receive: {sender, receiver}.
  /// all_reduce: the buffer; reduce_scatter: the input; all_gather: the output; all_to_all: what
  /// one rank sends, its own part included; send_receive, ring_shift: one message. As nccl-tests
  /// counts "size".
  Bytes bytes{0};
  core::DataType type = core::DataType::bf16;
  int channels = 0;  ///< SMs (CTAs) it may use; 0: as many as the library takes.
  Algorithm algorithm = Algorithm::automatic;
  /// Other groups that run the same operation at the same time and share links with this one.
  std::vector<std::vector<int>> beside;
  /// Every GPU of the cluster is in a group of this shape that runs the same (sibling_groups); the
  /// slowest of them gives the time.
  bool tiled = false;
};

struct CollectiveResult {
  Time time{0};
  Time lower{0};  ///< 90 % interval.
  Time upper{0};
  core::Grade grade = core::Grade::assumed;
  Algorithm algorithm = Algorithm::ring;
  Protocol protocol = Protocol::simple;
  int channels = 0;          ///< SMs in use.
  double bus_bandwidth = 0;  ///< Bytes/s, as nccl-tests defines busbw.
  /// Sent per rank, mean, by what it crosses (bytes; relays by NVLink count).
  std::map<LinkClass, double> bytes_per_rank;
  double hbm_bytes_per_rank =
      0;                ///< Read and written in the memory of one GPU, by itself and peers.
  std::string binding;  ///< latency, nvlink, rdma, network or channels: what most time is due to.
  bool folded = false;  ///< Two domains stood for all (CollectiveTraffic).
};

/// Collectives on one cluster. Rates that depend on ranks alone are kept, so asking for many sizes
/// of one group is cheap. Models steady rates of the chosen algorithm on the links that it crosses;
/// does not model stragglers, other jobs' traffic, or NCCL's set-up.
class CollectiveModel {
 public:
  CollectiveModel(const Topology& topology, const FabricParameters& parameters,
                  Folding folding = Folding::automatic);

  /// Throws Refusal (illegal_combination) for repeated or unknown ranks or a bad algorithm.
  [[nodiscard]] CollectiveResult run(const CollectiveRequest& request);

  /// Part of its NICs' rate that an exchange between domains gets beside its siblings, (0, 1].
  [[nodiscard]] double network_share(const std::vector<int>& ranks) {
    return traffic_.network_share(ranks);
  }
  [[nodiscard]] const Topology& topology() const { return topology_; }
  [[nodiscard]] const FabricParameters& parameters() const { return parameters_; }

 private:
  void check(const CollectiveRequest& request) const;
  [[nodiscard]] CollectiveResult run_ring(const CollectiveRequest& request, const Placement& at,
                                          Protocol protocol);
  [[nodiscard]] CollectiveResult run_tree(const CollectiveRequest& request, const Placement& at,
                                          Algorithm algorithm, Protocol protocol);
  [[nodiscard]] CollectiveResult run_pairwise(const CollectiveRequest& request,
                                              const Placement& at);
  [[nodiscard]] CollectiveResult run_in_network(const CollectiveRequest& request,
                                                const Placement& at);
  [[nodiscard]] LinkEfficiency ring_efficiency(const Placement& at, Protocol protocol) const;
  [[nodiscard]] const Throughput& ring_throughput(const CollectiveRequest& request,
                                                  const Placement& at, Protocol protocol);
  [[nodiscard]] double network_rate(const CollectiveRequest& request, const Placement& at,
                                    Protocol protocol);
  [[nodiscard]] const PairwiseCost& pairwise_cost(CollectiveKind kind) const;
  [[nodiscard]] double pairwise_latency(const CollectiveRequest& request, const Placement& at,
                                        double message) const;
  [[nodiscard]] const Throughput& pairwise_throughput(const CollectiveRequest& request,
                                                      const Placement& at);
  [[nodiscard]] CollectiveResult finish(const CollectiveRequest& request, const Placement& at,
                                        double latency_us, double transfer_us, double ramp_us,
                                        const std::string& binding) const;

  const Topology& topology_;
  FabricParameters parameters_;
  CollectiveTraffic traffic_;
};

}  // namespace tessera::fabric
