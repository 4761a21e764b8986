#pragma once

#include <vector>

#include "models/fabric/token_routing.hpp"
#include "models/fabric/topology.hpp"
#include "models/workload/routing.hpp"

namespace tessera::app {

/// Where the tokens of `load` go when its expert ranks are these GPUs: as counted where every
/// NVLink domain holds one of the load's nodes, in order; otherwise from its totals.
[[nodiscard]] fabric::TokenReach reach_of(const workload::RoutedLoad& load,
                                          const fabric::Topology& topology,
                                          const std::vector<int>& gpus);

}  // namespace tessera::app
