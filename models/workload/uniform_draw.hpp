#pragma once

#include <cstdint>
#include <vector>

#include "models/workload/power_law_draw.hpp"

namespace tessera::workload {

/// Tokens that choose `top_k` different experts each, all experts alike.
struct UniformDraw {
  std::int64_t tokens = 0;  ///< Of all ranks.
  std::int64_t top_k = 1;
  std::int64_t experts = 1;
  std::int64_t ranks = 1;  ///< Divides experts; neighbours share a rank.
  /// Experts lie in as many equal groups, neighbours together; a token chooses within group_limit
  /// of them, all groups alike. 0: in all.
  std::int64_t groups = 1;
  std::int64_t group_limit = 0;
  friend auto operator<=>(const UniformDraw&, const UniformDraw&) = default;
};

/// The ranks with the most rows in `draws` independent draws; the first of equals. Deterministic in
/// its arguments. Requires: tokens and draws above 0, top_k at most the experts of group_limit
/// groups.
[[nodiscard]] std::vector<HeaviestRank> draw_uniform_ranks(const UniformDraw& draw, int draws);

}  // namespace tessera::workload
