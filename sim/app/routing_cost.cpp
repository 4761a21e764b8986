#include "sim/app/routing_cost.hpp"

#include <numeric>

#include "models/device/fit_file.hpp"
#include "sim/app/routed_reach.hpp"

namespace tessera::app {

double LayerCost::seconds() const {
  return core::to_seconds(dispatch.time).value() + gate_up_seconds + down_seconds +
         core::to_seconds(combine.time).value();
}

LayerCosts::LayerCosts(const device::ClusterSpec& cluster, gpu::Fidelity fidelity)
    : topology_(fabric::topology_of(cluster)),
      exchanges_(topology_, fabric::load_parameters(cluster.node.device)),
      gpu_(cluster.node.device, device::load_fit_for(cluster.node.device),
           kernels::ImplementationLibrary::load(), fidelity) {}

LayerCost LayerCosts::cost(const workload::Architecture& architecture,
                           const workload::RoutedLoad& load, double tokens_per_rank,
                           const LayerChoice& choice) {
  const workload::MixtureOfExperts& moe = architecture.moe;
  fabric::ExchangeRequest request;
  request.kind = choice.exchange;
  request.ranks.resize(static_cast<std::size_t>(load.ranks()));
  std::iota(request.ranks.begin(), request.ranks.end(), 0);
  request.tokens = tokens_per_rank;
  request.hidden = static_cast<int>(architecture.hidden);
  const bool low_latency = choice.exchange == fabric::ExchangeKind::low_latency;
  request.sms = low_latency ? gpu_.device().sm.count : choice.sms;
  request.routing.experts = static_cast<int>(load.rows.size());
  request.routing.top_k = static_cast<int>(moe.top_k);
  request.reach = reach_of(load, topology_, request.ranks);

  LayerCost cost;
  request.type = choice.type == core::DataType::fp8_block ? choice.type : core::DataType::bf16;
  cost.dispatch = exchanges_.run(request);
  request.direction = fabric::ExchangeDirection::combine;
  request.type = core::DataType::bf16;
  cost.combine = exchanges_.run(request);
  workload::GroupedGemm product{.sizes = load.rows_on(load.hottest_rank),
                                .n = moe.up_columns(),
                                .fixed = architecture.hidden,
                                .type = choice.type,
                                .masked = low_latency};
  const auto seconds = [&] { return core::to_seconds(gpu_.run(product, {}).time).value(); };
  cost.gate_up_seconds = seconds();
  product.n = architecture.hidden;
  product.fixed = moe.intermediate;
  cost.down_seconds = seconds();
  return cost;
}

}  // namespace tessera::app
