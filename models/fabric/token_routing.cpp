#include "models/fabric/token_routing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

constexpr int kSampledTokens = 4096;

/// SplitMix64: the same numbers on every machine, unlike the standard library's distributions.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  /// In (0, 1).
  double uniform() {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    x ^= x >> 31;
    return (static_cast<double>(x >> 11) + 0.5) * 0x1.0p-53;
  }

 private:
  std::uint64_t state_;
};

/// Probability that `picks` of `all` miss a set of `set`.
double miss_probability(int all, int set, int picks) {
  double miss = 1;
  for (int i = 0; i < picks; ++i)
    miss *= std::max(0.0, static_cast<double>(all - set - i) / static_cast<double>(all - i));
  return miss;
}

void check(const TokenRouting& r, int ranks) {
  const auto refuse = [](const std::string& reason) {
    throw core::Refusal(core::RefusalKind::illegal_combination, reason);
  };
  if (r.experts <= 0 || r.experts % ranks != 0)
    refuse(fmt::format("{} experts do not divide over {} ranks", r.experts, ranks));
  if (r.groups <= 0 || r.experts % r.groups != 0)
    refuse(fmt::format("{} experts do not divide into {} groups", r.experts, r.groups));
  const int open = r.group_limit > 0 ? std::min(r.group_limit, r.groups) : r.groups;
  if (r.top_k <= 0 || r.top_k > r.experts / r.groups * open)
    refuse(
        fmt::format("a token cannot pick {} of {} experts", r.top_k, r.experts / r.groups * open));
  if (!r.expert_load.empty() && static_cast<int>(r.expert_load.size()) != r.experts)
    refuse(fmt::format("{} expert loads for {} experts", r.expert_load.size(), r.experts));
}

/// Experts that one token picks, given its scores.
void pick(const TokenRouting& r, std::vector<double>& scores, std::vector<int>& order) {
  if (r.group_limit > 0 && r.group_limit < r.groups) {
    const int size = r.experts / r.groups;
    std::vector<std::pair<double, int>> groups;
    for (int g = 0; g < r.groups; ++g) {
      double best = -INFINITY, second = -INFINITY;
      for (int e = g * size; e < (g + 1) * size; ++e) {
        const double s = scores[static_cast<std::size_t>(e)];
        if (s > best) {
          second = best;
          best = s;
        } else {
          second = std::max(second, s);
        }
      }
      groups.emplace_back(size > 1 ? best + second : best, g);
    }
    std::sort(groups.begin(), groups.end(), std::greater<>{});
    for (std::size_t i = static_cast<std::size_t>(r.group_limit); i < groups.size(); ++i)
      std::fill_n(scores.begin() + groups[i].second * size, size, -INFINITY);
  }
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + r.top_k, order.end(), [&](int a, int b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
}

TokenReach sample(const TokenRouting& r, const std::vector<int>& domain_of_rank, int domains) {
  const std::size_t ranks = domain_of_rank.size();
  TokenReach reach{std::vector<double>(ranks, 0), std::vector<double>(domains, 0),
                   std::vector<double>(ranks, 0)};
  Random random{r.seed};
  std::vector<double> scores(static_cast<std::size_t>(r.experts));
  std::vector<int> order(static_cast<std::size_t>(r.experts));
  const double weight = 1.0 / kSampledTokens;
  for (int token = 0; token < kSampledTokens; ++token) {
    for (std::size_t e = 0; e < scores.size(); ++e) {
      // The best k of log(load) + Gumbel noise are k draws by load without replacement. Equal loads
      // take plain uniform scores, as a balanced sigmoid gate has.
      scores[e] = r.expert_load.empty() ? random.uniform()
                                        : std::log(std::max(r.expert_load[e], 1e-300)) -
                                              std::log(-std::log(random.uniform()));
    }
    pick(r, scores, order);
    std::vector<char> rank_hit(ranks, 0), domain_hit(static_cast<std::size_t>(domains), 0);
    for (int k = 0; k < r.top_k; ++k) {
      const std::size_t rank = static_cast<std::size_t>(order[static_cast<std::size_t>(k)]) *
                               ranks / static_cast<std::size_t>(r.experts);
      reach.copies[rank] += weight;
      rank_hit[rank] = 1;
      domain_hit[static_cast<std::size_t>(domain_of_rank[rank])] = 1;
    }
    for (std::size_t i = 0; i < ranks; ++i) reach.rank_probability[i] += weight * rank_hit[i];
    for (std::size_t i = 0; i < domain_hit.size(); ++i)
      reach.domain_probability[i] += weight * domain_hit[i];
  }
  return reach;
}

void average(std::vector<double>& values) {
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  std::fill(values.begin(), values.end(), mean);
}

/// Probabilities 1 - exp(-scale x load) whose sum is `total`.
std::vector<double> saturating(const std::vector<double>& loads, double total) {
  const double reachable = static_cast<double>(
      std::count_if(loads.begin(), loads.end(), [](double x) { return x > 0; }));
  const auto at = [&](double scale) {
    std::vector<double> probabilities;
    for (const double load : loads) probabilities.push_back(-std::expm1(-scale * load));
    return probabilities;
  };
  const auto sum = [](const std::vector<double>& v) {
    return std::accumulate(v.begin(), v.end(), 0.0);
  };
  const double wanted = std::min(total, reachable * (1 - 1e-9));
  double low = 0, high = 1;
  while (sum(at(high)) < wanted) high *= 2;
  for (int step = 0; step < 60; ++step) {
    const double middle = (low + high) / 2;
    (sum(at(middle)) < wanted ? low : high) = middle;
  }
  return at(high);
}

}  // namespace

