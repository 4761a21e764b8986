#pragma once

#include <cstdint>
#include <vector>

namespace tessera::workload {

/// Expert loads as routing benchmarks draw them (NVIDIA aiconfigurator, collector/helper.py): each
/// expert's popularity from the density x^-alpha between bounds, loads in proportion, none above
/// the tokens there are; what that cuts off goes to the least loaded, rank after rank.
struct PowerLawDraw {
  std::int64_t tokens = 0;  ///< Of all ranks.
  std::int64_t top_k = 1;   ///< Distinct experts of a token.
  std::int64_t experts = 1;
  std::int64_t ranks = 1;  ///< Divides experts (or slots); neighbours share a rank.
  double alpha = 1;        ///< Exponent, > 0, not 1.
  /// Rows that rounding leaves over go to the most loaded experts, one each and the first of equals
  /// first, instead of to the least loaded of every rank in turn: with fewer rows than experts, all
  /// to the first rank. So did the benchmark's earlier versions.
  bool rest_to_most_loaded = false;
  /// Places for experts when a balancer (EPLB) gives the most loaded replicas and spreads places
  /// over ranks; 0: no balancer. At least `experts`.
  std::int64_t slots = 0;
  friend auto operator<=>(const PowerLawDraw&, const PowerLawDraw&) = default;
};

/// The rank with the most rows, which sets the pace.
struct HeaviestRank {
  std::vector<std::int64_t> rows;  ///< Of its experts, most first.
  std::int64_t tokens = 0;         ///< Distinct ones among its rows.
};

/// The heaviest ranks of `draws` independent draws. Deterministic in its arguments. Requires:
/// tokens, top_k, experts and ranks above 0, top_k at most experts.
[[nodiscard]] std::vector<HeaviestRank> draw_heaviest_ranks(const PowerLawDraw& draw, int draws);

/// Expected loads, most loaded expert first: the mean of each order statistic over `ranks`, rounded
/// to whole rows so that their total is kept. Requires: at least one.
[[nodiscard]] HeaviestRank mean_of(const std::vector<HeaviestRank>& ranks);

/// Rows of the experts of rank 0 when token t takes the experts t, t + stride, t + 2 stride, ...
/// with stride = experts / top_k rounded up; fewer tokens than that are spread over a stride.
/// Source: as above, balanced_logits.
[[nodiscard]] std::vector<std::int64_t> balanced_rows(std::int64_t tokens, std::int64_t top_k,
                                                      std::int64_t experts, std::int64_t ranks);

}  // namespace tessera::workload
