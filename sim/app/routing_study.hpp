#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/load_spread.hpp"
#include "models/workload/routing.hpp"

namespace tessera::app {

/// Routing of every layer with experts over one expert-parallel group.
struct RoutingQuestion {
  workload::Architecture architecture;
  workload::RoutingSpec spec;
  std::int64_t tokens_per_rank = 1;
  std::int64_t ranks = 1;
  std::int64_t ranks_per_node = 1;  ///< Divides `ranks`.
  std::int64_t layers = 1;          ///< To draw.
};

/// Means over layers of each layer's own spread, as NVIDIA's report_load_statistics.py counts.
struct LayerSpreads {
  workload::LoadSpread experts;
  workload::LoadSpread slots;
  workload::LoadSpread ranks;
};
[[nodiscard]] LayerSpreads spreads_of(const std::vector<workload::SlotLoad>& layers);

/// What one placement makes of the same rows.
struct PlacedLayers {
  workload::RoutingSpec::Placement placement = workload::RoutingSpec::Placement::linear;
  std::vector<workload::SlotLoad> layers;
  LayerSpreads spreads;
  std::size_t typical_layer = 0;  ///< Whose hottest rank is nearest to the layers' mean.
  workload::RoutedLoad typical;
};

/// Linear placement, and after it the balancer's where the question has one. Throws core::Refusal
/// as workload::route does.
[[nodiscard]] std::vector<PlacedLayers> study_routing(const RoutingQuestion& question);

/// "eplb, 288 slots", and what the balancer knew.
[[nodiscard]] std::string describe_placement(const RoutingQuestion& question,
                                             const PlacedLayers& placed);
/// "published moments, seed 1": what the loads are.
[[nodiscard]] std::string describe_loads(const workload::RoutingSpec& spec);

}  // namespace tessera::app
