#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "calibrate/csv_table.hpp"
#include "models/fabric/collectives.hpp"
#include "models/fabric/direct_reduce.hpp"
#include "models/fabric/expert_exchange.hpp"

/// From rows of comm_*.csv to what the fabric can predict.
namespace tessera::calibrate {

/// One measured time of communication.
struct CollectiveRow {
  std::string gpu;
  std::string family;   ///< "nccl", "custom_allreduce", "deepep_normal", "deepep_ll"; of
                        ///< comm_vidur "vidur_send", "vidur_pcie" (in a node) and "vidur"
  std::string harness;  ///< Key of FabricParameters::harness_us.
  std::string group;    ///< What errors are quoted by: "all_reduce half", "dispatch 2 nodes".
  std::string shape;    ///< The same of rows that differ in type or GPU alone.
  Half half;
  double measured_us;
  int nodes;
  int domains;         ///< That the ranks fill: nodes, or racks of them that NVLink joins.
  std::size_t line;    ///< Row of its file.
  std::string column;  ///< "latency_us", "dispatch_us", "combine_us"
  std::variant<fabric::CollectiveRequest, fabric::DirectReduceRequest, fabric::ExchangeRequest>
      request;
};

/// Nodes of the measured GPUs, wired as they were.
class MeasuredClusters {
 public:
  /// Nodes of the GPU (or of a server by its own name) on one leaf a plane. Throws
  /// core::ConfigError for an unknown one.
  const fabric::Topology& cluster(const std::string& gpu, int domains);
  /// What that topology is made from.
  device::ClusterSpec spec(const std::string& gpu, int domains);
  const device::DeviceSpec& device(const std::string& gpu);
  const device::NodeSpec& node(const std::string& gpu);

 private:
  std::map<std::pair<std::string, int>, std::unique_ptr<fabric::Topology>> topologies_;
  std::map<std::string, device::NodeSpec> nodes_;
};

/// The rows of one file, by its stem ("comm_nccl", ...) as the header names columns. Rows of
/// unknown GPUs and collectives are left out, and counted by reason in `reasons` where given; rows
/// that software distorted (DeepEP on eight nodes, whose fabric was congested) only when
/// `trusted_only`.
[[nodiscard]] std::vector<CollectiveRow> collective_rows(
    const CsvTable& table, const std::string& stem, MeasuredClusters& clusters, bool trusted_only,
    std::map<std::string, std::size_t>* reasons = nullptr);

struct PredictedTime {
  double microseconds;
  double lower;
  double upper;
  bool by_nccl;  ///< Or left to it.
};

/// Predictions of rows of one generation, in their order; NaN where the model refuses, which is
/// counted in `reasons` where given.
[[nodiscard]] std::vector<PredictedTime> predict(
    const std::vector<CollectiveRow>& rows, MeasuredClusters& clusters,
    const fabric::FabricParameters& parameters,
    std::map<std::string, std::size_t>* reasons = nullptr);

}  // namespace tessera::calibrate
