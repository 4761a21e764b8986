#include "models/workload/uniform_draw.hpp"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>
#include <random>

namespace tessera::workload {

namespace {

constexpr std::uint64_t kSeed = 20250822;  ///< Any: results are means over draws.

class Tokens {
 public:
  explicit Tokens(const UniformDraw& draw)
      : draw_(draw), order_(static_cast<std::size_t>(draw.experts)) {
    std::iota(order_.begin(), order_.end(), 0);
  }

  HeaviestRank next() {
    const auto experts = static_cast<std::size_t>(draw_.experts);
    const std::size_t share = experts / static_cast<std::size_t>(draw_.ranks);
    std::vector<std::int64_t> rows(experts, 0), seen(static_cast<std::size_t>(draw_.ranks), 0);
    for (std::int64_t token = 0; token < draw_.tokens; ++token) choose(rows, seen, share);
    std::size_t heaviest = 0;
    std::int64_t most = -1;
    for (std::size_t rank = 0; rank < seen.size(); ++rank) {
      const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(rank * share);
      const std::int64_t total =
          std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(share), std::int64_t{0});
      if (total > most) {
        most = total;
        heaviest = rank;
      }
    }
    const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(heaviest * share);
    HeaviestRank result{{begin, begin + static_cast<std::ptrdiff_t>(share)}, seen[heaviest]};
    std::sort(result.rows.begin(), result.rows.end(), std::greater<>{});
    return result;
  }

 private:
  /// The first places of a shuffle.
  void choose(std::vector<std::int64_t>& rows, std::vector<std::int64_t>& seen, std::size_t share) {
    std::vector<bool> here(seen.size(), false);
    for (std::size_t k = 0; k < static_cast<std::size_t>(draw_.top_k); ++k) {
      const std::size_t left = order_.size() - k;
      std::swap(order_[k], order_[k + generator_() % left]);
      ++rows[order_[k]];
      here[order_[k] / share] = true;
    }
    for (std::size_t rank = 0; rank < seen.size(); ++rank)
      if (here[rank]) ++seen[rank];
  }

  UniformDraw draw_;
  std::vector<std::size_t> order_;
  std::mt19937_64 generator_{kSeed};
};

}  // namespace

std::vector<HeaviestRank> draw_uniform_ranks(const UniformDraw& draw, int draws) {
  assert(draw.tokens > 0 && draws > 0 && draw.top_k <= draw.experts &&
         draw.experts % draw.ranks == 0 && "experts divide into ranks and hold top_k");
  Tokens tokens{draw};
  std::vector<HeaviestRank> ranks;
  for (int i = 0; i < draws; ++i) ranks.push_back(tokens.next());
  return ranks;
}

}  // namespace tessera::workload
