#include "models/fabric/fabric_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "models/fabric/flows.hpp"

namespace tessera::fabric {

namespace {

/// A flow that gets less than this part of its NIC is held up by others.
constexpr double kHeld = 0.999;

std::vector<TierSummary> tiers_of(const Topology& topology) {
  const Topology::Graph& graph = topology.graph();
  std::map<std::pair<VertexKind, VertexKind>, TierSummary> tiers;
  for (auto [edge, end] = edges(graph); edge != end; ++edge) {
    const Vertex& from = graph[source(*edge, graph)];
    const Vertex& to = graph[target(*edge, graph)];
    const bool up = from.kind < to.kind || (from.kind == to.kind && from.index < to.index);
    if (!up) continue;
    TierSummary& tier = tiers[{from.kind, to.kind}];
    const double rate = graph[*edge].rate.value();
    tier.least = tier.links == 0 ? rate : std::min(tier.least, rate);
    tier.rate += rate;
    ++tier.links;
  }
  std::vector<TierSummary> rows;
  for (auto& [kinds, tier] : tiers) {
    tier.ends = to_string(kinds.first) + " - " + to_string(kinds.second);
    rows.push_back(tier);
  }
  return rows;
}

std::vector<PathSummary> paths_of(const Topology& topology) {
  std::map<int, PathSummary> paths;
  for (int gpu = 1; gpu < topology.gpus(); ++gpu) {
    const Route route = topology.route(0, gpu);
    const int links = static_cast<int>(route.links.size());
    PathSummary& path = paths[links];
    path.links = links;
    path.shortest = path.gpus == 0 ? route.latency : std::min(path.shortest, route.latency);
    path.longest = std::max(path.longest, route.latency);
    ++path.gpus;
  }
  std::vector<PathSummary> rows;
  for (const auto& [links, path] : paths) rows.push_back(path);
  return rows;
}

BisectionSummary bisection_of(const Topology& topology) {
  BisectionSummary bisection;
  const TopologySpec& spec = topology.spec();
  if (spec.domains < 2) return bisection;
  FlowSimulation flows{topology};
  std::map<int, int> carried;
  const int gpus = topology.gpus(), far = spec.domains / 2 * spec.gpus_per_domain;
  for (int gpu = 0; gpu < gpus; ++gpu) {
    const Route route = topology.route(gpu, (gpu + far) % gpus);
    flows.add(flows.along(route, 1));
    for (const int link : route.links)
      if (topology.links()[static_cast<std::size_t>(link)].link_class == LinkClass::network)
        bisection.fullest_cable = std::max(bisection.fullest_cable, ++carried[link]);
  }
  const double full = spec.nic_rate.value() * spec.nic_efficiency / spec.gpus_per_nic;
  bisection.full_rate = full * gpus / 2;
  bisection.slowest = std::numeric_limits<double>::infinity();
  for (const double rate : flows.steady_rates()) {
    bisection.rate += rate / 2;
    bisection.held += rate < kHeld * full ? 1 : 0;
    bisection.slowest = std::min(bisection.slowest, rate);
  }
  return bisection;
}

std::string gigabytes(double rate) { return fmt::format("{:.6g} GB/s", rate * 1e-9); }

std::string network_text(const Topology& topology) {
  const TopologySpec& spec = topology.spec();
  std::string text;
  for (const VertexKind kind :
       {VertexKind::leaf, VertexKind::spine, VertexKind::core, VertexKind::group, VertexKind::site})
    if (const int count = topology.switches(kind); count > 0)
      text += fmt::format("{}{} {}{}", text.empty() ? "" : ", ", count, to_string(kind),
                          count == 1                 ? ""
                          : kind == VertexKind::leaf ? ""
                                                     : "s");
  const std::size_t leaf = text.find(" leaf");
  if (leaf != std::string::npos && topology.switches(VertexKind::leaf) > 1)
    text.replace(leaf, 5, " leaves");
  return fmt::format("{}; {} routing", text, device::to_string(spec.routing));
}

}  // namespace

FabricSummary summarise(const Topology& topology) {
  return {tiers_of(topology), paths_of(topology), bisection_of(topology)};
}

std::string to_text(const FabricSummary& summary, const Topology& topology) {
  const TopologySpec& spec = topology.spec();
  std::string text =
      fmt::format("# {} GPUs in {} x {}", topology.gpus(), spec.domains, spec.gpus_per_domain);
  const bool network = spec.network != NetworkKind::none;
  text += network ? fmt::format("; network: {}\n", network_text(topology)) : "; no network\n";
  text += "#\n# tier                  links    slowest           together, per direction\n";
  for (const TierSummary& tier : summary.tiers)
    text += fmt::format("# {:<20} {:>6}    {:<16}  {}\n", tier.ends, tier.links,
                        gigabytes(tier.least), gigabytes(tier.rate));
  text += "#\n# path from GPU 0        GPUs    latency\n";
  for (const PathSummary& path : summary.paths)
    text += fmt::format("# {:>2} links              {:>6}    {:.3f} to {:.3f} us\n", path.links,
                        path.gpus, core::to_microseconds(path.shortest),
                        core::to_microseconds(path.longest));
  if (!network) return text;
  const BisectionSummary& b = summary.bisection;
  text += fmt::format(
      "#\n# bisection, every GPU sending half the cluster away: {} per direction, {:.1f} % of what "
      "the NICs carry\n",
      gigabytes(b.rate), 100 * b.rate / b.full_rate);
  if (b.held > 0)
    text += fmt::format(
        "# {} GPUs are held up by others, the slowest gets {}; the fullest link between switches "
        "carries {} flows\n",
        b.held, gigabytes(b.slowest), b.fullest_cable);
  const std::string asymmetry = topology.asymmetry();
  text += asymmetry.empty() ? "# domains see the same: one stands for all\n"
                            : fmt::format("# domains do not stand for each other: {}\n", asymmetry);
  return text;
}

}  // namespace tessera::fabric
