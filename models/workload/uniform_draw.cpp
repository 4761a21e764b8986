#include "models/workload/uniform_draw.hpp"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>
#include <random>

namespace tessera::workload {

namespace {

constexpr std::uint64_t kSeed = 20250822;  ///< Any: results are means over draws.

std::size_t open_groups(const UniformDraw& draw) {
  return static_cast<std::size_t>(draw.group_limit > 0 ? draw.group_limit : draw.groups);
}

class Tokens {
 public:
  explicit Tokens(const UniformDraw& draw)
      : draw_(draw),
        groups_(static_cast<std::size_t>(draw.groups)),
        open_(open_groups(draw)),
        group_experts_(static_cast<std::size_t>(draw.experts) / groups_.size()),
        order_(open_ * group_experts_) {
    std::iota(groups_.begin(), groups_.end(), 0);
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
  /// Puts `count` of the places in front, drawn without putting back.
  void shuffle(std::vector<std::size_t>& places, std::size_t count) {
    for (std::size_t k = 0; k < count; ++k)
      std::swap(places[k], places[k + generator_() % (places.size() - k)]);
  }

  /// Groups first, then experts of theirs.
  void choose(std::vector<std::int64_t>& rows, std::vector<std::int64_t>& seen, std::size_t share) {
    std::vector<bool> here(seen.size(), false);
    if (open_ < groups_.size()) shuffle(groups_, open_);
    const auto top_k = static_cast<std::size_t>(draw_.top_k);
    shuffle(order_, top_k);
    for (std::size_t k = 0; k < top_k; ++k) {
      const std::size_t expert =
          groups_[order_[k] / group_experts_] * group_experts_ + order_[k] % group_experts_;
      ++rows[expert];
      here[expert / share] = true;
    }
    for (std::size_t rank = 0; rank < seen.size(); ++rank)
      if (here[rank]) ++seen[rank];
  }

  UniformDraw draw_;
  std::vector<std::size_t> groups_;  ///< Those of the last token first.
  std::size_t open_;                 ///< Groups of a token.
  std::size_t group_experts_;
  std::vector<std::size_t> order_;  ///< Experts of a token's groups, the chosen ones first.
  std::mt19937_64 generator_{kSeed};
};

}  // namespace

std::vector<HeaviestRank> draw_uniform_ranks(const UniformDraw& draw, int draws) {
  assert(draw.tokens > 0 && draws > 0 && "something is drawn");
  assert(draw.experts % draw.ranks == 0 && draw.experts % draw.groups == 0 &&
         "experts divide into ranks and groups");
  assert(draw.group_limit <= draw.groups &&
         draw.top_k <= draw.experts / draw.groups * static_cast<std::int64_t>(open_groups(draw)) &&
         "a token's groups hold top_k");
  Tokens tokens{draw};
  std::vector<HeaviestRank> ranks;
  for (int i = 0; i < draws; ++i) ranks.push_back(tokens.next());
  return ranks;
}

}  // namespace tessera::workload
