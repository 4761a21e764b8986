#include "models/streams/costs.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tessera::streams {

Family family_of(const workload::Operator& op) {
  struct Visitor {
    Family operator()(const workload::Gemm&) const { return Family::gemm; }
    Family operator()(const workload::GroupedGemm&) const { return Family::grouped_gemm; }
    Family operator()(const workload::Attention&) const { return Family::attention; }
    Family operator()(const workload::AbsorbedAttention&) const { return Family::attention; }
    Family operator()(const workload::Stream&) const { return Family::stream; }
    Family operator()(const workload::Exchange&) const { return Family::exchange; }
    Family operator()(const workload::IndexScores&) const { return Family::attention; }
    Family operator()(const workload::SelectTopK&) const { return Family::stream; }
  };
  return std::visit(Visitor{}, op);
}

core::Time TimeRange::at(const Variation& variation) const {
  if (variation.side == Variation::Side::nominal) return value;
  if (variation.family == Family::parts && parts)
    return variation.side == Variation::Side::lower ? parts->first : parts->second;
  if (variation.family != family) return value;
  return variation.side == Variation::Side::lower ? lower : upper;
}

void TimeRange::scale(double factor) {
  const auto scaled = [factor](core::Time time) {
    return core::Time{std::llround(factor * static_cast<double>(time.value()))};
  };
  value = scaled(value);
  lower = scaled(lower);
  upper = scaled(upper);
  if (parts) parts = {scaled(parts->first), scaled(parts->second)};
}

ExchangeCost exchange_cost(const NetworkCost& network, gpu::KernelResult kernel) {
  ExchangeCost cost{.network = network};
  const bool wire = network.sms_included || network.time >= kernel.time;
  cost.time = {network.time, network.lower, network.upper,
               wire ? Family::network : Family::exchange};
  if (!network.sms_included) {
    cost.time.value = std::max(cost.time.value, kernel.time);
    cost.time.lower = std::max(cost.time.lower, kernel.lower);
    cost.time.upper = std::max(cost.time.upper, kernel.upper);
  }
  cost.hbm_bytes = kernel.hbm_bytes;
  cost.kernel = std::move(kernel);
  return cost;
}

}  // namespace tessera::streams
