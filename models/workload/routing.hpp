#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/eplb.hpp"
#include "models/workload/expert_skew.hpp"
#include "models/workload/recorded_routing.hpp"

namespace tessera::workload {

/// How tokens choose experts, and where the experts lie.
struct RoutingSpec {
  enum class Kind {
    uniform,    ///< Every expert gets its expected share.
    power_law,  ///< Expert popularity drawn from a bounded power law, tokens sampled by it.
    recorded,   ///< Loads, or tokens' choices, that somebody recorded.
    published,  ///< Loads drawn to published moments.
  };
  enum class Placement {
    linear,  ///< Neighbouring experts share a rank.
    eplb,    ///< balance_experts decides, with `redundant_experts` replicas.
  };
  Kind kind = Kind::uniform;
  double alpha = 1.0;           ///< Exponent of the density x^-alpha on [1, experts]; > 0.
  std::uint64_t seed = 1;       ///< Of popularity and of the sampled tokens.
  std::int64_t node_limit = 0;  ///< Expert groups (nodes) one token may use; 0: no limit. A model
                                ///< without groups has one a node.
  std::shared_ptr<const RecordedRouting> recorded;  ///< Of Kind::recorded.
  PublishedSkew skew;                               ///< Of Kind::published.
  /// Layers that are drawn; the one whose hottest rank is nearest to their mean stands for all.
  std::int64_t layers = 1;

  Placement placement = Placement::linear;
  std::int64_t redundant_experts = 0;  ///< Slots beyond one an expert; of Placement::eplb.
  /// What the balancer knows; at most one of these. None: the very loads that it then balances,
  /// which no deployment can know.
  std::int64_t placement_window = 0;  ///< Counts over this many earlier tokens of the same traffic.
  std::optional<std::uint64_t> placement_seed;  ///< Loads of another draw: other traffic.
  std::shared_ptr<const RecordedRouting> placement_recorded;  ///< Loads recorded elsewhere.
};

/// Uniform, with the limit on groups of the model's own gate.
[[nodiscard]] RoutingSpec usual_routing(const MixtureOfExperts& moe);

/// Rows of one MoE layer on the slots of one expert-parallel group. A slot holds one expert's
/// weights; with linear placement slot e holds expert e.
struct SlotLoad {
  std::vector<std::int64_t> rows;     ///< By slot; sums to tokens_per_rank * ranks * top_k.
  std::int64_t experts_per_rank = 1;  ///< Slots of one rank; slot s lies on rank s / this.
  std::vector<int> expert_of_slot;
  std::vector<std::int64_t> expert_rows;  ///< By expert: of all its replicas.
  std::int64_t experts_of_token = 1;      ///< top_k
  std::int64_t hottest_rank = 0;
  double skew = 1;  ///< Rows of the hottest rank over the mean.

  [[nodiscard]] std::int64_t ranks() const {
    return static_cast<std::int64_t>(rows.size()) / experts_per_rank;
  }
  /// Rows of every slot on one rank.
  [[nodiscard]] std::vector<std::int64_t> rows_on(std::int64_t rank) const;
  [[nodiscard]] std::int64_t total_on(std::int64_t rank) const;
  /// Rows by rank, as spread_of takes them.
  [[nodiscard]] std::vector<double> rank_rows() const;
};

/// The same with what one token reaches.
struct RoutedLoad : SlotLoad {
  /// Mean number of distinct places that a token's rows go to, its own included.
  double ranks_per_token = 1;
  double nodes_per_token = 1;
  /// Part of the tokens that send something to a rank or node; sum to the means above.
  std::vector<double> rank_probability;
  std::vector<double> node_probability;
  /// Whether loads, places or groups are other than the gate's own with experts in order, so that
  /// an exchange must take the places from here instead of gating tokens by itself.
  bool placed = false;
};

/// Routes `tokens_per_rank` tokens of each of `ranks` ranks. Choice of a token: experts' scores are
/// log popularity plus Gumbel noise (sampling without replacement), of recorded and published loads
/// their log odds plus logistic noise (ExpertGate); groups are kept by the sum of their best
/// top_k / node_limit scores (arXiv 2412.19437, section 2.1.2); then the best top_k of what is
/// left. Uniform, recorded and published loads are taken as they are; only places per token are
/// sampled then, or counted where tokens' choices were recorded. The rows of an expert go to its
/// replicas in turn, evenly (assumed: no preference for near ones).
/// Ranks that do not fill nodes leave the last one with fewer. Deterministic in `spec`. Throws
/// core::Refusal when experts or slots do not divide over ranks, or over nodes where these are the
/// limit's groups, the limit leaves fewer than top_k experts, or an expert would get more rows than
/// there are tokens.
[[nodiscard]] RoutedLoad route(const MixtureOfExperts& moe, const RoutingSpec& spec,
                               std::int64_t tokens_per_rank, std::int64_t ranks,
                               std::int64_t ranks_per_node);

/// Rows of `layers` layers, each drawn for itself; of a recording, its layers in turn. Uniform ones
/// are all alike. Otherwise as route().
[[nodiscard]] std::vector<SlotLoad> route_layers(const MixtureOfExperts& moe,
                                                 const RoutingSpec& spec,
                                                 std::int64_t tokens_per_rank, std::int64_t ranks,
                                                 std::int64_t ranks_per_node, std::int64_t layers);

/// Of `loads`, the one whose skew is nearest to their mean, the first of equals. Requires: one.
[[nodiscard]] std::size_t most_typical(const std::vector<SlotLoad>& loads);

}  // namespace tessera::workload
