#include "sim/app/routing_study.hpp"

#include <fmt/format.h>

#include <utility>

namespace tessera::app {
namespace {

using workload::LoadSpread;
using workload::RoutingSpec;
using workload::SlotLoad;

void add(LoadSpread& sum, const LoadSpread& one, double weight) {
  sum.mean += weight * one.mean;
  sum.standard_deviation += weight * one.standard_deviation;
  sum.imbalance += weight * one.imbalance;
}

PlacedLayers place(const RoutingQuestion& question, RoutingSpec spec) {
  spec.layers = question.layers;
  std::vector<SlotLoad> layers =
      workload::route_layers(question.architecture.moe, spec, question.tokens_per_rank,
                             question.ranks, question.ranks_per_node, question.layers);
  return {std::move(spec), std::move(layers)};
}

std::string knowledge_of(const RoutingSpec& spec) {
  if (spec.placement_seed)
    return fmt::format("placed by the loads of another draw, seed {}", *spec.placement_seed);
  if (spec.placement_recorded)
    return fmt::format("placed by the loads of {}", spec.placement_recorded->name);
  if (spec.placement_window > 0)
    return fmt::format("placed by counts over {} earlier tokens of the same traffic",
                       spec.placement_window);
  return "placed by the very loads that it meets";
}

}  // namespace

LayerSpreads spreads_of(const std::vector<SlotLoad>& layers) {
  LayerSpreads spreads;
  const double weight = 1.0 / static_cast<double>(layers.size());
  for (const SlotLoad& load : layers) {
    add(spreads.experts, workload::spread_of({load.expert_rows.begin(), load.expert_rows.end()}),
        weight);
    add(spreads.slots, workload::spread_of({load.rows.begin(), load.rows.end()}), weight);
    add(spreads.ranks, workload::spread_of(load.rank_rows()), weight);
  }
  return spreads;
}

std::vector<PlacedLayers> study_routing(const RoutingQuestion& question) {
  RoutingSpec linear = question.spec;
  linear.placement = RoutingSpec::Placement::linear;
  linear.redundant_experts = 0;
  std::vector<PlacedLayers> placements;
  // Without replicas experts may not divide over the ranks; then there is no "before".
  if (question.spec.placement == RoutingSpec::Placement::linear ||
      question.architecture.moe.experts % question.ranks == 0)
    placements.push_back(place(question, linear));
  if (question.spec.placement != RoutingSpec::Placement::linear)
    placements.push_back(place(question, question.spec));
  return placements;
}

workload::RoutedLoad typical_load(const RoutingQuestion& question, const PlacedLayers& placed) {
  return workload::route(question.architecture.moe, placed.spec, question.tokens_per_rank,
                         question.ranks, question.ranks_per_node);
}

std::string describe_placement(const PlacedLayers& placed) {
  const std::size_t slots = placed.layers.front().rows.size();
  if (placed.is_linear()) return fmt::format("linear, {} slots", slots);
  return fmt::format("eplb, {} slots, {}", slots, knowledge_of(placed.spec));
}

std::string describe_loads(const RoutingSpec& spec) {
  switch (spec.kind) {
    case RoutingSpec::Kind::uniform:
      return "every expert has its expected share";
    case RoutingSpec::Kind::power_law:
      return fmt::format("popularity drawn from a power law, alpha {:g}, seed {}", spec.alpha,
                         spec.seed);
    case RoutingSpec::Kind::recorded:
      return fmt::format("recorded in {}", spec.recorded->name);
    case RoutingSpec::Kind::published:
      break;
  }
  std::string text =
      fmt::format("log-normal popularity solved to a standard deviation of {:.3g} means",
                  spec.skew.standard_deviation);
  if (spec.skew.rank_standard_deviation > 0)
    text += fmt::format(", of {:.3g} means by rank of {} experts",
                        spec.skew.rank_standard_deviation, spec.skew.experts_per_rank);
  return text + fmt::format("; seed {}", spec.seed);
}

}  // namespace tessera::app
