#include "models/workload/routing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <random>

#include "models/workload/expert_gate.hpp"
#include "models/workload/load_spread.hpp"
#include "models/workload/random_draw.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using Kind = RoutingSpec::Kind;
using Placement = RoutingSpec::Placement;

/// Tokens drawn when loads are known and only places per token are sampled: their mean is known to
/// 0.1 %.
constexpr int kPlaceSamples = 4096;
/// Tokens drawn when loads are sampled: an expert of mean popularity among 256 gets 1,024 rows,
/// known to 3 %.
constexpr int kLoadSamples = 32768;

[[noreturn]] void refuse(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::illegal_combination, reason);
}

/// Inverse of the cumulative distribution of density ~ x^-alpha on [1, top].
double bounded_pareto(double u, double alpha, double top) {
  if (std::abs(alpha - 1.0) < 1e-9) return std::pow(top, u);
  const double power = 1.0 - alpha;
  return std::pow(1.0 + u * (std::pow(top, power) - 1.0), 1.0 / power);
}

/// The job of routing one layer, the same for all layers.
class Router {
 public:
  Router(const MixtureOfExperts& moe, const RoutingSpec& spec, std::int64_t tokens_per_rank,
         std::int64_t ranks, std::int64_t ranks_per_node)
      : moe_(moe),
        spec_(spec),
        tokens_(tokens_per_rank * ranks),
        ranks_(ranks),
        ranks_per_node_(std::min(ranks_per_node, ranks)),
        gate_{.top_k = moe.top_k, .groups = moe.groups, .group_limit = moe.groups} {
    if (spec.node_limit > 0) {
      if (moe.groups == 1 && spec.node_limit < nodes()) gate_.groups = nodes();
      gate_.group_limit = std::min(spec.node_limit, gate_.groups);
    }
    check();
  }

  [[nodiscard]] SlotLoad distribute(std::int64_t layer) const {
    return distribute(draw(spec_.seed, layer), layer);
  }

  [[nodiscard]] RoutedLoad route(std::int64_t layer) const {
    Draw drawn = draw(spec_.seed, layer);
    RoutedLoad load{distribute(drawn, layer)};
    load.placed = spec_.placement != Placement::linear || spec_.kind == Kind::recorded ||
                  spec_.kind == Kind::published || gate_.groups != moe_.groups;
    if (drawn.choices.empty()) drawn.choices = sample(load.expert_rows, layer);
    count_places(load, drawn.choices);
    return load;
  }

 private:
  /// The last one may have fewer ranks.
  [[nodiscard]] std::int64_t nodes() const {
    return (ranks_ + ranks_per_node_ - 1) / ranks_per_node_;
  }

  /// Loads of the experts, and the choices of tokens where they gave the loads.
  struct Draw {
    std::vector<double> loads;
    std::vector<int> choices;
  };

  void check() const {
    const std::int64_t slots = moe_.experts + spec_.redundant_experts;
    if (spec_.placement == Placement::linear && moe_.experts % ranks_ != 0)
      refuse(fmt::format("{} experts cannot be split evenly over {} expert ranks", moe_.experts,
                         ranks_));
    if (slots % ranks_ != 0)
      refuse(fmt::format(
          "{} experts and {} redundant ones cannot be split evenly over {} expert ranks",
          moe_.experts, spec_.redundant_experts, ranks_));
    if (moe_.experts % gate_.groups != 0)
      refuse(
          fmt::format("{} experts cannot be split evenly over {} nodes, as a node limit of {} "
                      "needs",
                      moe_.experts, gate_.groups, spec_.node_limit));
    const std::int64_t open = gate_.group_limit * (moe_.experts / gate_.groups);
    if (open < moe_.top_k)
      refuse(
          fmt::format("{} experts a token need more than the {} groups of {} that the node "
                      "limit leaves",
                      moe_.top_k, gate_.group_limit, moe_.experts / gate_.groups));
  }

  [[nodiscard]] Draw draw(std::uint64_t seed, std::int64_t layer) const {
    const auto experts = static_cast<std::size_t>(moe_.experts);
    std::mt19937_64 generator(seed_of(seed, layer));
    switch (spec_.kind) {
      case Kind::uniform:
        return {std::vector<double>(experts, 1.0), {}};
      case Kind::power_law:
        return draw_power_law(generator);
      case Kind::recorded: {
        const RecordedLayer& seen = spec_.recorded->layer(layer);
        return {{seen.rows.begin(), seen.rows.end()}, seen.choices};
      }
      case Kind::published:
        break;
    }
    const double largest = static_cast<double>(moe_.experts) / static_cast<double>(moe_.top_k);
    return {draw_expert_loads(moe_.experts, largest, spec_.skew, generator), {}};
  }

