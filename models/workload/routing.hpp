#pragma once

#include <cstdint>
#include <vector>

#include "models/workload/architecture.hpp"

namespace tessera::workload {

/// How tokens choose experts.
struct RoutingSpec {
  enum class Kind {
    uniform,    ///< Every expert gets its expected share.
    power_law,  ///< Expert popularity drawn from a bounded power law, tokens sampled by it.
  };
  Kind kind = Kind::uniform;
  double alpha = 1.0;           ///< Exponent of the density x^-alpha on [1, experts]; > 0.
  std::uint64_t seed = 1;       ///< Of popularity and of the sampled tokens.
  std::int64_t node_limit = 0;  ///< Expert groups (nodes) one token may use; 0: no limit.
};

/// What one MoE layer's routing means for the ranks of one expert-parallel group. Expert e lives on
/// rank e / (experts / ranks).
struct RoutedLoad {
  std::vector<std::int64_t> rows;  ///< By expert; sums to tokens_per_rank * ranks * top_k.
  std::int64_t experts_per_rank = 1;
  std::int64_t hottest_rank = 0;
  double skew = 1;  ///< Rows of the hottest rank over the mean.
  /// Mean number of distinct places that a token's rows go to, its own included.
  double ranks_per_token = 1;
  double nodes_per_token = 1;

  [[nodiscard]] std::int64_t ranks() const {
    return static_cast<std::int64_t>(rows.size()) / experts_per_rank;
  }
  /// Rows of every expert on one rank.
  [[nodiscard]] std::vector<std::int64_t> rows_on(std::int64_t rank) const;
  [[nodiscard]] std::int64_t total_on(std::int64_t rank) const;
};

/// Routes `tokens_per_rank` tokens of each of `ranks` ranks. Choice of a token: experts' scores are
/// log popularity plus Gumbel noise (sampling without replacement); groups are kept by the sum of
/// their best top_k / node_limit scores (arXiv 2412.19437, section 2.1.2); then the best top_k of
/// what is left. Uniform loads are exact expectations; only places per token are sampled then.
/// Deterministic in `spec.seed`. Requires: experts divisible by ranks, ranks by ranks_per_node.
/// Throws core::Refusal when the limit leaves fewer than top_k experts.
[[nodiscard]] RoutedLoad route(const MixtureOfExperts& moe, const RoutingSpec& spec,
                               std::int64_t tokens_per_rank, std::int64_t ranks,
                               std::int64_t ranks_per_node);

}  // namespace tessera::workload
