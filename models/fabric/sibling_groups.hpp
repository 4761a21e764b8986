#pragma once

#include <vector>

#include "models/fabric/topology.hpp"

namespace tessera::fabric {

/// Groups of the same shape as `gpus`: every member moved by as many slots (round its domain), and
/// by as many domains (round the cluster) where the group leaves its domain or links are faulty. No
/// GPU is in two of them or in `gpus` as well. Where a job's groups tile the cluster, as tensor-
/// and data-parallel groups do, these are the ones that run beside it and may share a link with it.
[[nodiscard]] std::vector<std::vector<int>> sibling_groups(const Topology& topology,
                                                           const std::vector<int>& gpus);

/// Those of the same domains alone.
[[nodiscard]] std::vector<std::vector<int>> sibling_groups_in_domains(const Topology& topology,
                                                                      const std::vector<int>& gpus);

}  // namespace tessera::fabric