  [[nodiscard]] Draw draw_power_law(std::mt19937_64& generator) const {
    Draw drawn{std::vector<double>(static_cast<std::size_t>(moe_.experts), 0.0), {}};
    std::vector<double> logs;
    for (std::int64_t e = 0; e < moe_.experts; ++e)
      logs.push_back(std::log(
          bounded_pareto(draw_uniform(generator), spec_.alpha, static_cast<double>(moe_.experts))));
    ExpertGate gate(gate_, ExpertGate::Noise::gumbel, std::move(logs));
    drawn.choices = gate.choose(generator, kLoadSamples);
    for (const int e : drawn.choices) drawn.loads[static_cast<std::size_t>(e)] += 1;
    return drawn;
  }

  /// Choices of tokens for whom only loads are known.
  [[nodiscard]] std::vector<int> sample(const std::vector<std::int64_t>& expert_rows,
                                        std::int64_t layer) const {
    const std::uint64_t seed = seed_of(spec_.seed, layer);
    std::mt19937_64 generator(seed);
    if (spec_.kind == Kind::uniform)
      return ExpertGate(gate_, ExpertGate::Noise::gumbel,
                        std::vector<double>(expert_rows.size(), 0.0))
          .choose(generator, kPlaceSamples);
    const auto most = std::max_element(expert_rows.begin(), expert_rows.end());
    if (*most > tokens_)
      refuse(fmt::format("expert {} would get {} rows of {} tokens, but a token chooses it once",
                         most - expert_rows.begin(), *most, tokens_));
    return gate_for_rows(gate_, expert_rows, seed).choose(generator, kPlaceSamples);
  }

  /// What the balancer knows about the loads that it will meet.
  [[nodiscard]] std::vector<double> statistics(const std::vector<std::int64_t>& expert_rows,
                                               std::int64_t layer) const {
    if (spec_.placement_seed) return draw(*spec_.placement_seed, layer).loads;
    if (spec_.placement_recorded) {
      const RecordedLayer& seen = spec_.placement_recorded->layer(layer);
      return {seen.rows.begin(), seen.rows.end()};
    }
    std::vector<double> known(expert_rows.begin(), expert_rows.end());
    if (spec_.placement_window == 0) return known;
    // Counts of tokens that choose on their own scatter by their root, over the window as over the
    // batch at hand; a separate stream of draws, so that the window leaves the loads as they are.
    constexpr std::uint64_t kWindowStream = 0x5851f42d4c957f2dULL;
    std::mt19937_64 generator(seed_of(spec_.seed ^ kWindowStream, layer));
    const double batches =
        static_cast<double>(tokens_) / static_cast<double>(spec_.placement_window);
    for (double& rows : known)
      rows = std::max(0.0, rows + std::sqrt(rows * (1 + batches)) * draw_normal(generator));
    return known;
  }

  [[nodiscard]] ExpertPlacement place(const std::vector<std::int64_t>& expert_rows,
                                      std::int64_t layer) const {
    if (spec_.placement == Placement::linear) return linear_placement(moe_.experts, ranks_);
    // The balancer knows nodes of one size only; otherwise it works globally.
    const bool even = ranks_ % ranks_per_node_ == 0;
    return balance_experts(statistics(expert_rows, layer),
                           {.slots = moe_.experts + spec_.redundant_experts,
                            .groups = even ? gate_.groups : 1,
                            .nodes = even ? nodes() : 1,
                            .ranks = ranks_});
  }

  [[nodiscard]] SlotLoad distribute(const Draw& drawn, std::int64_t layer) const {
    SlotLoad load;
    load.experts_of_token = moe_.top_k;
    load.expert_rows = apportion(drawn.loads, tokens_ * moe_.top_k);
    const ExpertPlacement placement = place(load.expert_rows, layer);
    load.experts_per_rank = placement.slots_per_rank();
    load.expert_of_slot = placement.expert_of_slot;
    load.rows.resize(placement.expert_of_slot.size());
    const auto slots = placement.slots_of_experts(moe_.experts);
    for (std::size_t e = 0; e < slots.size(); ++e) {
      const auto replicas = static_cast<std::int64_t>(slots[e].size());
      for (std::int64_t i = 0; i < replicas; ++i)
        load.rows[static_cast<std::size_t>(slots[e][static_cast<std::size_t>(i)])] =
            load.expert_rows[e] / replicas + (i < load.expert_rows[e] % replicas ? 1 : 0);
    }
    for (std::int64_t r = 1; r < ranks_; ++r)
      if (load.total_on(r) > load.total_on(load.hottest_rank)) load.hottest_rank = r;
    load.skew = static_cast<double>(load.total_on(load.hottest_rank)) /
                (static_cast<double>(tokens_ * moe_.top_k) / static_cast<double>(ranks_));
    return load;
  }

