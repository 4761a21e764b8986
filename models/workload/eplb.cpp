#include "models/workload/eplb.hpp"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace tessera::workload {
namespace {

using Indices = std::vector<std::size_t>;

/// Deals items to `packs` packs of equal count, heaviest first, each to the lightest pack with
/// room. Returns the items of each pack in the order in which they came.
std::vector<Indices> pack(const std::vector<double>& weights, std::size_t packs) {
  const std::size_t room = weights.size() / packs;
  Indices order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (room > 1)  // one item a pack stays where it is
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  std::vector<Indices> held(packs);
  std::vector<double> load(packs, 0);
  for (const std::size_t item : order) {
    std::size_t lightest = packs;
    for (std::size_t p = 0; p < packs; ++p)
      if (held[p].size() < room && (lightest == packs || (room > 1 && load[p] < load[lightest])))
        lightest = p;
    held[lightest].push_back(item);
    load[lightest] += weights[item];
  }
  return held;
}

/// Items that fill `slots`: each once, then again and again the one with the most weight a replica.
struct Replicas {
  Indices items;                ///< By slot.
  std::vector<double> weights;  ///< By slot: of the item over its replicas.
};
Replicas replicate(const std::vector<double>& weights, std::size_t slots) {
  Replicas replicas;
  std::vector<double> count(weights.size(), 1);
  replicas.items.resize(weights.size());
  std::iota(replicas.items.begin(), replicas.items.end(), std::size_t{0});
  while (replicas.items.size() < slots) {
    std::size_t heaviest = 0;
    for (std::size_t i = 1; i < weights.size(); ++i)
      if (weights[i] / count[i] > weights[heaviest] / count[heaviest]) heaviest = i;
    ++count[heaviest];
    replicas.items.push_back(heaviest);
  }
  for (const std::size_t item : replicas.items)
    replicas.weights.push_back(weights[item] / count[item]);
  return replicas;
}

}  // namespace

std::vector<std::vector<std::int64_t>> ExpertPlacement::slots_of_experts(
    std::int64_t experts) const {
  std::vector<std::vector<std::int64_t>> of(static_cast<std::size_t>(experts));
  for (std::size_t slot = 0; slot < expert_of_slot.size(); ++slot)
    of[static_cast<std::size_t>(expert_of_slot[slot])].push_back(static_cast<std::int64_t>(slot));
  return of;
}

ExpertPlacement linear_placement(std::int64_t experts, std::int64_t ranks) {
  assert(experts % ranks == 0 && "experts must be checked to divide over ranks");
  ExpertPlacement placement{ranks, std::vector<int>(static_cast<std::size_t>(experts))};
  std::iota(placement.expert_of_slot.begin(), placement.expert_of_slot.end(), 0);
  return placement;
}

ExpertPlacement balance_experts(const std::vector<double>& loads, const BalancerShape& shape) {
  const bool hierarchical = shape.groups % shape.nodes == 0;
  const auto groups = static_cast<std::size_t>(hierarchical ? shape.groups : 1);
  const auto nodes = static_cast<std::size_t>(hierarchical ? shape.nodes : 1);
  const auto ranks = static_cast<std::size_t>(shape.ranks);
  const auto slots = static_cast<std::size_t>(shape.slots);
  assert(loads.size() % groups == 0 && slots % ranks == 0 && ranks % nodes == 0 &&
         slots >= loads.size() && "the shape must be checked against the experts");
  const std::size_t size = loads.size() / groups;
  std::vector<double> of_group(groups, 0);
  for (std::size_t e = 0; e < loads.size(); ++e) of_group[e / size] += loads[e];

  ExpertPlacement placement{shape.ranks, {}};
  for (const Indices& own_groups : pack(of_group, nodes)) {
    Indices experts;
    std::vector<double> weights;
    for (const std::size_t group : own_groups)
      for (std::size_t e = group * size; e < (group + 1) * size; ++e) {
        experts.push_back(e);
        weights.push_back(loads[e]);
      }
    const Replicas replicas = replicate(weights, slots / nodes);
    for (const Indices& on_rank : pack(replicas.weights, ranks / nodes))
      for (const std::size_t slot : on_rank)
        placement.expert_of_slot.push_back(static_cast<int>(experts[replicas.items[slot]]));
  }
  return placement;
}

}  // namespace tessera::workload
