#include "models/fabric/nccl_choice.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace tessera::fabric {

namespace {

using device::Generation;

/// Everything here is NCCL 2.27, src/graph/tuning.cc and topo.h; rates in GB/s, times in us.
struct NcclTable {
  double link_share;     ///< NVLink rate it counts with, over the vendor's: 20 of 25, 20.6 of 25,
                         ///< 40.1 of 50 GB/s a link.
  double channels;       ///< Rings it builds on eight GPUs.
  double ll_rate[3];     ///< llMaxBw at 1, 2, 4 and more nodes.
  double ll128_channel;  ///< perChMaxRingLL128Bw.
  double tree_ll128_channel[3];
  double tree_channel[3];  ///< perChMaxTreeBw.
  double in_switch_share;  ///< nvlsEfficiency.
};

constexpr NcclTable kAmpere{
    0.8, 24, {87.7, 22.5, 19.0}, 20.0, {20.0, 20.0, 20.0}, {24.0, 23.6, 17.8}, 0};
constexpr NcclTable kHopper{
    0.824, 16, {141.0, 45.0, 35.0}, 36.7, {36.7, 36.7, 29.0}, {38.7, 41.4, 36.0}, 0.85};
constexpr NcclTable kBlackwell{
    0.802, 16, {282.0, 90.0, 70.0}, 40.0, {55.6, 31.67, 20.0}, {70.0, 42.8, 24.0}, 0.74};

constexpr double kRingBase[] = {6.6, 14.0, 8.4};
constexpr double kTreeBase[] = {6.8, 14.0, 8.4};
constexpr double kRingNvlinkStep[] = {0.6, 1.9, 3.4};
constexpr double kTreeNvlinkStep[] = {0.6, 1.25, 4.0};
constexpr double kRingNetworkStep[] = {2.7, 4.0, 14.0};
constexpr double kTreeNetworkStep[] = {5.0, 8.5, 14.0};
constexpr double kRingPcieStep[] = {1.0, 2.5, 5.7};
constexpr double kTreePcieStep[] = {1.0, 1.9, 4.0};
/// Rings that NCCL finds over PCIe, as part of its rate. // assumed: 24 GB/s of Gen5's 64, an entry
/// of NCCL's list of ring speeds (src/graph/search.cc)
constexpr double kPcieShare = 0.375;
/// NCCL's own is 25; with it NVLS would begin at 1 MB. // derived: comm_nccl and
/// comm_custom_allreduce take rings up to 16 MiB (Hopper) and 64 MiB (Blackwell), NVLS from 32 and
/// 128
constexpr double kInSwitchLatency = 95.0;
constexpr double kInSwitchRanks =
    4;  ///< More than these. // derived: at four, half is as slow as int8
constexpr double kInSwitchTreeNetworkStep = 20.9;
constexpr double kNetworkPost = 1.0;  ///< Floor of a ring's step across nodes; three times Simple.

/// treeCorrectionFactor by protocol and log2(bytes / 64): trees fill badly at middle sizes.
constexpr double kTreeCorrection[3][23] = {
    {1.0, 1.0, 1.0, 1.0, .9, .8, .7, .7,  .7,  .7,  .6, .5,
     .4,  .4,  .5,  .6,  .7, .8, .9, 1.0, 1.0, 1.0, 1.0},
    {1.0, 1.0, 1.0, 1.0, 1.0, .9, .8, .8, .8, .7,  .6, .6,
     .6,  .6,  .6,  .6,  .8,  .9, .9, .9, .9, 1.0, 1.0},
    {.9, .9, .9, .9, .9, .9, .9, .8, .7, .6, .6, .5, .5, .5, .5, .6, .7, .8, .7, .7, .8, .9, .9}};

const NcclTable& table_of(Generation generation) {
  switch (generation) {
    case Generation::ampere:
    case Generation::ada:
      return kAmpere;
    case Generation::hopper:
      return kHopper;
    case Generation::blackwell:
    case Generation::blackwell_client:
      return kBlackwell;
  }
  return kHopper;
}

int log2_floor(double x) { return x < 1 ? -1 : std::bit_width(static_cast<std::uint64_t>(x)) - 1; }

/// LL128 needs stores of 128 bytes to arrive whole, which NVLink alone grants. On Blackwell LL is
/// followed by Simple at once. // derived: comm_nccl jumps where LL ends, as Simple's steps do
bool has_ll128(const ChoiceContext& c) {
  return !c.over_pcie && c.generation != Generation::blackwell;
}

double ring_time(const ChoiceContext& c, const NcclTable& t, std::size_t p, double bus) {
  const int nodes_index = c.domains == 1 ? 0 : c.domains == 2 ? 1 : 2;
  const bool all_reduce = c.kind == CollectiveKind::all_reduce;
  if (p == 0) bus = std::min(t.ll_rate[nodes_index], bus * 0.5);
  if (p == 1) bus = std::min(bus * 0.92, t.channels * t.ll128_channel);
  const double steps = (all_reduce ? 2 : 1) * (c.ranks - 1);
  const double network_steps = c.domains > 1 ? (all_reduce ? 2 : 1) * (c.domains - 1) : 0;
  double nvlink_step = c.over_pcie ? kRingPcieStep[p] : kRingNvlinkStep[p];
  if (c.domains > 1) nvlink_step = std::max(nvlink_step, kNetworkPost * (p == 2 ? 3 : 1));
  double latency =
      kRingBase[p] + (steps - network_steps) * nvlink_step + network_steps * kRingNetworkStep[p];
  const double per_channel_rank = c.bytes / (t.channels * c.ranks);
  if (p == 2 && c.domains > 1 && all_reduce && per_channel_rank >= 64) latency *= 1.4;
  return latency + c.bytes / (1e3 * bus * c.ranks / steps);
}

double tree_time(const ChoiceContext& c, const NcclTable& t, std::size_t p, double bus) {
  const int nodes_index = c.domains == 1 ? 0 : c.domains == 2 ? 1 : 2;
  bus = std::min(bus * 0.92, t.channels * t.tree_channel[nodes_index]);
  if (p == 0) bus = std::min(bus / 3.8, t.ll_rate[nodes_index]);
  if (p == 1)
    bus = std::min(bus * (c.domains == 1 ? 7.0 / 9.0 : 120.0 / 128.0),
                   t.channels * t.tree_ll128_channel[nodes_index]);
  const int size = log2_floor(c.bytes / 64);
  if (size >= 0 && size < 23) bus *= kTreeCorrection[p][size];
  const double local = static_cast<double>(c.ranks) / c.domains;
  const double step = c.over_pcie ? kTreePcieStep[p] : kTreeNvlinkStep[p];
  const double latency =
      kTreeBase[p] +
      2 * ((local - 1) * step + std::max(0, log2_floor(c.domains)) * kTreeNetworkStep[p]);
  return latency + c.bytes / (1e3 * bus * 0.5);
}

double in_switch_time(const ChoiceContext& c, const NcclTable& t) {
  double bus =
      2 * c.local_rate * 1e-9 * t.link_share * t.in_switch_share * (t.channels - 1) / t.channels;
  double latency = kInSwitchLatency;
  if (c.domains > 1) {
    bus = std::min(bus, c.network_rate * 1e-9);
    latency += 2 * log2_floor(c.domains) * kInSwitchTreeNetworkStep;
  }
  return latency + c.bytes / (1e3 * bus * 0.5);
}

}  // namespace

