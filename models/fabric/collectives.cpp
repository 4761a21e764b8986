#include "models/fabric/collectives.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>
#include <set>

#include "models/fabric/nccl_choice.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

/// Part of the wire that is payload, over the network: LL sends 4 bytes of flag with 4 of data,
/// LL128 8 with 120 (NCCL src/include/device.h).
constexpr std::array<double, kProtocols> kNetworkPayload = {0.5, 120.0 / 128.0, 1.0};

/// Largest message that NCCL sends with flags in the data (NCCL_P2P_LL_THRESHOLD).
constexpr double kFlaggedMessage = 16 * 1024;

/// Bytes of a rank's part that one channel sends as LL at once, 512 threads of 8 bytes (NCCL
/// src/enqueue.cc, thread thresholds); more is spread over several.
constexpr double kChannelPart = 4096;

/// From 0 for a part in one channel to 1 for one in many.
double fanned_out(double part_bytes) { return part_bytes / (part_bytes + kChannelPart); }

/// What one pays between PCIe switches, and between processors.
struct PcieShares {
  double host;
  double socket;
};

/// How fast links of a domain are for one group, as parts of their rates: `fraction` of NVLink
/// where that joins all of its ranks, or of PCIe, less what crossing switches and processors takes.
LinkEfficiency efficiency_in_domain(const Topology& topology, const std::vector<int>& ranks,
                                    double fraction, const PcieShares& shares, double network) {
  if (topology.joined_by_nvlink(ranks)) return {fraction, 1.0, network, 1.0};
  const double host = fraction * shares.host * (topology.cross_sockets(ranks) ? shares.socket : 1);
  return {fraction, fraction, network, host};
}

/// Bytes/s of the slowest link that joins the ranks of a domain, before any efficiency.
double rate_in_domain(const Topology& topology, const std::vector<int>& ranks) {
  const TopologySpec& spec = topology.spec();
  return (topology.joined_by_nvlink(ranks) ? spec.nvlink_rate : spec.pcie_rate).value();
}

/// Channels, hence SMs, that one message takes over the network (NCCL 2.27 src/graph/paths.cc:
/// two a NIC for a peer in another node).
constexpr int kNetworkSendChannels = 2;

/// Passes over a GPU's memory per byte. A step of a ring or tree: it arrives in a buffer, is read
/// there, and the rank's own part is read or written. A message: it is read, arrives in a buffer,
/// is read there and written. NVLS: copied into the buffer that the switch sees, read by the switch
/// and written by it, and copied out.
constexpr double kRingMemoryPasses = 3;
constexpr double kSendMemoryPasses = 4;
constexpr double kInSwitchMemoryPasses = 6;

/// More ranks than this: routes are counted for one domain, which stands for all.
constexpr std::size_t kUnfoldedRanks = 128;

double microseconds(double bytes, double rate) { return bytes / rate * 1e6; }

/// Messages of one peer to another, each rank to one only.
bool is_send(CollectiveKind kind) {
  return kind == CollectiveKind::send_receive || kind == CollectiveKind::ring_shift;
}

/// By sends and receives alone.
bool is_direct(CollectiveKind kind) { return is_send(kind) || kind == CollectiveKind::all_to_all; }

bool reduces(CollectiveKind kind) {
  return kind == CollectiveKind::all_reduce || kind == CollectiveKind::reduce_scatter;
}

/// What each rank passes on, per byte of "size".
double passed_on(CollectiveKind kind, double ranks) {
  switch (kind) {
    case CollectiveKind::all_reduce:
      return 2 * (ranks - 1) / ranks;
    case CollectiveKind::send_receive:
    case CollectiveKind::ring_shift:
      return 1;
    case CollectiveKind::reduce_scatter:
    case CollectiveKind::all_gather:
    case CollectiveKind::all_to_all:
      return (ranks - 1) / ranks;
  }
  return 1;
}

Route joined(Route first, const Route& second) {
  first.links.insert(first.links.end(), second.links.begin(), second.links.end());
  first.latency += second.latency;
  return first;
}

