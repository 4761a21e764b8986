#include "models/workload/power_law_draw.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <queue>
#include <random>

namespace tessera::workload {
namespace {

using Loads = std::vector<std::int64_t>;

// Bounds of the popularity, and their use, as in the benchmark.
constexpr double kLowest = 1;
constexpr double kHighestShare = 0.8;  ///< Of the tokens.
constexpr double kLowestOfFew = 0.01;  ///< Where there are no more rows than experts.
constexpr double kHighestOfFew = 2;

/// Uniform in (0, 1), the same on every machine.
double uniform(std::mt19937_64& generator) {
  constexpr double kUlp = 1.0 / 9007199254740992.0;  // 2^-53
  return (static_cast<double>(generator() >> 11) + 0.5) * kUlp;
}

std::int64_t sum(const Loads& loads) {
  return std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
}

/// Adds `rows` to the least loaded (or takes -rows from the most loaded) of [first, last), one
/// after another, within [0, cap]. Returns what found no place.
std::int64_t level(Loads::iterator first, Loads::iterator last, std::int64_t rows,
                   std::int64_t cap) {
  const std::int64_t step = rows > 0 ? 1 : -1;
  std::vector<Loads::iterator> order;
  for (auto it = first; it != last; ++it) order.push_back(it);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return step > 0 ? *a < *b : *a > *b; });
  // Water-filling: the front of the order moves together to the next one's level.
  const std::int64_t bound = step > 0 ? cap : 0;
  std::size_t moving = 1;
  while (rows != 0) {
    while (moving < order.size() && *order[moving] == *order[0]) ++moving;
    const std::int64_t next = moving < order.size() ? *order[moving] : bound;
    const std::int64_t room = std::abs(next - *order[0]);
    const auto count = static_cast<std::int64_t>(moving);
    const std::int64_t rise = std::min(room, std::abs(rows) / count);
    for (std::size_t i = 0; i < moving; ++i) *order[i] += step * rise;
    rows -= step * rise * count;
    if (rise < room) {
      for (std::size_t i = 0; rows != 0 && i < moving; ++i, rows -= step) *order[i] += step;
      return 0;
    }
    if (moving == order.size()) return rows;
  }
  return 0;
}

/// Spreads `rows` (negative: takes them) over the ranks in equal parts, the first ranks one more.
void spread(Loads& loads, std::int64_t ranks, std::int64_t rows, std::int64_t cap) {
  const std::int64_t each = static_cast<std::int64_t>(loads.size()) / ranks;
  while (rows != 0) {
    std::int64_t left = 0;
    for (std::int64_t r = 0; r < ranks; ++r) {
      const std::int64_t part =
          rows / ranks + (r < std::abs(rows % ranks) ? (rows > 0 ? 1 : -1) : 0);
      if (part == 0) continue;
      left += level(loads.begin() + r * each, loads.begin() + (r + 1) * each, part, cap);
    }
    if (left == rows) return;
    rows = left;
  }
}

/// Gives one row more (or less) to expert after expert, most loaded first (or last), within
/// [0, cap].
void give_to_most_loaded(Loads& loads, std::int64_t rows, std::int64_t cap) {
  std::vector<std::size_t> order(loads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return rows > 0 ? loads[a] > loads[b] : loads[a] < loads[b];
  });
  const std::int64_t step = rows > 0 ? 1 : -1;
  for (bool moved = true; rows != 0 && moved;) {
    moved = false;
    for (std::size_t i = 0; i < order.size() && rows != 0; ++i) {
      std::int64_t& load = loads[order[i]];
      if (load + step < 0 || load + step > cap) continue;
      load += step;
      rows -= step;
      moved = true;
    }
  }
}

