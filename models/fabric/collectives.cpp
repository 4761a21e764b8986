#include "models/fabric/collectives.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

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
    case Algorithm::in_network:
      return "in_network";
    case Algorithm::pairwise:
      return "pairwise";
  }
  return "ring";
}

CollectiveModel::CollectiveModel(const Topology& topology, const FabricParameters& parameters,
                                 Folding folding)
    : topology_(topology), parameters_(parameters), traffic_(topology, folding) {}

void CollectiveModel::check(const CollectiveRequest& request) const {
  const auto refuse = [](const std::string& reason) {
    throw core::Refusal(core::RefusalKind::illegal_combination, reason);
  };
  const auto check_group = [&](const std::vector<int>& ranks) {
    for (const int rank : ranks)
      if (rank < 0 || rank >= topology_.gpus())
        refuse(fmt::format("rank {} is not one of the cluster's {} GPUs", rank, topology_.gpus()));
  };
  check_group(request.ranks);
  for (const auto& group : request.beside) check_group(group);
  std::vector<int> sorted = request.ranks;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    refuse(fmt::format("rank {} takes part twice", *twice));
  if (request.ranks.empty() ||
      (request.kind == CollectiveKind::send_receive && request.ranks.size() != 2))
    refuse(fmt::format("{} among {} ranks", to_string(request.kind), request.ranks.size()));
  if (request.bytes < Bytes{0} || request.channels < 0)
    refuse("negative bytes or channels of a collective");
  const bool direct = is_direct(request.kind);
  const Algorithm a = request.algorithm;
  const bool fits =
      a == Algorithm::automatic || (direct ? a == Algorithm::pairwise : a != Algorithm::pairwise);
  if (!fits || ((a == Algorithm::tree || a == Algorithm::in_switch || a == Algorithm::in_network) &&
                request.kind != CollectiveKind::all_reduce))
    refuse(fmt::format("{} has no {} algorithm", to_string(request.kind), to_string(a)));
  if (a == Algorithm::in_switch && !topology_.spec().in_switch_reduction)
    refuse("the cluster's switches do not reduce");
  if (a == Algorithm::in_network && !topology_.spec().in_network_reduction)
    refuse("the network's switches do not reduce");
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

LinkEfficiency CollectiveModel::ring_efficiency(const Placement& at, Protocol protocol) const {
  const auto p = static_cast<std::size_t>(protocol);
  const ProtocolCost& cost = parameters_.ring[p];
  return efficiency_in_domain(topology_, at.by_domain.begin()->second, cost.nvlink_fraction,
                              {cost.host_share, cost.socket_share}, kNetworkPayload[p]);
}

const Throughput& CollectiveModel::ring_throughput(const CollectiveRequest& request,
                                                   const Placement& at, Protocol protocol) {
  return traffic_.throughput({.pattern = TrafficPattern::ring,
                              .ranks = request.ranks,
                              .beside = request.beside,
                              .tiled = request.tiled,
                              .efficiency = ring_efficiency(at, protocol)});
}

/// Bytes/s that the NICs of one domain's ranks carry together.
double CollectiveModel::network_rate(const CollectiveRequest& request, const Placement& at,
                                     Protocol protocol) {
  return traffic_
      .throughput({.pattern = TrafficPattern::network_ring,
                   .ranks = request.ranks,
                   .beside = request.beside,
                   .tiled = request.tiled,
                   .efficiency = ring_efficiency(at, protocol)})
      .rate;
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

  const Throughput& through = ring_throughput(request, at, protocol);
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
  result.folded = through.folded;
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
    const double network = microseconds(on_network * local, network_rate(request, at, protocol));
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

/// Inside a domain every GPU ends with a part of the sum, which goes up its NIC once and comes down
/// once, summed over the domains; then all gather. The phases overlap in chunks.
CollectiveResult CollectiveModel::run_in_network(const CollectiveRequest& request,
                                                 const Placement& at) {
  const double bytes = static_cast<double>(request.bytes.value());
  const double local =
      static_cast<double>(request.ranks.size()) / static_cast<double>(at.by_domain.size());
  const std::vector<int>& neighbours = at.by_domain.begin()->second;
  const bool by_nvlink = topology_.joined_by_nvlink(neighbours);
  const bool in_switch = by_nvlink && topology_.spec().in_switch_reduction && local > 1;
  const ProtocolCost& cost = in_switch
                                 ? parameters_.in_switch
                                 : parameters_.ring[static_cast<std::size_t>(Protocol::simple)];
  const double passes = in_switch ? 1 : 2 * (local - 1) / local;
  const double inside = local > 1
                            ? microseconds(bytes * passes, rate_in_domain(topology_, neighbours) *
                                                               cost.nvlink_fraction)
                            : 0;
  const double network = microseconds(bytes, network_rate(request, at, Protocol::simple));
  const double steps = in_switch ? 2 : 2 * (local - 1);
  // Up the tree of switches and down again; their own latency is small beside the NIC's.
  const double latency = cost.base_us + steps * cost.nvlink_step_us + 2 * cost.network_step_us;
  const LinkClass local_class = by_nvlink ? LinkClass::nvlink : LinkClass::pcie;
  CollectiveResult result = finish(request, at, latency, std::max(inside, network), cost.ramp_us,
                                   to_string(network >= inside ? LinkClass::rdma : local_class));
  result.grade = core::Grade::assumed;  // no measurement of SHARP over a network is at hand
  result.algorithm = Algorithm::in_network;
  result.protocol = Protocol::simple;
  if (local > 1) result.bytes_per_rank[local_class] = bytes * passes;
  result.bytes_per_rank[LinkClass::rdma] = bytes / local;
  result.hbm_bytes_per_rank = bytes * (in_switch ? kInSwitchMemoryPasses : 2 * kRingMemoryPasses);
  return result;
}

const PairwiseCost& CollectiveModel::pairwise_cost(CollectiveKind kind) const {
  return is_send(kind) ? parameters_.send : parameters_.pairwise;
}

const Throughput& CollectiveModel::pairwise_throughput(const CollectiveRequest& request,
                                                       const Placement& at) {
  const PairwiseCost& cost = pairwise_cost(request.kind);
  const TrafficPattern pattern =
      request.kind == CollectiveKind::all_to_all   ? TrafficPattern::all_pairs
      : request.kind == CollectiveKind::ring_shift ? TrafficPattern::next
                                                   : TrafficPattern::first_pair;
  return traffic_.throughput(
      {.pattern = pattern,
       .ranks = request.ranks,
       .beside = request.beside,
       .tiled = request.tiled,
       .efficiency = efficiency_in_domain(topology_, at.by_domain.begin()->second,
                                          cost.nvlink_fraction, {cost.host_share, 1.0}, 1.0)});
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
  const Throughput& through = pairwise_throughput(request, at);
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
  result.folded = through.folded;
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
  const auto run_choice = [&] {
    return choice.algorithm == Algorithm::ring
               ? run_ring(request, at, choice.protocol)
               : run_tree(request, at, choice.algorithm, choice.protocol);
  };
  if (choice.algorithm == Algorithm::in_network) return run_in_network(request, at);
  CollectiveResult result = run_choice();
  // Where the network can add, NCCL's plugin is offered; it is taken where it is the faster.
  const bool offered = request.algorithm == Algorithm::automatic &&
                       request.kind == CollectiveKind::all_reduce && at.by_domain.size() > 1 &&
                       topology_.spec().in_network_reduction &&
                       core::activation_bits(request.type) > 8;
  if (!offered) return result;
  CollectiveResult reduced = run_in_network(request, at);
  return reduced.time < result.time ? reduced : result;
}

}  // namespace tessera::fabric
