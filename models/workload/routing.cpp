#include "models/workload/routing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

/// Tokens drawn when loads are expectations and only places per token are sampled: their mean is
/// known to 0.1 %.
constexpr int kPlaceSamples = 4096;
/// Tokens drawn when loads are sampled: an expert of mean popularity among 256 gets 1,024 rows,
/// known to 3 %.
constexpr int kLoadSamples = 32768;

/// Uniform in (0, 1), the same on every machine; std::uniform_real_distribution promises neither.
double uniform(std::mt19937_64& generator) {
  constexpr double kUlp = 1.0 / 9007199254740992.0;  // 2^-53
  return (static_cast<double>(generator() >> 11) + 0.5) * kUlp;
}

/// Inverse of the cumulative distribution of density ~ x^-alpha on [1, top].
double bounded_pareto(double u, double alpha, double top) {
  if (std::abs(alpha - 1.0) < 1e-9) return std::pow(top, u);
  const double power = 1.0 - alpha;
  return std::pow(1.0 + u * (std::pow(top, power) - 1.0), 1.0 / power);
}

std::vector<double> log_popularity(const MixtureOfExperts& moe, const RoutingSpec& spec,
                                   std::mt19937_64& generator) {
  std::vector<double> logs(static_cast<std::size_t>(moe.experts), 0.0);
  if (spec.kind == RoutingSpec::Kind::uniform) return logs;
  for (double& value : logs) {
    value =
        std::log(bounded_pareto(uniform(generator), spec.alpha, static_cast<double>(moe.experts)));
  }
  return logs;
}

/// Draws the experts of one token at a time.
class Gate {
 public:
  Gate(const MixtureOfExperts& moe, std::int64_t group_limit, std::vector<double> logs)
      : moe_(moe),
        limit_(group_limit),
        logs_(std::move(logs)),
        scores_(logs_.size()),
        order_(logs_.size()) {}

  /// top_k distinct experts, best first.
  std::vector<int> choose(std::mt19937_64& generator) {
    for (std::size_t e = 0; e < scores_.size(); ++e) {
      scores_[e] = logs_[e] - std::log(-std::log(uniform(generator)));
    }
    if (limit_ < moe_.groups) drop_groups();
    std::iota(order_.begin(), order_.end(), 0);
    std::partial_sort(order_.begin(), order_.begin() + moe_.top_k, order_.end(),
                      [this](int a, int b) { return scores_[a] > scores_[b]; });
    return {order_.begin(), order_.begin() + moe_.top_k};
  }

 private:
  /// Leaves the groups with the greatest sum of their best scores.
  void drop_groups() {
    const std::int64_t size = moe_.experts / moe_.groups;
    const std::int64_t counted = std::max<std::int64_t>(1, moe_.top_k / limit_);
    std::vector<std::pair<double, std::int64_t>> groups;
    for (std::int64_t g = 0; g < moe_.groups; ++g) {
      std::vector<double> members(scores_.begin() + g * size, scores_.begin() + (g + 1) * size);
      std::partial_sort(members.begin(), members.begin() + std::min(counted, size), members.end(),
                        std::greater<>{});
      groups.emplace_back(
          -std::accumulate(members.begin(), members.begin() + std::min(counted, size), 0.0), g);
    }
    std::sort(groups.begin(), groups.end());
    for (std::size_t i = static_cast<std::size_t>(limit_); i < groups.size(); ++i) {
      const auto first = scores_.begin() + groups[i].second * size;
      std::fill(first, first + size, -std::numeric_limits<double>::infinity());
    }
  }

  const MixtureOfExperts& moe_;
  std::int64_t limit_;
  std::vector<double> logs_;
  std::vector<double> scores_;
  std::vector<int> order_;
};