Loads draw_loads(const PowerLawDraw& draw, std::mt19937_64& generator) {
  const std::int64_t total = draw.tokens * draw.top_k;
  const bool few = total <= draw.experts;
  const double power = 1 - draw.alpha;
  const double low = std::pow(few ? kLowestOfFew : kLowest, power);
  const double high =
      std::pow(few ? kHighestOfFew : kHighestShare * static_cast<double>(draw.tokens), power);
  std::vector<double> popularity(static_cast<std::size_t>(draw.experts));
  for (double& each : popularity)
    each = std::pow(low + (high - low) * uniform(generator), 1 / power);
  const double scale =
      static_cast<double>(total) / std::accumulate(popularity.begin(), popularity.end(), 0.0);
  Loads loads;
  for (const double each : popularity)
    loads.push_back(std::min<std::int64_t>(draw.tokens, std::llround(each * scale)));
  const std::int64_t rest = total - sum(loads);
  if (draw.rest_to_most_loaded && draw.slots == 0) {
    give_to_most_loaded(loads, rest, draw.tokens);
    return loads;
  }
  // Without a balancer rows are put right rank by rank, with one over all experts.
  spread(loads, draw.slots > 0 ? 1 : draw.ranks, rest, draw.tokens);
  return loads;
}

/// Loads of slots and the slots of the slowest rank.
struct Placement {
  std::vector<double> loads;
  std::vector<std::size_t> slowest;
};

/// Replicas for the experts with the most rows a replica, then the most loaded slots first, each to
/// the rank with the fewest rows that still has room.
Placement place(const Loads& experts, std::int64_t slots, std::int64_t ranks) {
  std::vector<std::int64_t> replicas(experts.size(), 1);
  std::priority_queue<std::pair<double, std::size_t>> hottest;
  for (std::size_t e = 0; e < experts.size(); ++e)
    hottest.emplace(static_cast<double>(experts[e]), e);
  for (std::int64_t i = static_cast<std::int64_t>(experts.size()); i < slots; ++i) {
    const std::size_t e = hottest.top().second;
    hottest.pop();
    ++replicas[e];
    hottest.emplace(static_cast<double>(experts[e]) / static_cast<double>(replicas[e]), e);
  }
  Placement placement;
  for (std::size_t e = 0; e < experts.size(); ++e)
    for (std::int64_t i = 0; i < replicas[e]; ++i)
      placement.loads.push_back(static_cast<double>(experts[e]) / static_cast<double>(replicas[e]));
  std::vector<std::size_t> order(placement.loads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return placement.loads[a] > placement.loads[b];
  });
  using Rank = std::pair<double, std::size_t>;
  std::priority_queue<Rank, std::vector<Rank>, std::greater<>> emptiest;
  std::vector<std::vector<std::size_t>> held(static_cast<std::size_t>(ranks));
  std::vector<double> loaded(held.size(), 0);
  for (std::size_t r = 0; r < held.size(); ++r) emptiest.emplace(0, r);
  for (const std::size_t slot : order) {
    const std::size_t rank = emptiest.top().second;
    emptiest.pop();
    held[rank].push_back(slot);
    loaded[rank] += placement.loads[slot];
    if (static_cast<std::int64_t>(held[rank].size()) < slots / ranks)
      emptiest.emplace(loaded[rank], rank);
  }
  placement.slowest = held[static_cast<std::size_t>(std::max_element(loaded.begin(), loaded.end()) -
                                                    loaded.begin())];
  return placement;
}

/// Distinct tokens that `members` see. Rows are dealt to tokens in turn, the most loaded expert's
/// first: an expert's rows belong to consecutive tokens, modulo all of them.
std::int64_t tokens_of(const Loads& loads, const std::vector<std::size_t>& members,
                       std::int64_t tokens) {
  std::vector<std::size_t> order(loads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return loads[a] > loads[b]; });
  std::vector<bool> member(loads.size(), false);
  for (const std::size_t each : members) member[each] = true;
  std::vector<std::pair<std::int64_t, std::int64_t>> intervals;
  std::int64_t at = 0;
  for (const std::size_t each : order) {
    const std::int64_t first = at % tokens;
    const std::int64_t last = first + loads[each];
    at += loads[each];
    if (!member[each] || loads[each] == 0) continue;
    intervals.emplace_back(first, std::min(last, tokens));
    if (last > tokens) intervals.emplace_back(0, last - tokens);
  }
  std::sort(intervals.begin(), intervals.end());
  std::int64_t seen = 0, covered = 0;
  for (const auto& [first, last] : intervals) {
    seen += std::max<std::int64_t>(0, last - std::max(first, covered));
    covered = std::max(covered, last);
  }
  return seen;
}

