#pragma once

#include <cstdint>
#include <map>
#include <tuple>

#include "models/device/cluster_spec.hpp"
#include "models/fabric/collectives.hpp"
#include "models/fabric/direct_reduce.hpp"
#include "models/fabric/expert_exchange.hpp"
#include "models/fabric/topology.hpp"
#include "models/streams/network_timer.hpp"
#include "models/workload/architecture.hpp"
#include "models/workload/routing.hpp"

namespace tessera::app {

/// fabric::load_parameters, read once in a process.
[[nodiscard]] const fabric::FabricParameters& fabric_parameters(const device::DeviceSpec& device);

/// Answers engines' questions about communication with the fabric model.
class FabricNetworkTimer : public streams::NetworkTimer {
 public:
  /// Throws core::Refusal for clusters that the fabric model does not know.
  FabricNetworkTimer(const device::ClusterSpec& cluster, const workload::MixtureOfExperts& moe,
                     const workload::RoutingSpec& routing,
                     fabric::Folding folding = fabric::Folding::automatic);
  /// With a fabric's parameters from elsewhere.
  FabricNetworkTimer(const device::ClusterSpec& cluster, const workload::MixtureOfExperts& moe,
                     const workload::RoutingSpec& routing, fabric::Folding folding,
                     fabric::FabricParameters parameters);

  streams::NetworkCost exchange(const streams::ExpertExchange& exchange) override;
  streams::NetworkCost send(int from_gpu, int to_gpu, core::Bytes size) override;
  streams::NetworkCost ring_shift(const std::vector<int>& gpus, core::Bytes size) override;
  streams::NetworkCost all_reduce(const std::vector<int>& gpus, core::Bytes size) override;
  streams::NetworkCost all_reduce_by(fabric::ReduceLibrary library, const std::vector<int>& gpus,
                                     core::Bytes size) override;
  streams::NetworkCost reduce_scatter(const std::vector<int>& gpus, core::Bytes size) override;
  streams::NetworkCost all_gather(const std::vector<int>& gpus, core::Bytes size) override;
  streams::NetworkCost all_to_all(const std::vector<int>& gpus, core::Bytes size) override;

  /// Whether GPUs stand for each other on the network, and why, as a report says it; "" without
  /// one.
  [[nodiscard]] std::string folding_note() const;
  /// Name and hash of the fabric's fit.
  [[nodiscard]] const fabric::FabricParameters& parameters() const { return parameters_; }

 private:
  streams::NetworkCost collective(fabric::CollectiveKind kind, const std::vector<int>& gpus,
                                  core::Bytes size);

  workload::MixtureOfExperts moe_;
  workload::RoutingSpec routing_;
  fabric::Folding folding_;
  fabric::Topology topology_;
  fabric::FabricParameters parameters_;
  fabric::CollectiveModel collectives_;
  fabric::ExchangeModel exchanges_;
  fabric::DirectReduceModel direct_;
};

}  // namespace tessera::app
