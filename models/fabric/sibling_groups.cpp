#include "models/fabric/sibling_groups.hpp"

#include <algorithm>

namespace tessera::fabric {

namespace {

/// Takes groups as long as they share no GPU.
class Tiling {
 public:
  Tiling(const Topology& topology, const std::vector<int>& gpus)
      : slots_(topology.spec().gpus_per_domain),
        domains_(topology.spec().domains),
        taken_(static_cast<std::size_t>(topology.gpus()), 0) {
    for (const int gpu : gpus) taken_[static_cast<std::size_t>(gpu)] = 1;
  }

  /// Adds `gpus` moved by so many slots and domains if nobody else has one of them.
  void offer(const std::vector<int>& gpus, int slots, int domains) {
    const auto moved = [&](int gpu) {
      return (gpu / slots_ + domains) % domains_ * slots_ + (gpu % slots_ + slots) % slots_;
    };
    for (const int gpu : gpus)
      if (taken_[static_cast<std::size_t>(moved(gpu))]) return;
    std::vector<int>& group = groups_.emplace_back();
    for (const int gpu : gpus) {
      group.push_back(moved(gpu));
      taken_[static_cast<std::size_t>(group.back())] = 1;
    }
  }

  void offer_slots(const std::vector<int>& gpus, int domains) {
    for (int shift = domains == 0 ? 1 : 0; shift < slots_; ++shift) offer(gpus, shift, domains);
  }

  std::vector<std::vector<int>> groups_;

 private:
  int slots_, domains_;
  std::vector<char> taken_;
};

}  // namespace

std::vector<std::vector<int>> sibling_groups_in_domains(const Topology& topology,
                                                        const std::vector<int>& gpus) {
  Tiling tiling{topology, gpus};
  tiling.offer_slots(gpus, 0);
  return std::move(tiling.groups_);
}

std::vector<std::vector<int>> sibling_groups(const Topology& topology,
                                             const std::vector<int>& gpus) {
  Tiling tiling{topology, gpus};
  tiling.offer_slots(gpus, 0);
  const bool faulty = !topology.spec().faults.empty();
  const bool leaves = std::any_of(gpus.begin(), gpus.end(), [&](int gpu) {
    return topology.domain_of(gpu) != topology.domain_of(gpus.front());
  });
  for (int shift = 1; (leaves || faulty) && shift < topology.spec().domains; ++shift)
    tiling.offer_slots(gpus, shift);
  return std::move(tiling.groups_);
}

}  // namespace tessera::fabric