Choice choose_as_nccl(const ChoiceContext& context) {
  const NcclTable& table = table_of(context.generation);
  double bus = context.local_rate * 1e-9 * (context.over_pcie ? kPcieShare : table.link_share);
  if (context.domains > 1) bus = std::min(bus, context.network_rate * 1e-9);
  const double local = static_cast<double>(context.ranks) / context.domains;
  Choice best{Algorithm::ring, Protocol::simple};
  double best_time = std::numeric_limits<double>::infinity();
  const auto offer = [&](Algorithm algorithm, std::size_t p, double time) {
    if (time >= best_time) return;
    best_time = time;
    best = {algorithm, static_cast<Protocol>(p)};
  };
  const bool all_reduce = context.kind == CollectiveKind::all_reduce;
  for (std::size_t p = 0; p < kProtocols; ++p) {
    if (static_cast<Protocol>(p) == Protocol::ll128 && !has_ll128(context)) continue;
    offer(Algorithm::ring, p, ring_time(context, table, p, bus));
    if (all_reduce) offer(Algorithm::tree, p, tree_time(context, table, p, bus));
  }
  // NVLS reduces what the switch can add.
  if (all_reduce && context.in_switch && !context.over_pcie && local > kInSwitchRanks &&
      table.in_switch_share > 0)
    offer(Algorithm::in_switch, 2, in_switch_time(context, table));
  return best;
}

}  // namespace tessera::fabric
