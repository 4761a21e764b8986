#include "sim/app/routing_rows.hpp"

#include <fmt/format.h>

#include <numeric>

#include "sim/app/routing_study.hpp"

namespace tessera::app {

void add_rank_loads(core::Result& result, const workload::Architecture& architecture,
                    const workload::RoutingSpec& spec, const workload::RoutedLoad& load) {
  using workload::RoutingSpec;
  if (load.rows.empty() ||
      (spec.kind == RoutingSpec::Kind::uniform && spec.placement == RoutingSpec::Placement::linear))
    return;
  RoutingQuestion question{.architecture = architecture, .spec = spec};
  question.ranks = load.ranks();
  const auto nodes = static_cast<std::int64_t>(load.node_probability.size());
  question.ranks_per_node = (question.ranks + nodes - 1) / nodes;
  question.tokens_per_rank = std::accumulate(load.rows.begin(), load.rows.end(), std::int64_t{0}) /
                             (load.experts_of_token * question.ranks);
  question.layers = spec.layers;
  result.assumptions.push_back(
      fmt::format("Loads of experts: {}{}.", describe_loads(spec),
                  spec.layers > 1 ? fmt::format("; of {} layers drawn, the one whose hottest rank "
                                                "is nearest to their mean stands for all",
                                                spec.layers)
                                  : ""));
  for (const PlacedLayers& placed : study_routing(question)) {
    if (!placed.is_linear())
      result.assumptions.push_back(
          fmt::format("Experts: {}; tokens of a replicated expert go to its replicas in turn.",
                      describe_placement(placed)));
    for (std::size_t layer = 0; layer < placed.layers.size(); ++layer) {
      core::RankLoadRow& row = result.rank_loads.emplace_back();
      row.placement = placed.is_linear() ? "linear" : "eplb";
      row.layer = static_cast<int>(layer);
      row.relative_loads = placed.layers[layer].rank_rows();
      const double mean = workload::spread_of(row.relative_loads).mean;
      for (double& each : row.relative_loads) each /= mean;
    }
  }
}

}  // namespace tessera::app