HeaviestRank heaviest_of(const Loads& loads, const std::vector<std::size_t>& members,
                         std::int64_t tokens) {
  HeaviestRank rank;
  for (const std::size_t each : members) rank.rows.push_back(loads[each]);
  std::sort(rank.rows.begin(), rank.rows.end(), std::greater<>{});
  rank.tokens = tokens_of(loads, members, tokens);
  return rank;
}

HeaviestRank draw_heaviest_rank(const PowerLawDraw& draw, std::mt19937_64& generator) {
  const Loads loads = draw_loads(draw, generator);
  if (draw.slots > 0) {
    const Placement placed = place(loads, draw.slots, draw.ranks);
    Loads rounded;
    double carried = 0;
    for (const double each : placed.loads) {
      rounded.push_back(std::llround(std::floor(each + carried + 1e-9)));
      carried += each - static_cast<double>(rounded.back());
    }
    return heaviest_of(rounded, placed.slowest, draw.tokens);
  }
  const auto each = static_cast<std::size_t>(draw.experts / draw.ranks);
  std::size_t heaviest = 0;
  std::int64_t most = -1;
  for (std::size_t first = 0; first + each <= loads.size(); first += each) {
    const std::int64_t rows =
        std::accumulate(loads.begin() + static_cast<std::ptrdiff_t>(first),
                        loads.begin() + static_cast<std::ptrdiff_t>(first + each), std::int64_t{0});
    if (rows <= most) continue;
    most = rows;
    heaviest = first;
  }
  std::vector<std::size_t> members(each);
  std::iota(members.begin(), members.end(), heaviest);
  return heaviest_of(loads, members, draw.tokens);
}

}  // namespace

std::vector<HeaviestRank> draw_heaviest_ranks(const PowerLawDraw& draw, int draws) {
  assert(draw.tokens > 0 && draw.top_k > 0 && draw.top_k <= draw.experts && draw.ranks > 0);
  assert(std::abs(draw.alpha - 1) > 1e-9 && "the inverse of the distribution divides by 1 - alpha");
  std::vector<HeaviestRank> ranks;
  for (int i = 0; i < draws; ++i) {
    std::mt19937_64 generator(static_cast<std::uint64_t>(i) + 1);
    ranks.push_back(draw_heaviest_rank(draw, generator));
  }
  return ranks;
}

HeaviestRank mean_of(const std::vector<HeaviestRank>& ranks) {
  assert(!ranks.empty());
  const auto count = static_cast<double>(ranks.size());
  HeaviestRank mean;
  double total = 0, tokens = 0;
  std::int64_t given = 0;
  for (std::size_t i = 0; i < ranks.front().rows.size(); ++i) {
    for (const HeaviestRank& rank : ranks) total += static_cast<double>(rank.rows[i]) / count;
    const std::int64_t up_to_here = std::llround(total);
    mean.rows.push_back(up_to_here - given);
    given = up_to_here;
  }
  for (const HeaviestRank& rank : ranks) tokens += static_cast<double>(rank.tokens) / count;
  mean.tokens = std::llround(tokens);
  return mean;
}

std::vector<std::int64_t> balanced_rows(std::int64_t tokens, std::int64_t top_k,
                                        std::int64_t experts, std::int64_t ranks) {
  const std::int64_t stride = (experts + top_k - 1) / top_k;
  // Tokens repeat their choice after as many as there are experts.
  const std::int64_t turns = tokens >= stride ? tokens / experts : 0;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(experts), turns * top_k);
  for (std::int64_t t = turns * experts; t < tokens; ++t)
    for (std::int64_t k = 0; k < top_k; ++k) {
      const std::int64_t first = tokens >= stride ? t : t * stride / tokens;
      ++rows[static_cast<std::size_t>((first + k * stride) % experts)];
    }
  rows.resize(static_cast<std::size_t>(experts / ranks));
  return rows;
}

}  // namespace tessera::workload
