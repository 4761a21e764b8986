#include "models/workload/expert_gate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "models/workload/random_draw.hpp"

namespace tessera::workload {

ExpertGate::ExpertGate(Shape shape, Noise noise, std::vector<double> preferences)
    : shape_(shape),
      noise_(noise),
      preferences_(std::move(preferences)),
      scores_(preferences_.size()),
      order_(preferences_.size()) {}

std::vector<int> ExpertGate::choose(std::mt19937_64& generator) {
  for (std::size_t e = 0; e < scores_.size(); ++e) {
    const double u = draw_uniform(generator);
    scores_[e] = preferences_[e] +
                 (noise_ == Noise::gumbel ? -std::log(-std::log(u)) : std::log(u / (1 - u)));
  }
  if (shape_.group_limit < shape_.groups) drop_groups();
  std::iota(order_.begin(), order_.end(), 0);
  std::partial_sort(order_.begin(), order_.begin() + shape_.top_k, order_.end(),
                    [this](int a, int b) { return scores_[a] > scores_[b]; });
  return {order_.begin(), order_.begin() + shape_.top_k};
}

std::vector<int> ExpertGate::choose(std::mt19937_64& generator, std::int64_t tokens) {
  std::vector<int> chosen;
  chosen.reserve(static_cast<std::size_t>(tokens * shape_.top_k));
  for (std::int64_t t = 0; t < tokens; ++t)
    for (const int expert : choose(generator)) chosen.push_back(expert);
  return chosen;
}

/// Leaves the groups with the greatest sum of their best scores.
void ExpertGate::drop_groups() {
  const std::int64_t size = static_cast<std::int64_t>(scores_.size()) / shape_.groups;
  const std::int64_t counted = std::max<std::int64_t>(1, shape_.top_k / shape_.group_limit);
  std::vector<std::pair<double, std::int64_t>> groups;
  for (std::int64_t g = 0; g < shape_.groups; ++g) {
    std::vector<double> members(scores_.begin() + g * size, scores_.begin() + (g + 1) * size);
    std::partial_sort(members.begin(), members.begin() + std::min(counted, size), members.end(),
                      std::greater<>{});
    groups.emplace_back(
        -std::accumulate(members.begin(), members.begin() + std::min(counted, size), 0.0), g);
  }
  std::sort(groups.begin(), groups.end());
  for (std::size_t i = static_cast<std::size_t>(shape_.group_limit); i < groups.size(); ++i) {
    const auto first = scores_.begin() + groups[i].second * size;
    std::fill(first, first + size, -std::numeric_limits<double>::infinity());
  }
}

ExpertGate gate_for_rows(const ExpertGate::Shape& shape, const std::vector<std::int64_t>& rows,
                         std::uint64_t seed) {
  constexpr int kRounds = 8;
  constexpr std::int64_t kTokens = 4096;
  // Of sampled tokens; what no sample meets is taken for half a row.
  constexpr double kLeast = 0.5 / kTokens;
  const double tokens =
      static_cast<double>(std::accumulate(rows.begin(), rows.end(), std::int64_t{0})) /
      static_cast<double>(shape.top_k);
  std::vector<double> wanted, odds;
  for (const std::int64_t each : rows) {
    wanted.push_back(std::clamp(static_cast<double>(each) / tokens, 1e-9, 1 - 1e-9));
    odds.push_back(std::log(wanted.back() / (1 - wanted.back())));
  }
  for (int round = 0; shape.group_limit < shape.groups && round < kRounds; ++round) {
    std::mt19937_64 generator(seed);
    std::vector<double> met(rows.size(), 0);
    ExpertGate gate(shape, ExpertGate::Noise::logistic, odds);
    for (const int e : gate.choose(generator, kTokens))
      met[static_cast<std::size_t>(e)] += 1.0 / kTokens;
    for (std::size_t e = 0; e < odds.size(); ++e)
      odds[e] += std::log(std::max(wanted[e], kLeast) / std::max(met[e], kLeast));
  }
  return {shape, ExpertGate::Noise::logistic, std::move(odds)};
}

}  // namespace tessera::workload
