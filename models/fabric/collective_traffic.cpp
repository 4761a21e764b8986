#include "models/fabric/collective_traffic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include "models/fabric/sibling_groups.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

/// Domains that stand for all of a folded group: one that sends and one that receives.
constexpr std::size_t kFoldedDomains = 2;

/// The first of the ranks behind each NIC, in order; all of one domain.
std::vector<int> rail_heads(const Topology& topology, const std::vector<int>& ranks) {
  std::vector<int> heads;
  std::set<int> seen;
  for (const int rank : ranks)
    if (seen.insert(topology.nic_of(rank)).second) heads.push_back(rank);
  return heads;
}

void append(std::vector<int>& links, const Route& route) {
  links.insert(links.end(), route.links.begin(), route.links.end());
}

/// Links that ring `ring` of a group crosses, as often as it does: it enters and leaves every
/// domain by its NIC there, the ring-th of the ranks'.
std::vector<int> ring_links(const Topology& topology, const Placement& at,
                            const std::vector<std::vector<int>>& heads, int ring) {
  std::vector<int> links;
  std::size_t d = 0;
  for (const auto& domain : at.by_domain) {
    const std::vector<int>& ranks = domain.second;
    const int head = heads[d][static_cast<std::size_t>(ring)];
    const int next = heads[(d + 1) % heads.size()][static_cast<std::size_t>(ring)];
    ++d;
    const auto first = std::find(ranks.begin(), ranks.end(), head) - ranks.begin();
    const auto rank = [&](std::size_t i) {
      return ranks[(static_cast<std::size_t>(first) + i) % ranks.size()];
    };
    for (std::size_t i = 0; i + 1 < ranks.size(); ++i)
      append(links, topology.route(rank(i), rank(i + 1)));
    append(links, topology.route(rank(ranks.size() - 1), head));
    append(links, topology.route(head, next, static_cast<std::uint64_t>(ring)));
  }
  return links;
}

/// A byte of the ring takes one of each link as often as the ring crosses it.
Flow as_flow(std::vector<int> links) {
  std::sort(links.begin(), links.end());
  Flow flow;
  for (const int link : links) {
    if (flow.demands.empty() || flow.demands.back().resource != link)
      flow.demands.push_back({link, 0});
    flow.demands.back().units_per_byte += 1;
  }
  flow.bytes = 1;
  return flow;
}

bool of_network(LinkClass link_class) {
  return link_class == LinkClass::rdma || link_class == LinkClass::network ||
         link_class == LinkClass::wan;
}

}  // namespace

bool operator<(const TrafficQuery& a, const TrafficQuery& b) {
  const auto key = [](const TrafficQuery& q) {
    return std::tie(q.pattern, q.tiled, q.efficiency.nvlink, q.efficiency.pcie,
                    q.efficiency.network, q.efficiency.host, q.ranks, q.beside);
  };
  return key(a) < key(b);
}

Placement place(const Topology& topology, const std::vector<int>& ranks) {
  Placement placement{{}, std::numeric_limits<int>::max()};
  for (const int rank : ranks) placement.by_domain[topology.domain_of(rank)].push_back(rank);
  for (const auto& [domain, local] : placement.by_domain)
    placement.rails =
        std::min(placement.rails, static_cast<int>(rail_heads(topology, local).size()));
  return placement;
}

CollectiveTraffic::CollectiveTraffic(const Topology& topology, Folding folding)
    : topology_(topology), folding_(folding), asymmetry_(topology.asymmetry()) {}

std::string CollectiveTraffic::unfoldable(const Placement& placement) const {
  if (!asymmetry_.empty()) return asymmetry_;
  const int slots = topology_.spec().gpus_per_domain;
  const std::vector<int>& model = placement.by_domain.begin()->second;
  for (const auto& [domain, ranks] : placement.by_domain) {
    const auto same = [&](int a, int b) { return a % slots == b % slots; };
    if (!std::equal(ranks.begin(), ranks.end(), model.begin(), model.end(), same))
      return fmt::format("domain {} has other slots in the group than domain {}", domain,
                         placement.by_domain.begin()->first);
  }
  return "";
}

