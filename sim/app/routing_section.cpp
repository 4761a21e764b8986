#include "sim/app/routing_section.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using core::ConfigNode;
using workload::RoutingSpec;
using Kind = RoutingSpec::Kind;
using Placement = RoutingSpec::Placement;

// Bounds that keep arithmetic sane.
constexpr std::int64_t kMaxNodes = 10'000'000;
constexpr std::int64_t kMaxExperts = 1'000'000;
constexpr std::int64_t kMaxTokens = 1'000'000'000'000;
constexpr double kMaxRows = 1e12;
constexpr double kMaxAlpha = 10;
constexpr std::size_t kMaxRecordedBytes = std::size_t{1} << 28;

std::uint64_t seed_under(const ConfigNode& node, std::string_view key, std::uint64_t fallback) {
  return static_cast<std::uint64_t>(
      node.integer_or(key, 0, INT64_MAX, static_cast<std::int64_t>(fallback)));
}

std::shared_ptr<const workload::RecordedRouting> read_recorded(
    const ConfigNode& node, const workload::MixtureOfExperts& moe) {
  const std::string text = node.text();
  if (!node.present() || text.empty()) return nullptr;
  const core::LoadOptions options = node.reference("recorded routing", "workloads/routing");
  try {
    const core::ResolvedFile file = core::resolve_file(text, options);
    return std::make_shared<const workload::RecordedRouting>(workload::read_recorded_routing(
        core::read_text_file(file, kMaxRecordedBytes), file.shown, moe.experts, moe.top_k));
  } catch (const core::ConfigError& error) {
    node.absorb(error);
    return nullptr;
  }
}

/// Moments as published, rows of experts and of ranks, relative to their means.
workload::PublishedSkew read_skew(const ConfigNode& node, const workload::MixtureOfExperts& moe) {
  workload::PublishedSkew skew;
  const double mean = node.number("mean", 1e-6, kMaxRows);
  const double deviation = node.number("standard_deviation", 0, kMaxRows);
  skew.standard_deviation = deviation / mean;
  if (node.has("ranks") && !node.has("rank_standard_deviation"))
    node.fail("ranks", "found without rank_standard_deviation; expected both or none");
  if (!node.has("rank_standard_deviation")) return skew;
  const double of_rank = node.number("rank_standard_deviation", 0, kMaxRows);
  const std::int64_t ranks = node.integer("ranks", 2, std::max<std::int64_t>(2, moe.experts));
  if (!node.sound()) return skew;
  if (moe.experts % ranks != 0) {
    node.fail("ranks",
              fmt::format("found '{}'; expected a divisor of the {} experts", ranks, moe.experts));
    return skew;
  }
  skew.experts_per_rank = moe.experts / ranks;
  skew.rank_standard_deviation = of_rank / (mean * static_cast<double>(skew.experts_per_rank));
  return skew;
}

void read_kind(const ConfigNode& node, const workload::Architecture& architecture,
               RoutingSpec& routing) {
  switch (routing.kind) {
    case Kind::uniform:
      return;
    case Kind::power_law:
      routing.alpha = node.number("alpha", 0.01, kMaxAlpha);
      break;
    case Kind::recorded:
      routing.recorded = read_recorded(node.at("file"), architecture.moe);
      if (!routing.recorded || routing.recorded->layers.front().choices.empty()) break;
      routing.node_limit = 0;
      if (node.has("node_limit"))
        node.fail("node_limit",
                  "found with recorded choices, which keep the limit that the gate had; expected "
                  "recorded loads or no limit");
      break;
    case Kind::published:
      routing.skew = read_skew(node, architecture.moe);
      break;
  }
  if (routing.kind != Kind::recorded) routing.seed = seed_under(node, "seed", routing.seed);
  // Layers of a model differ; one draw would stand for none of them.
  std::int64_t layers = 1;
  if (routing.kind == Kind::published) layers = expert_layers(architecture);
  if (routing.recorded) layers = static_cast<std::int64_t>(routing.recorded->layers.size());
  constexpr std::int64_t kMaxLayers = 10'000;
  routing.layers = node.integer_or("layers", 1, kMaxLayers, std::max<std::int64_t>(1, layers));
}

void read_placement(const ConfigNode& node, const workload::MixtureOfExperts& moe,
                    RoutingSpec& routing) {
  routing.placement = node.choice_or<Placement>(
      "placement", {{"linear", Placement::linear}, {"eplb", Placement::eplb}}, Placement::linear);
  routing.redundant_experts = node.integer_or("redundant_experts", 0, kMaxExperts, 0);
  const char* known[] = {"placement_window", "placement_seed", "placement_file"};
  if (routing.placement == Placement::linear) {
    for (const char* key : {"redundant_experts", known[0], known[1], known[2]})
      if (node.has(key) &&
          (key != std::string("redundant_experts") || routing.redundant_experts > 0))
        node.fail(key, "found with linear placement; expected placement: eplb");
    return;
  }
  const char* given = nullptr;
  for (const char* key : known) {
    if (!node.has(key)) continue;
    if (given != nullptr)
      node.at(key).fail_against(node.at(given),
                                "found two things that the balancer knows; "
                                "expected one of them");
    given = key;
  }
  if (node.has("placement_window"))
    routing.placement_window = node.integer("placement_window", 1, kMaxTokens);
  if (node.has("placement_seed")) {
    if (routing.kind != Kind::power_law && routing.kind != Kind::published)
      node.fail("placement_seed",
                "found with loads that are not drawn; expected kind power_law or published");
    routing.placement_seed = seed_under(node, "placement_seed", 0);
  }
  if (node.has("placement_file"))
    routing.placement_recorded = read_recorded(node.at("placement_file"), moe);
}

}  // namespace

std::int64_t expert_layers(const workload::Architecture& architecture) {
  std::int64_t count = 0;
  for (std::int64_t layer = 0; architecture.has_experts() && layer < architecture.layers; ++layer)
    if (architecture.kind(layer) == workload::LayerKind::moe) ++count;
  return count;
}

workload::RoutingSpec read_routing(const ConfigNode& node,
                                   const workload::Architecture& architecture, std::uint64_t seed) {
  RoutingSpec routing = workload::usual_routing(architecture.moe);
  routing.kind = node.choice<Kind>("kind", {{"uniform", Kind::uniform},
                                            {"power_law", Kind::power_law},
                                            {"recorded", Kind::recorded},
                                            {"published", Kind::published}});
  routing.seed = seed;
  if (!architecture.has_experts() && routing.kind != Kind::uniform) {
    if (node.sound())
      node.fail("kind", fmt::format("found '{}'; expected uniform, since {} has no experts",
                                    node.text("kind"), architecture.name));
    return routing;
  }
  read_kind(node, architecture, routing);
  routing.node_limit = node.integer_or("node_limit", 0, kMaxNodes, routing.node_limit);
  read_placement(node, architecture.moe, routing);
  return routing;
}

}  // namespace tessera::app