/// The first of the ranks behind each NIC, in order; all of one domain.
std::vector<int> rail_heads(const Topology& topology, const std::vector<int>& ranks) {
  std::vector<int> heads;
  std::set<int> seen;
  for (const int rank : ranks)
    if (seen.insert(topology.nic_of(rank)).second) heads.push_back(rank);
  return heads;
}

/// The class of the fullest link on the way of the slowest flow.
LinkClass fullest_class(const Topology& topology, const FlowSimulation& flows,
                        const std::vector<Route>& routes, const std::vector<double>& rates) {
  std::vector<double> use(topology.links().size(), 0);
  std::size_t slowest = 0;
  for (std::size_t f = 0; f < routes.size(); ++f) {
    for (const int link : routes[f].links) use[static_cast<std::size_t>(link)] += rates[f];
    if (rates[f] < rates[slowest]) slowest = f;
  }
  const auto fill = [&](int link) {
    return use[static_cast<std::size_t>(link)] / flows.capacity(link);
  };
  const auto& way = routes[slowest].links;
  const int fullest =
      *std::max_element(way.begin(), way.end(), [&](int a, int b) { return fill(a) < fill(b); });
  return topology.links()[static_cast<std::size_t>(fullest)].link_class;
}

/// Routes of one group's rings: ring r enters and leaves every domain by its r-th NIC.
std::vector<Route> ring_routes(const Topology& topology,
                               const std::map<int, std::vector<int>>& by_domain, int rings) {
  std::vector<Route> routes;
  std::vector<std::vector<int>> locals;
  for (const auto& [domain, ranks] : by_domain) locals.push_back(ranks);
  for (int ring = 0; ring < rings; ++ring) {
    for (std::size_t d = 0; d < locals.size(); ++d) {
      std::vector<int> order = locals[d];
      const int head = rail_heads(topology, order)[static_cast<std::size_t>(ring)];
      std::rotate(order.begin(), std::find(order.begin(), order.end(), head), order.end());
      for (std::size_t i = 0; i + 1 < order.size(); ++i)
        routes.push_back(topology.route(order[i], order[i + 1]));
      const int next =
          rail_heads(topology, locals[(d + 1) % locals.size()])[static_cast<std::size_t>(ring)];
      routes.push_back(joined(topology.route(order.back(), head),
                              topology.route(head, next, static_cast<std::uint64_t>(ring))));
    }
  }
  return routes;
}

}  // namespace

std::string to_string(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::all_reduce:
      return "all_reduce";
    case CollectiveKind::reduce_scatter:
      return "reduce_scatter";
    case CollectiveKind::all_gather:
      return "all_gather";
    case CollectiveKind::all_to_all:
      return "all_to_all";
    case CollectiveKind::send_receive:
      return "send_receive";
    case CollectiveKind::ring_shift:
      return "ring_shift";
  }
  return "all_reduce";
}

std::string to_string(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::automatic:
      return "automatic";
    case Algorithm::ring:
      return "ring";
    case Algorithm::tree:
      return "tree";
    case Algorithm::in_switch:
      return "in_switch";
    case Algorithm::pairwise:
      return "pairwise";
  }
  return "ring";
}

CollectiveModel::CollectiveModel(const Topology& topology, const FabricParameters& parameters)
    : topology_(topology), parameters_(parameters) {}

CollectiveModel::Placement CollectiveModel::place(const Topology& topology,
                                                  const std::vector<int>& ranks) {
  Placement placement{{}, std::numeric_limits<int>::max()};
  for (const int rank : ranks) placement.by_domain[topology.domain_of(rank)].push_back(rank);
  for (const auto& [domain, local] : placement.by_domain)
    placement.rails =
        std::min(placement.rails, static_cast<int>(rail_heads(topology, local).size()));
  return placement;
}