CollectiveTraffic::Fold CollectiveTraffic::fold_of(const TrafficQuery& query,
                                                   const Placement& at) const {
  Fold fold;
  if (folding_ == Folding::none || at.by_domain.size() < 2 || !query.beside.empty()) return fold;
  fold.siblings = asymmetry_.empty();
  const bool by_domain =
      query.pattern != TrafficPattern::next && query.pattern != TrafficPattern::first_pair;
  if (!by_domain || at.by_domain.size() <= kFoldedDomains) return fold;
  const std::string reason = unfoldable(at);
  if (folding_ == Folding::required && !reason.empty())
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        "ranks cannot stand for each other: " + reason);
  fold.domains = reason.empty();
  return fold;
}

CollectiveTraffic::Groups CollectiveTraffic::groups_of(const TrafficQuery& query,
                                                       const Fold& fold) const {
  Groups groups{query.ranks};
  const bool by_rings =
      query.pattern == TrafficPattern::ring || query.pattern == TrafficPattern::network_ring;
  if (fold.domains && by_rings) {
    groups[0].clear();
    std::set<int> domains;
    for (const int rank : query.ranks) {
      if (domains.size() == kFoldedDomains && domains.count(topology_.domain_of(rank)) == 0)
        continue;
      domains.insert(topology_.domain_of(rank));
      groups[0].push_back(rank);
    }
  }
  if (query.tiled)
    for (auto& group : fold.siblings ? sibling_groups_in_domains(topology_, groups[0])
                                     : sibling_groups(topology_, groups[0]))
      groups.push_back(std::move(group));
  groups.insert(groups.end(), query.beside.begin(), query.beside.end());
  return groups;
}

const Throughput& CollectiveTraffic::throughput(const TrafficQuery& query) {
  const auto found = known_.find(query);
  if (found != known_.end()) return found->second;
  const Fold fold = fold_of(query, place(topology_, query.ranks));
  const bool by_rings =
      query.pattern == TrafficPattern::ring || query.pattern == TrafficPattern::network_ring;
  const Groups groups = groups_of(query, fold);
  Throughput result = by_rings ? ring(query, groups) : pairs(query, groups, fold);
  result.folded = fold.domains || (fold.siblings && query.tiled);
  if (result.folded) result.crossings.erase(LinkClass::network);
  return known_.emplace(query, std::move(result)).first->second;
}

double CollectiveTraffic::network_share(const std::vector<int>& ranks) {
  std::map<int, int> own;  // ranks by NIC
  int most = 0;
  for (const int rank : ranks) most = std::max(most, ++own[topology_.nic_of(rank)]);
  const TopologySpec& spec = topology_.spec();
  const double alone = spec.nic_rate.value() * spec.nic_efficiency / most;
  const double rate =
      throughput({.pattern = TrafficPattern::rail_pairs, .ranks = ranks, .tiled = true}).rate;
  return std::min(1.0, rate / alone);
}

std::vector<Flow> CollectiveTraffic::rings_of(const TrafficQuery& query,
                                              const std::vector<int>& ranks) const {
  const Placement at = place(topology_, ranks);
  std::vector<std::vector<int>> heads;
  for (const auto& [domain, local] : at.by_domain) heads.push_back(rail_heads(topology_, local));
  std::vector<Flow> rings;
  const int count = at.by_domain.size() > 1 ? at.rails : 1;
  for (int ring = 0; ring < count; ++ring) {
    rings.push_back(as_flow(ring_links(topology_, at, heads, ring)));
    if (query.pattern == TrafficPattern::network_ring)
      std::erase_if(rings.back().demands, [&](const Demand& d) {
        return !of_network(topology_.links()[static_cast<std::size_t>(d.resource)].link_class);
      });
  }
  return rings;
}

