#pragma once

#include <string>

#include "models/device/cluster_spec.hpp"
#include "models/fabric/expert_exchange.hpp"
#include "models/gpu/analytical.hpp"
#include "models/gpu/gpu.hpp"
#include "models/workload/architecture.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/data_type.hpp"

namespace tessera::app {

/// How one MoE layer is asked for: its exchange and its experts' products.
struct LayerChoice {
  fabric::ExchangeKind exchange = fabric::ExchangeKind::low_latency;
  int sms = 20;  ///< Of a normal exchange; low latency takes all.
  core::DataType type = core::DataType::fp8_block;
};

/// One MoE layer on the rank that has the most to do. Without overlap.
struct LayerCost {
  fabric::ExchangeResult dispatch;
  fabric::ExchangeResult combine;
  double gate_up_seconds = 0;  ///< Grouped products of the hottest rank.
  double down_seconds = 0;
  [[nodiscard]] double seconds() const;
};

/// Costs of routed layers on the first ranks of one cluster.
class LayerCosts {
 public:
  /// Throws core::Refusal for clusters or implementations that Tessera does not know.
  LayerCosts(const device::ClusterSpec& cluster, gpu::Fidelity fidelity);

  /// The experts' products and the exchange of `load`, `tokens_per_rank` tokens a rank. Throws
  /// core::Refusal as ExchangeModel does.
  [[nodiscard]] LayerCost cost(const workload::Architecture& architecture,
                               const workload::RoutedLoad& load, double tokens_per_rank,
                               const LayerChoice& choice);

 private:
  fabric::Topology topology_;
  fabric::ExchangeModel exchanges_;
  gpu::Gpu gpu_;
};

}  // namespace tessera::app