void CollectiveModel::check(const CollectiveRequest& request) const {
  const auto refuse = [](const std::string& reason) {
    throw core::Refusal(core::RefusalKind::illegal_combination, reason);
  };
  std::set<int> seen;
  const auto check_group = [&](const std::vector<int>& ranks) {
    for (const int rank : ranks)
      if (rank < 0 || rank >= topology_.gpus())
        refuse(fmt::format("rank {} is not one of the cluster's {} GPUs", rank, topology_.gpus()));
  };
  check_group(request.ranks);
  for (const auto& group : request.beside) check_group(group);
  for (const int rank : request.ranks)
    if (!seen.insert(rank).second) refuse(fmt::format("rank {} takes part twice", rank));
  if (request.ranks.empty() ||
      (request.kind == CollectiveKind::send_receive && request.ranks.size() != 2))
    refuse(fmt::format("{} among {} ranks", to_string(request.kind), request.ranks.size()));
  if (request.bytes < Bytes{0} || request.channels < 0)
    refuse("negative bytes or channels of a collective");
  const bool direct = is_direct(request.kind);
  const Algorithm a = request.algorithm;
  const bool fits =
      a == Algorithm::automatic || (direct ? a == Algorithm::pairwise : a != Algorithm::pairwise);
  if (!fits || ((a == Algorithm::tree || a == Algorithm::in_switch) &&
                request.kind != CollectiveKind::all_reduce))
    refuse(fmt::format("{} has no {} algorithm", to_string(request.kind), to_string(a)));
  if (a == Algorithm::in_switch && !topology_.spec().in_switch_reduction)
    refuse("the cluster's switches do not reduce");
}

CollectiveResult CollectiveModel::finish(const CollectiveRequest& request, const Placement& at,
                                         double latency_us, double transfer_us, double ramp_us,
                                         const std::string& binding) const {
  CollectiveResult result;
  const double ramp =
      ramp_us > 0 && transfer_us > 0 ? ramp_us * transfer_us / (ramp_us + transfer_us) : 0;
  const double total = latency_us + transfer_us + ramp;
  const bool crosses = at.by_domain.size() > 1;
  const double spread = crosses                   ? parameters_.spread.across_nodes
                        : is_direct(request.kind) ? parameters_.spread.pairwise
                                                  : parameters_.spread.in_node;
  result.time = core::to_time(Seconds{total * 1e-6});
  result.lower = core::to_time(Seconds{total * 1e-6 / (1 + spread)});
  result.upper = core::to_time(Seconds{total * 1e-6 * (1 + spread)});
  result.grade = crosses ? core::worst(parameters_.collective_grade, core::Grade::transferred)
                         : parameters_.collective_grade;
  const bool one_message = crosses && is_send(request.kind);
  result.channels = request.channels > 0 ? request.channels
                    : one_message        ? kNetworkSendChannels
                                         : static_cast<int>(parameters_.default_channels);
  const double ranks = static_cast<double>(request.ranks.size());
  if (total > 0)
    result.bus_bandwidth = static_cast<double>(request.bytes.value()) *
                           passed_on(request.kind, ranks) / (total * 1e-6);
  result.binding = latency_us + ramp > transfer_us ? "latency" : binding;
  return result;
}

const CollectiveModel::Throughput& CollectiveModel::ring_throughput(
    const CollectiveRequest& request, Protocol protocol) {
  std::vector<std::vector<int>> key{request.ranks};
  key.insert(key.end(), request.beside.begin(), request.beside.end());
  const auto p = static_cast<std::size_t>(protocol);
  const auto found = throughputs_.find({key, static_cast<int>(p)});
  if (found != throughputs_.end()) return found->second;

  const ProtocolCost& cost = parameters_.ring[p];
  const Placement here = place(topology_, request.ranks);
  FlowSimulation flows{
      topology_,
      efficiency_in_domain(topology_, here.by_domain.begin()->second, cost.nvlink_fraction,
                           {cost.host_share, cost.socket_share}, kNetworkPayload[p])};
  std::vector<Route> routes;
  std::size_t own = 0;
  int own_rings = 1;
  for (const auto& ranks : key) {
    if (ranks.size() < 2) continue;
    const Placement at = place(topology_, ranks);
    const int rings = at.by_domain.size() > 1 ? at.rails : 1;
    for (Route& route : ring_routes(topology_, at.by_domain, rings))
      routes.push_back(std::move(route));
    if (own == 0) {
      own = routes.size();
      own_rings = rings;
    }
  }
  for (const Route& route : routes) flows.add(flows.along(route, 1.0));
  const std::vector<double> rates = flows.steady_rates();
  const auto slowest = std::min_element(rates.begin(), rates.begin() + static_cast<long>(own));
  Throughput throughput{
      *slowest * own_rings, to_string(fullest_class(topology_, flows, routes, rates)), {}};
  const double share = 1.0 / (static_cast<double>(request.ranks.size()) * own_rings);
  for (std::size_t f = 0; f < own; ++f)
    for (const int link : routes[f].links) {
      const LinkClass c = topology_.links()[static_cast<std::size_t>(link)].link_class;
      // A message crosses the links of a class in pairs (up and down); count it once.
      throughput.crossings[c] += share / 2;
    }
  return throughputs_.emplace(std::pair{key, static_cast<int>(p)}, throughput).first->second;
}

