#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "calibrate/csv_table.hpp"
#include "models/fabric/collectives.hpp"
#include "models/fabric/expert_exchange.hpp"

/// From rows of comm_nccl, comm_deepep_normal and comm_deepep_ll to what the fabric can predict.
namespace tessera::calibrate {

/// One measured time of communication.
struct CollectiveRow {
  std::string gpu;
  std::string family;  ///< "nccl", "deepep_normal", "deepep_ll"
  std::string group;   ///< What errors are quoted by: "all_reduce half", "dispatch 2 nodes".
  Half half;
  double measured_us;
  int nodes;
  std::size_t line;    ///< Row of its file.
  std::string column;  ///< "latency_us", "dispatch_us", "combine_us"
  std::variant<fabric::CollectiveRequest, fabric::ExchangeRequest> request;
};

/// Nodes of the measured GPUs, wired as they were.
class MeasuredClusters {
 public:
  /// HGX nodes of the GPU on one leaf a plane. Throws core::Refusal (outside_model) for a GPU whose
  /// node has no NVLink, core::ConfigError for an unknown one.
  const fabric::Topology& cluster(const std::string& gpu, int nodes);
  const device::DeviceSpec& device(const std::string& gpu);

 private:
  std::map<std::pair<std::string, int>, std::unique_ptr<fabric::Topology>> topologies_;
  std::map<std::string, device::NodeSpec> nodes_;
};

/// The rows of one file, by its stem ("comm_nccl", ...) as the header names columns. Rows of GPUs
/// without NVLink are left out; rows that software distorted (DeepEP on eight nodes, whose fabric
/// was congested) only when `trusted_only`.
[[nodiscard]] std::vector<CollectiveRow> collective_rows(const CsvTable& table,
                                                         const std::string& stem,
                                                         MeasuredClusters& clusters,
                                                         bool trusted_only);

struct PredictedTime {
  double microseconds;
  double lower;
  double upper;
};

/// Predictions of rows of one generation, in their order.
[[nodiscard]] std::vector<PredictedTime> predict(const std::vector<CollectiveRow>& rows,
                                                 MeasuredClusters& clusters,
                                                 const fabric::FabricParameters& parameters);

}  // namespace tessera::calibrate
