#include "models/workload/expert_skew.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "models/workload/load_spread.hpp"
#include "models/workload/random_draw.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using Loads = std::vector<double>;

constexpr int kDraws = 1000;
constexpr int kHalvings = 40;  ///< Of an interval about 1 wide: to 1e-12.

/// exp(sigma x logs), mean 1. Logs are taken from the largest down, so that nothing overflows.
Loads exponentials(const Loads& logs, double sigma) {
  const double top = *std::max_element(logs.begin(), logs.end());
  Loads loads;
  for (const double log : logs) loads.push_back(std::exp(sigma * (log - top)));
  const double mean =
      std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(loads.size());
  for (double& load : loads) load /= mean;
  return loads;
}

/// Of the loads' standard deviation; greater sigma favours the popular, so it only grows with it.
Loads with_deviation(const Loads& logs, double deviation) {
  double low = 0, high = 1;
  constexpr double kMostSigma = 1e3;
  while (spread_of(exponentials(logs, high)).standard_deviation < deviation && high < kMostSigma)
    high *= 2;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    (spread_of(exponentials(logs, middle)).standard_deviation < deviation ? low : high) = middle;
  }
  return exponentials(logs, high);
}

/// Standard deviation of ranks' loads over their mean.
double rank_deviation(const Loads& loads, std::int64_t experts_per_rank) {
  Loads ranks(loads.size() / static_cast<std::size_t>(experts_per_rank), 0);
  for (std::size_t e = 0; e < loads.size(); ++e)
    ranks[e / static_cast<std::size_t>(experts_per_rank)] += loads[e];
  const LoadSpread spread = spread_of(ranks);
  return spread.standard_deviation / spread.mean;
}

/// One draw of preferences, of experts and of ranks.
struct Preferences {
  Loads experts;
  Loads ranks;

  /// `shared`: part of the logarithm's variance that the experts of a rank have in common.
  [[nodiscard]] Loads logs(double shared, std::int64_t experts_per_rank) const {
    Loads logs;
    for (std::size_t e = 0; e < experts.size(); ++e) {
      const double of_rank =
          ranks.empty() ? 0 : ranks[e / static_cast<std::size_t>(experts_per_rank)];
      logs.push_back(std::sqrt(1 - shared) * experts[e] + std::sqrt(shared) * of_rank);
    }
    return logs;
  }
};

/// Loads of one draw, or nothing when it cannot have the stated spread.
std::optional<Loads> loads_of(const Preferences& drawn, const PublishedSkew& skew) {
  const auto loads = [&](double shared) {
    return with_deviation(drawn.logs(shared, skew.experts_per_rank), skew.standard_deviation);
  };
  Loads found = loads(0);
  if (skew.rank_standard_deviation <= 0) return found;
  const auto deviation = [&](const Loads& of) { return rank_deviation(of, skew.experts_per_rank); };
  if (deviation(found) > skew.rank_standard_deviation) return std::nullopt;
  double low = 0, high = 1;
  if (deviation(loads(high)) < skew.rank_standard_deviation) return std::nullopt;
  for (int i = 0; i < kHalvings / 2; ++i) {
    const double middle = (low + high) / 2;
    (deviation(loads(middle)) < skew.rank_standard_deviation ? low : high) = middle;
  }
  return loads(high);
}

}  // namespace

std::vector<double> draw_expert_loads(std::int64_t experts, double largest,
                                      const PublishedSkew& skew, std::mt19937_64& generator) {
  const auto count = static_cast<std::size_t>(experts);
  if (skew.standard_deviation <= 0) return Loads(count, 1.0);
  for (int draw = 0; draw < kDraws; ++draw) {
    Preferences drawn;
    for (std::size_t e = 0; e < count; ++e) drawn.experts.push_back(draw_normal(generator));
    if (skew.rank_standard_deviation > 0)
      for (std::int64_t r = 0; r < experts / skew.experts_per_rank; ++r)
        drawn.ranks.push_back(draw_normal(generator));
    const auto loads = loads_of(drawn, skew);
    if (!loads || *std::max_element(loads->begin(), loads->end()) > largest) continue;
    // An expert that has them all cannot differ more from the others.
    if (std::abs(spread_of(*loads).standard_deviation / skew.standard_deviation - 1) > 1e-6)
      continue;
    return *loads;
  }
  throw core::Refusal(
      core::RefusalKind::outside_model,
      fmt::format("no log-normal popularity of {} experts, none above {:g} times the mean, has a "
                  "standard deviation of {:g} and of {:g} by rank",
                  experts, largest, skew.standard_deviation, skew.rank_standard_deviation));
}

}  // namespace tessera::workload
