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
  workload::RoutingSpec spec;  ///< The question's, with this placement.
  std::vector<workload::SlotLoad> layers;

  [[nodiscard]] bool is_linear() const {
    return spec.placement == workload::RoutingSpec::Placement::linear;
  }
};

/// Linear placement, and after it the balancer's where the question has one. Throws core::Refusal
/// as workload::route does.
[[nodiscard]] std::vector<PlacedLayers> study_routing(const RoutingQuestion& question);

/// Where tokens go in the layer that stands for all: the one whose hottest rank is nearest to their
/// mean. Dear: samples choices of tokens for whom only loads are known.
[[nodiscard]] workload::RoutedLoad typical_load(const RoutingQuestion& question,
                                                const PlacedLayers& placed);

/// "eplb, 288 slots", and what the balancer knew.
[[nodiscard]] std::string describe_placement(const PlacedLayers& placed);
/// "published moments, seed 1": what the loads are.
[[nodiscard]] std::string describe_loads(const workload::RoutingSpec& spec);

}  // namespace tessera::app
