#pragma once

#include <cstdint>

#include "models/workload/architecture.hpp"
#include "models/workload/routing.hpp"
#include "sim/core/config.hpp"

namespace tessera::app {

/// Reads the section `routing` of a scenario: how tokens choose experts of `architecture`, and
/// where the experts lie; a limit on nodes that is not stated is the architecture's. `seed` is the
/// scenario's, for draws without one of their own. Files are looked up beside the scenario. Whether
/// experts and slots divide over ranks is for workload::route to say.
[[nodiscard]] workload::RoutingSpec read_routing(const core::ConfigNode& node,
                                                 const workload::Architecture& architecture,
                                                 std::uint64_t seed);

/// Layers of `architecture` that have experts, MTP modules not counted.
[[nodiscard]] std::int64_t expert_layers(const workload::Architecture& architecture);

}  // namespace tessera::app
