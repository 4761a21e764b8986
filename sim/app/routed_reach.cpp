#include "sim/app/routed_reach.hpp"

#include <map>
#include <numeric>

namespace tessera::app {

fabric::TokenReach reach_of(const workload::RoutedLoad& load, const fabric::Topology& topology,
                            const std::vector<int>& gpus) {
  std::map<int, int> index;
  std::vector<int> domains;
  for (const int gpu : gpus)
    domains.push_back(
        index.emplace(topology.domain_of(gpu), static_cast<int>(index.size())).first->second);
  // Rows come from experts, so their mean a token is the number of experts that it chooses.
  const std::vector<double> rows = load.rank_rows();
  const double per_rank_and_token =
      static_cast<double>(load.experts_of_token) / std::accumulate(rows.begin(), rows.end(), 0.0);
  fabric::TokenReach reach;
  for (const double each : rows) reach.copies.push_back(each * per_rank_and_token);

  bool as_counted = load.node_probability.size() == index.size();
  as_counted = as_counted && gpus.size() % index.size() == 0;
  for (std::size_t r = 0; as_counted && r < gpus.size(); ++r)
    as_counted = domains[r] == static_cast<int>(r / (gpus.size() / index.size()));
  if (!as_counted)
    return fabric::reach_from_totals(std::move(reach.copies), load.ranks_per_token,
                                     load.nodes_per_token, domains);
  reach.rank_probability = load.rank_probability;
  reach.domain_probability = load.node_probability;
  return reach;
}

}  // namespace tessera::app