Throughput CollectiveTraffic::ring(const TrafficQuery& query, const Groups& groups) const {
  FlowSimulation flows{topology_, query.efficiency};
  std::vector<Flow> rings;
  std::size_t own = 0;
  for (const auto& ranks : groups) {
    if (ranks.size() < 2) continue;
    for (Flow& flow : rings_of(query, ranks)) {
      flows.add(flow);
      rings.push_back(std::move(flow));
    }
    if (own == 0) own = rings.size();
  }
  const std::vector<double> rates = flows.steady_rates();
  std::vector<double> use(topology_.links().size(), 0);
  for (std::size_t r = 0; r < rings.size(); ++r)
    for (const Demand& d : rings[r].demands)
      use[static_cast<std::size_t>(d.resource)] += rates[r] * d.units_per_byte;
  const std::size_t asked = query.tiled ? rates.size() : own;
  const auto slowest = std::min_element(rates.begin(), rates.begin() + static_cast<long>(asked));
  const auto fill = [&](const Demand& d) {
    return use[static_cast<std::size_t>(d.resource)] / flows.capacity(d.resource);
  };
  const auto& way = rings[static_cast<std::size_t>(slowest - rates.begin())].demands;
  const auto fullest = std::max_element(
      way.begin(), way.end(), [&](const Demand& a, const Demand& b) { return fill(a) < fill(b); });
  const auto class_of = [&](const Demand& d) {
    return topology_.links()[static_cast<std::size_t>(d.resource)].link_class;
  };
  Throughput result{*slowest * static_cast<double>(own), to_string(class_of(*fullest)), {}, false};
  const double share = 1.0 / (static_cast<double>(groups[0].size()) * static_cast<double>(own));
  // A message crosses the links of a class in pairs (up and down); count it once.
  for (std::size_t r = 0; r < own; ++r)
    for (const Demand& d : rings[r].demands)
      result.crossings[class_of(d)] += share / 2 * d.units_per_byte;
  return result;
}

Throughput CollectiveTraffic::pairs(const TrafficQuery& query, const Groups& groups,
                                    const Fold& fold) const {
  const FlowSimulation capacities{topology_, query.efficiency};
  const bool all = query.pattern == TrafficPattern::all_pairs;
  const bool rails = query.pattern == TrafficPattern::rail_pairs;
  const int slots = topology_.spec().gpus_per_domain;
  std::vector<double> load(topology_.links().size(), 0);
  Throughput result;
  double own_pairs = 0, own_senders = 0;
  // A message waits for those that its neighbours send, not for every pipeline stage's.
  const bool one_message = query.pattern == TrafficPattern::first_pair;
  std::vector<char> asked(topology_.links().size(), one_message ? 0 : 1);
  const auto send = [&](int from, int to, bool own) {
    // Across domains by the rail of the receiver: NVLink to the GPU that shares its rail first.
    const bool inside = topology_.domain_of(to) == topology_.domain_of(from);
    const int relay = !all || inside ? from : from / slots * slots + to % slots;
    std::vector<int> links = topology_.route(from, relay).links;
    append(links, topology_.route(relay, to));
    for (const int link : links) {
      load[static_cast<std::size_t>(link)] += 1;
      if (topology_.domain_of(from) == topology_.domain_of(query.ranks[0]))
        asked[static_cast<std::size_t>(link)] = 1;
      if (own)
        result.crossings[topology_.links()[static_cast<std::size_t>(link)].link_class] += 0.5;
    }
    own_pairs += own ? 1 : 0;
  };
  const auto is_pair = [&](int from, int to) {
    if (!rails) return from != to;
    return from % slots == to % slots && topology_.domain_of(from) != topology_.domain_of(to);
  };
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const std::vector<int>& ranks = groups[g];
    const std::size_t senders = one_message ? 1 : ranks.size();
    for (std::size_t s = 0; s < senders; ++s) {
      // One domain's sends fill its links as all domains' fill theirs.
      if (fold.domains && topology_.domain_of(ranks[s]) != topology_.domain_of(ranks[0])) continue;
      own_senders += g == 0 ? 1 : 0;
      if (!all && !rails) {
        send(ranks[s], ranks[(s + 1) % ranks.size()], g == 0);
        continue;
      }
      for (const int target : ranks)
        if (is_pair(ranks[s], target)) send(ranks[s], target, g == 0);
    }
  }
  double seconds_per_unit = 0;
  for (const Link& link : topology_.links()) {
    // Between switches nothing fills up where traffic may be folded, and not all of it was counted.
    if (fold.siblings && link.link_class == LinkClass::network) continue;
    if (rails && !of_network(link.link_class)) continue;
    if (!asked[static_cast<std::size_t>(link.id)]) continue;
    const double seconds = load[static_cast<std::size_t>(link.id)] / capacities.capacity(link.id);
    if (seconds <= seconds_per_unit) continue;
    seconds_per_unit = seconds;
    result.binding = to_string(link.link_class);
  }
  const double peers = all     ? static_cast<double>(query.ranks.size()) - 1
                       : rails ? own_pairs / own_senders
                               : 1.0;
  result.rate = peers / seconds_per_unit;
  for (auto& [link_class, crossings] : result.crossings) crossings /= own_pairs;
  return result;
}

}  // namespace tessera::fabric