CollectiveResult CollectiveModel::run_ring(const CollectiveRequest& request, const Placement& at,
                                           Protocol protocol) {
  const auto p = static_cast<std::size_t>(protocol);
  const ProtocolCost& cost = parameters_.ring[p];
  const double ranks = static_cast<double>(request.ranks.size());
  const double domains = static_cast<double>(at.by_domain.size());
  const double rounds = request.kind == CollectiveKind::all_reduce ? 2 : 1;
  const double network_steps = domains > 1 ? rounds * (domains - 1) : 0;
  const double nvlink_steps = rounds * (ranks - 1) - network_steps;
  const double latency = cost.base_us + nvlink_steps * cost.nvlink_step_us +
                         network_steps * cost.network_step_us +
                         (cost.fan_out_us + (nvlink_steps + network_steps) * cost.fan_out_step_us) *
                             fanned_out(static_cast<double>(request.bytes.value()) / ranks);

  const Throughput& through = ring_throughput(request, protocol);
  const double moved = static_cast<double>(request.bytes.value()) * passed_on(request.kind, ranks);
  double rate = through.rate;
  std::string binding = through.binding;
  if (request.channels > 0 && request.channels * parameters_.channel_rate < rate) {
    rate = request.channels * parameters_.channel_rate;
    binding = "channels";
  }
  double transfer = microseconds(moved, rate);
  // A rank also copies (all-gather) or reduces (reduce-scatter) its own part, which crosses no
  // link.
  if (domains == 1)
    transfer += microseconds(
        static_cast<double>(request.bytes.value()) / ranks * parameters_.ring_local_pass, rate);
  if (reduces(request.kind) && core::activation_bits(request.type) == 8)
    transfer *= parameters_.int8_reduction_slowdown;
  CollectiveResult result = finish(request, at, latency, transfer, cost.ramp_us, binding);
  result.algorithm = Algorithm::ring;
  result.protocol = protocol;
  for (const auto& [link_class, per_byte] : through.crossings)
    result.bytes_per_rank[link_class] = per_byte * moved;
  result.hbm_bytes_per_rank = kRingMemoryPasses * moved;
  return result;
}

