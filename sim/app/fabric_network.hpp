#pragma once

#include <cstdint>
#include <map>
#include <tuple>

#include "models/device/cluster_spec.hpp"
#include "models/fabric/collectives.hpp"
#include "models/fabric/expert_exchange.hpp"
#include "models/fabric/topology.hpp"
#include "models/training/network_timer.hpp"
#include "models/training/training.hpp"

namespace tessera::app {

/// Answers the training model's questions about communication with the fabric model.
class FabricNetworkTimer : public training::NetworkTimer {
 public:
  /// Throws core::Refusal for clusters that the fabric model does not know.
  FabricNetworkTimer(const device::ClusterSpec& cluster, const training::TrainingJob& job,
                     fabric::Folding folding = fabric::Folding::automatic);

  training::NetworkCost exchange(const training::ExpertExchange& exchange) override;
  training::NetworkCost send(int from_gpu, int to_gpu, core::Bytes size) override;
  training::NetworkCost ring_shift(const std::vector<int>& gpus, core::Bytes size) override;
  training::NetworkCost all_reduce(const std::vector<int>& gpus, core::Bytes size) override;
  training::NetworkCost reduce_scatter(const std::vector<int>& gpus, core::Bytes size) override;
  training::NetworkCost all_gather(const std::vector<int>& gpus, core::Bytes size) override;
  training::NetworkCost all_to_all(const std::vector<int>& gpus, core::Bytes size) override;

  /// Whether GPUs stand for each other on the network, and why, as a report says it; "" without
  /// one.
  [[nodiscard]] std::string folding_note() const;
  /// Name and hash of the fabric's fit.
  [[nodiscard]] const fabric::FabricParameters& parameters() const { return parameters_; }

 private:
  training::NetworkCost collective(fabric::CollectiveKind kind, const std::vector<int>& gpus,
                                   core::Bytes size);

  const training::TrainingJob& job_;
  fabric::Folding folding_;
  fabric::Topology topology_;
  fabric::FabricParameters parameters_;
  fabric::CollectiveModel collectives_;
  fabric::ExchangeModel exchanges_;
};

}  // namespace tessera::app
