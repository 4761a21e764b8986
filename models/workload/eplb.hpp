#pragma once

#include <cstdint>
#include <vector>

/// Which expert each slot of an expert-parallel group holds, and DeepSeek's balancer that decides
/// it.
namespace tessera::workload {

/// Slots of all ranks, in the order of ranks; every rank has as many.
struct ExpertPlacement {
  std::int64_t ranks = 1;
  std::vector<int> expert_of_slot;

  [[nodiscard]] std::int64_t slots() const {
    return static_cast<std::int64_t>(expert_of_slot.size());
  }
  [[nodiscard]] std::int64_t slots_per_rank() const { return slots() / ranks; }
  [[nodiscard]] std::int64_t rank_of(std::int64_t slot) const { return slot / slots_per_rank(); }
  /// Slots of each expert, ascending.
  [[nodiscard]] std::vector<std::vector<std::int64_t>> slots_of_experts(std::int64_t experts) const;
  friend bool operator==(const ExpertPlacement&, const ExpertPlacement&) = default;
};

/// Expert e in slot e. Requires: ranks divide experts.
[[nodiscard]] ExpertPlacement linear_placement(std::int64_t experts, std::int64_t ranks);

struct BalancerShape {
  std::int64_t slots = 1;   ///< At least one an expert.
  std::int64_t groups = 1;  ///< Of experts, even and in order, as the gate limits them.
  std::int64_t nodes = 1;   ///< Divides `ranks`.
  std::int64_t ranks = 1;   ///< Divides `slots`.
};

/// The expert-parallel load balancer that DeepSeek published (github.com/deepseek-ai/EPLB): the
/// heaviest item goes first, to the lightest place that has room.
///
/// Where nodes divide the groups (hierarchical): groups to nodes, as many to each; in every node
/// the expert with the most load a replica gets the next replica until its slots are full; slots to
/// the node's ranks, as many to each. Otherwise (global) the same with one group and one node.
/// Equal loads keep their order, the earlier first. Does not keep replicas of an expert on
/// different ranks: packing by load does so wherever lighter ranks have room.
/// Requires: a load an expert, none negative; groups divide experts.
[[nodiscard]] ExpertPlacement balance_experts(const std::vector<double>& loads,
                                              const BalancerShape& shape);

}  // namespace tessera::workload