/// Whole rows in proportion to `counts`, summing to `total`; remainders go to the largest
/// fractions.
std::vector<std::int64_t> apportion(const std::vector<double>& counts, std::int64_t total) {
  const double sum = std::accumulate(counts.begin(), counts.end(), 0.0);
  std::vector<std::int64_t> rows(counts.size());
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t given = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double share = counts[i] / sum * static_cast<double>(total);
    rows[i] = static_cast<std::int64_t>(share);
    given += rows[i];
    remainders.emplace_back(-(share - static_cast<double>(rows[i])), i);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::int64_t i = 0; i < total - given; ++i) {
    ++rows[remainders[static_cast<std::size_t>(i) % remainders.size()].second];
  }
  return rows;
}

std::int64_t distinct(std::vector<std::int64_t> places) {
  std::sort(places.begin(), places.end());
  return std::unique(places.begin(), places.end()) - places.begin();
}

void check(const MixtureOfExperts& moe, const RoutingSpec& spec, std::int64_t ranks) {
  const std::int64_t limit = spec.node_limit;
  if (moe.experts % ranks != 0) {
    throw core::Refusal(
        core::RefusalKind::illegal_combination,
        fmt::format("{} experts cannot be split evenly over {} expert ranks", moe.experts, ranks));
  }
  if (limit > 0 && limit < moe.groups && limit * (moe.experts / moe.groups) < moe.top_k) {
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        fmt::format("{} experts a token need more than the {} groups of {} that "
                                    "the node limit leaves",
                                    moe.top_k, limit, moe.experts / moe.groups));
  }
}

}  // namespace

std::vector<std::int64_t> RoutedLoad::rows_on(std::int64_t rank) const {
  const auto first = rows.begin() + rank * experts_per_rank;
  return {first, first + experts_per_rank};
}

std::int64_t RoutedLoad::total_on(std::int64_t rank) const {
  const std::vector<std::int64_t> own = rows_on(rank);
  return std::accumulate(own.begin(), own.end(), std::int64_t{0});
}

RoutedLoad route(const MixtureOfExperts& moe, const RoutingSpec& spec, std::int64_t tokens_per_rank,
                 std::int64_t ranks, std::int64_t ranks_per_node) {
  check(moe, spec, ranks);
  std::mt19937_64 generator(spec.seed);
  const std::int64_t limit = spec.node_limit > 0 ? spec.node_limit : moe.groups;
  Gate gate(moe, limit, log_popularity(moe, spec, generator));
  const bool sampled = spec.kind != RoutingSpec::Kind::uniform;
  const int tokens = sampled ? kLoadSamples : kPlaceSamples;

  RoutedLoad load;
  load.experts_per_rank = moe.experts / ranks;
  std::vector<double> counts(static_cast<std::size_t>(moe.experts), sampled ? 0.0 : 1.0);
  double rank_places = 0, node_places = 0;
  for (int t = 0; t < tokens; ++t) {
    std::vector<std::int64_t> on_ranks, on_nodes;
    for (const int e : gate.choose(generator)) {
      if (sampled) counts[static_cast<std::size_t>(e)] += 1;
      on_ranks.push_back(e / load.experts_per_rank);
      on_nodes.push_back(e / load.experts_per_rank / ranks_per_node);
    }
    rank_places += static_cast<double>(distinct(std::move(on_ranks)));
    node_places += static_cast<double>(distinct(std::move(on_nodes)));
  }
  load.ranks_per_token = rank_places / tokens;
  load.nodes_per_token = node_places / tokens;
  const std::int64_t total = tokens_per_rank * ranks * moe.top_k;
  load.rows = apportion(counts, total);
  for (std::int64_t r = 1; r < ranks; ++r) {
    if (load.total_on(r) > load.total_on(load.hottest_rank)) load.hottest_rank = r;
  }
  load.skew = static_cast<double>(load.total_on(load.hottest_rank)) /
              (static_cast<double>(total) / static_cast<double>(ranks));
  return load;
}

}  // namespace tessera::workload
