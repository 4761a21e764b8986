#pragma once

#include <vector>

#include "models/fabric/topology.hpp"

namespace tessera::fabric {

/// Groups of the same shape as `gpus` in the same domains: every member moved by as many slots
/// (round the domain). No GPU is in two of them or in `gpus` as well. Where a job's groups tile
/// its domains, as tensor- and data-parallel groups do, these are the ones that run beside it.
[[nodiscard]] std::vector<std::vector<int>> sibling_groups(const Topology& topology,
                                                           const std::vector<int>& gpus);

}  // namespace tessera::fabric
