#include "models/fabric/sibling_groups.hpp"

#include <algorithm>
#include <set>

namespace tessera::fabric {

std::vector<std::vector<int>> sibling_groups(const Topology& topology,
                                             const std::vector<int>& gpus) {
  const int slots = topology.spec().gpus_per_domain;
  std::set<int> taken(gpus.begin(), gpus.end());
  std::vector<std::vector<int>> groups;
  for (int shift = 1; shift < slots; ++shift) {
    std::vector<int> group;
    for (const int gpu : gpus) group.push_back(gpu - gpu % slots + (gpu % slots + shift) % slots);
    if (std::any_of(group.begin(), group.end(), [&](int gpu) { return taken.count(gpu) > 0; }))
      continue;
    taken.insert(group.begin(), group.end());
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace tessera::fabric