  /// Distinct ranks and nodes that tokens reach, when each next token of an expert takes the next
  /// of its replicas.
  void count_places(RoutedLoad& load, const std::vector<int>& choices) const {
    const ExpertPlacement placement{ranks_, load.expert_of_slot};
    const auto slots = placement.slots_of_experts(moe_.experts);
    std::vector<std::size_t> turn(slots.size(), 0);
    load.rank_probability.assign(static_cast<std::size_t>(ranks_), 0);
    load.node_probability.assign(static_cast<std::size_t>(nodes()), 0);
    const auto top_k = static_cast<std::size_t>(moe_.top_k);
    const double weight = static_cast<double>(top_k) / static_cast<double>(choices.size());
    for (std::size_t first = 0; first < choices.size(); first += top_k) {
      std::vector<char> ranks(load.rank_probability.size(), 0);
      std::vector<char> nodes(load.node_probability.size(), 0);
      for (std::size_t k = first; k < first + top_k; ++k) {
        const auto e = static_cast<std::size_t>(choices[k]);
        const auto rank =
            static_cast<std::size_t>(placement.rank_of(slots[e][turn[e]++ % slots[e].size()]));
        ranks[rank] = 1;
        nodes[rank / static_cast<std::size_t>(ranks_per_node_)] = 1;
      }
      for (std::size_t r = 0; r < ranks.size(); ++r) load.rank_probability[r] += weight * ranks[r];
      for (std::size_t n = 0; n < nodes.size(); ++n) load.node_probability[n] += weight * nodes[n];
    }
    load.ranks_per_token =
        std::accumulate(load.rank_probability.begin(), load.rank_probability.end(), 0.0);
    load.nodes_per_token =
        std::accumulate(load.node_probability.begin(), load.node_probability.end(), 0.0);
  }

  const MixtureOfExperts& moe_;
  const RoutingSpec& spec_;
  std::int64_t tokens_;  ///< Of all ranks.
  std::int64_t ranks_;
  std::int64_t ranks_per_node_;
  ExpertGate::Shape gate_;
};

}  // namespace

RoutingSpec usual_routing(const MixtureOfExperts& moe) {
  RoutingSpec routing;
  if (moe.groups > 1) routing.node_limit = moe.group_limit;
  return routing;
}

std::vector<std::int64_t> SlotLoad::rows_on(std::int64_t rank) const {
  const auto first = rows.begin() + rank * experts_per_rank;
  return {first, first + experts_per_rank};
}

std::int64_t SlotLoad::total_on(std::int64_t rank) const {
  const auto first = rows.begin() + rank * experts_per_rank;
  return std::accumulate(first, first + experts_per_rank, std::int64_t{0});
}

std::vector<double> SlotLoad::rank_rows() const {
  std::vector<double> totals;
  for (std::int64_t r = 0; r < ranks(); ++r) totals.push_back(static_cast<double>(total_on(r)));
  return totals;
}

std::size_t most_typical(const std::vector<SlotLoad>& loads) {
  assert(!loads.empty() && "a mixture of experts has a layer");
  double mean = 0;
  for (const SlotLoad& load : loads) mean += load.skew / static_cast<double>(loads.size());
  std::size_t nearest = 0;
  for (std::size_t i = 1; i < loads.size(); ++i)
    if (std::abs(loads[i].skew - mean) < std::abs(loads[nearest].skew - mean)) nearest = i;
  return nearest;
}

std::vector<SlotLoad> route_layers(const MixtureOfExperts& moe, const RoutingSpec& spec,
                                   std::int64_t tokens_per_rank, std::int64_t ranks,
                                   std::int64_t ranks_per_node, std::int64_t layers) {
  const Router router(moe, spec, tokens_per_rank, ranks, ranks_per_node);
  if (spec.kind == Kind::uniform)
    return std::vector<SlotLoad>(static_cast<std::size_t>(layers), router.distribute(0));
  std::vector<SlotLoad> loads;
  for (std::int64_t layer = 0; layer < layers; ++layer) loads.push_back(router.distribute(layer));
  return loads;
}

RoutedLoad route(const MixtureOfExperts& moe, const RoutingSpec& spec, std::int64_t tokens_per_rank,
                 std::int64_t ranks, std::int64_t ranks_per_node) {
  const std::size_t layer = spec.layers <= 1
                                ? 0
                                : most_typical(route_layers(moe, spec, tokens_per_rank, ranks,
                                                            ranks_per_node, spec.layers));
  return Router(moe, spec, tokens_per_rank, ranks, ranks_per_node)
      .route(static_cast<std::int64_t>(layer));
}

}  // namespace tessera::workload