double TokenReach::ranks() const {
  return std::accumulate(rank_probability.begin(), rank_probability.end(), 0.0);
}

double TokenReach::domains() const {
  return std::accumulate(domain_probability.begin(), domain_probability.end(), 0.0);
}

TokenReach reach_from_totals(std::vector<double> copies, double ranks_per_token,
                             double domains_per_token, const std::vector<int>& domain_of_rank) {
  const int domains = 1 + *std::max_element(domain_of_rank.begin(), domain_of_rank.end());
  std::vector<double> by_domain(static_cast<std::size_t>(domains), 0);
  for (std::size_t r = 0; r < copies.size(); ++r)
    by_domain[static_cast<std::size_t>(domain_of_rank[r])] += copies[r];
  TokenReach reach;
  reach.rank_probability = saturating(copies, ranks_per_token);
  reach.domain_probability = saturating(by_domain, domains_per_token);
  reach.copies = std::move(copies);
  return reach;
}

TokenReach reach_of_tokens(const TokenRouting& routing, const std::vector<int>& domain_of_rank) {
  const int ranks = static_cast<int>(domain_of_rank.size());
  check(routing, ranks);
  const int domains = 1 + *std::max_element(domain_of_rank.begin(), domain_of_rank.end());
  const bool limited = routing.group_limit > 0 && routing.group_limit < routing.groups;
  if (!routing.expert_load.empty()) return sample(routing, domain_of_rank, domains);
  const int per_rank = routing.experts / ranks;
  if (limited) {
    TokenReach reach = sample(routing, domain_of_rank, domains);
    // Equal loads: ranks differ by the noise of sampling alone, and so do domains of equal size.
    average(reach.rank_probability);
    average(reach.copies);
    const auto first = std::count(domain_of_rank.begin(), domain_of_rank.end(), 0);
    if (first * domains == ranks) average(reach.domain_probability);
    return reach;
  }
  TokenReach reach{
      std::vector<double>(static_cast<std::size_t>(ranks),
                          1 - miss_probability(routing.experts, per_rank, routing.top_k)),
      {},
      std::vector<double>(static_cast<std::size_t>(ranks),
                          static_cast<double>(routing.top_k) / ranks)};
  for (int domain = 0; domain < domains; ++domain) {
    const auto size = std::count(domain_of_rank.begin(), domain_of_rank.end(), domain);
    reach.domain_probability.push_back(
        1 - miss_probability(routing.experts, static_cast<int>(size) * per_rank, routing.top_k));
  }
  return reach;
}

}  // namespace tessera::fabric