CollectiveResult CollectiveModel::run_tree(const CollectiveRequest& request, const Placement& at,
                                           Algorithm algorithm, Protocol protocol) {
  const bool in_switch = algorithm == Algorithm::in_switch;
  const auto p = static_cast<std::size_t>(protocol);
  const ProtocolCost& cost = in_switch ? parameters_.in_switch : parameters_.tree[p];
  const double bytes = static_cast<double>(request.bytes.value());
  const double domains = static_cast<double>(at.by_domain.size());
  const double local = static_cast<double>(request.ranks.size()) / domains;
  const double levels = std::ceil(std::log2(domains));
  const double nvlink_steps = in_switch ? 1 : 2 * (local - 1);
  const double latency =
      cost.base_us + nvlink_steps * cost.nvlink_step_us + 2 * levels * cost.network_step_us;
  const TopologySpec& spec = topology_.spec();
  // Up and down: each byte leaves a GPU twice in a tree, once where the switch reduces.
  const double passes = in_switch ? 1 : 2;
  const std::vector<int>& neighbours = at.by_domain.begin()->second;
  const bool by_nvlink = topology_.joined_by_nvlink(neighbours);
  double local_rate = rate_in_domain(topology_, neighbours) * cost.nvlink_fraction;
  if (!by_nvlink && topology_.cross_pcie_switches(neighbours))
    local_rate *= cost.host_share * (topology_.cross_sockets(neighbours) ? cost.socket_share : 1);
  double transfer = local > 1 ? microseconds(bytes * passes, local_rate) : 0;
  const LinkClass local_class = by_nvlink ? LinkClass::nvlink : LinkClass::pcie;
  std::string binding = to_string(local_class);
  double on_network = 0;
  if (domains > 1) {
    on_network = 2 * bytes * (domains - 1) / domains / local;
    const double nic_rate = spec.nic_rate.value() * spec.nic_efficiency * kNetworkPayload[p];
    const double network = microseconds(on_network * local / at.rails, nic_rate);
    if (network > transfer) {
      transfer = network;
      binding = to_string(LinkClass::rdma);
    }
  }
  const double channels =
      microseconds(bytes * passes, std::max(1, request.channels) * parameters_.channel_rate);
  if (request.channels > 0 && channels > transfer) {
    transfer = channels;
    binding = "channels";
  }
  CollectiveResult result = finish(request, at, latency, transfer, cost.ramp_us, binding);
  result.algorithm = algorithm;
  result.protocol = protocol;
  if (local > 1) result.bytes_per_rank[local_class] = bytes * passes;
  if (domains > 1) result.bytes_per_rank[LinkClass::rdma] = on_network;
  result.hbm_bytes_per_rank = bytes * (in_switch ? kInSwitchMemoryPasses : 2 * kRingMemoryPasses);
  return result;
}

const PairwiseCost& CollectiveModel::pairwise_cost(CollectiveKind kind) const {
  return is_send(kind) ? parameters_.send : parameters_.pairwise;
}

const CollectiveModel::Throughput& CollectiveModel::pairwise_throughput(
    const CollectiveRequest& request) {
  std::vector<std::vector<int>> key{request.ranks};
  key.insert(key.end(), request.beside.begin(), request.beside.end());
  const int marker = static_cast<int>(kProtocols) + static_cast<int>(request.kind);
  const auto found = throughputs_.find({key, marker});
  if (found != throughputs_.end()) return found->second;

  const PairwiseCost& cost = pairwise_cost(request.kind);
  const Placement here = place(topology_, request.ranks);
  const FlowSimulation capacities{
      topology_, efficiency_in_domain(topology_, here.by_domain.begin()->second,
                                      cost.nvlink_fraction, {cost.host_share, 1.0}, 1.0)};
  std::vector<double> load(topology_.links().size(), 0);
  Throughput throughput{0, "", {}};
  double own_pairs = 0;
  for (std::size_t g = 0; g < key.size(); ++g) {
    const std::vector<int>& ranks = key[g];
    for (std::size_t s = 0; s < ranks.size(); ++s) {
      if (request.kind == CollectiveKind::send_receive && s > 0) break;
      const bool folded = ranks.size() > kUnfoldedRanks &&
                          topology_.domain_of(ranks[s]) != topology_.domain_of(ranks[0]);
      if (folded) continue;
      const int next = ranks[(s + 1) % ranks.size()];
      for (const int target : ranks) {
        if (target == ranks[s] || (is_send(request.kind) && target != next)) continue;
        // Across domains by the rail of the receiver: NVLink to the GPU that shares its rail first.
        const int slots = topology_.spec().gpus_per_domain;
        const int relay =
            is_send(request.kind) || topology_.domain_of(target) == topology_.domain_of(ranks[s])
                ? ranks[s]
                : ranks[s] / slots * slots + target % slots;
        const Route route =
            joined(topology_.route(ranks[s], relay), topology_.route(relay, target));
        for (const int link : route.links) {
          load[static_cast<std::size_t>(link)] += 1;
          if (g == 0)
            throughput.crossings[topology_.links()[static_cast<std::size_t>(link)].link_class] +=
                0.5;
        }
        if (g == 0) own_pairs += 1;
      }
    }
  }
  const double peers = is_send(request.kind) ? 1.0 : static_cast<double>(request.ranks.size()) - 1;
  double seconds_per_unit = 0;
  for (const Link& link : topology_.links()) {
    const double seconds = load[static_cast<std::size_t>(link.id)] / capacities.capacity(link.id);
    if (seconds <= seconds_per_unit) continue;
    seconds_per_unit = seconds;
    throughput.binding = to_string(link.link_class);
  }
  throughput.rate = peers / seconds_per_unit;
  for (auto& [link_class, crossings] : throughput.crossings) crossings /= own_pairs;
  return throughputs_.emplace(std::pair{key, marker}, throughput).first->second;
}

double CollectiveModel::pairwise_latency(const CollectiveRequest& request, const Placement& at,
                                         double message) const {
  const PairwiseCost& cost = pairwise_cost(request.kind);
  const double further_peers =
      is_send(request.kind) ? 0 : static_cast<double>(request.ranks.size()) - 2;
  double latency = further_peers * cost.peer_us;
  latency += message <= kFlaggedMessage
                 ? cost.low_latency_base_us + cost.fan_out_us * fanned_out(message)
                 : cost.base_us;
  if (at.by_domain.size() > 1)
    latency +=
        core::to_microseconds(topology_.route(request.ranks.front(), request.ranks.back()).latency);
  return latency;
}

CollectiveResult CollectiveModel::run_pairwise(const CollectiveRequest& request,
                                               const Placement& at) {
  const PairwiseCost& cost = pairwise_cost(request.kind);
  const Throughput& through = pairwise_throughput(request);
  const double ranks = static_cast<double>(request.ranks.size());
  const double moved = static_cast<double>(request.bytes.value()) * passed_on(request.kind, ranks);
  const double message =
      static_cast<double>(request.bytes.value()) / (is_send(request.kind) ? 1 : ranks);
  const bool flagged = message <= kFlaggedMessage;
  double rate = through.rate;
  std::string binding = through.binding;
  if (request.channels > 0 && request.channels * parameters_.channel_rate < rate) {
    rate = request.channels * parameters_.channel_rate;
    binding = "channels";
  }
  double transfer = microseconds(moved, rate);
  // Half of what is sent with flags is flags.
  if (flagged) transfer *= 2;
  CollectiveResult result =
      finish(request, at, pairwise_latency(request, at, message), transfer, cost.ramp_us, binding);
  result.algorithm = Algorithm::pairwise;
  result.protocol = flagged ? Protocol::ll : Protocol::simple;
  for (const auto& [link_class, per_byte] : through.crossings)
    result.bytes_per_rank[link_class] = per_byte * moved;
  result.hbm_bytes_per_rank = kSendMemoryPasses * moved;
  return result;
}

CollectiveResult CollectiveModel::run(const CollectiveRequest& request) {
  check(request);
  const Placement at = place(topology_, request.ranks);
  if (request.ranks.size() == 1 || request.bytes == Bytes{0}) {
    CollectiveResult nothing;
    nothing.grade = parameters_.collective_grade;
    nothing.binding = "latency";
    return nothing;
  }
  if (is_direct(request.kind)) return run_pairwise(request, at);
  Choice choice{request.algorithm, Protocol::simple};
  if (request.algorithm == Algorithm::automatic) {
    const TopologySpec& spec = topology_.spec();
    choice = choose_as_nccl(
        {.kind = request.kind,
         .generation = parameters_.generation,
         .ranks = static_cast<int>(request.ranks.size()),
         .domains = static_cast<int>(at.by_domain.size()),
         .bytes = static_cast<double>(request.bytes.value()),
         .over_pcie = !topology_.joined_by_nvlink(at.by_domain.begin()->second),
         .local_rate = rate_in_domain(topology_, at.by_domain.begin()->second),
         .network_rate = at.by_domain.size() > 1 ? spec.nic_rate.value() * at.rails : 0,
         .in_switch = spec.in_switch_reduction && core::activation_bits(request.type) > 8});
  }
  if (choice.algorithm == Algorithm::ring) return run_ring(request, at, choice.protocol);
  return run_tree(request, at, choice.algorithm, choice.protocol);
}

}  // namespace tessera::fabric
