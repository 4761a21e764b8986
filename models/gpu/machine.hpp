#pragma once

#include <vector>

#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_result.hpp"

namespace tessera::gpu {

/// One GPU as the kernel models see it at one SM clock: rates in bytes per SM cycle, latencies in
/// SM cycles.
struct Machine {
  std::vector<int> gpc_sizes;  ///< SMs given to the kernel, by GPC.
  int sms = 0;                 ///< Their sum.
  double sm_port_bytes = 0;    ///< L2 to one SM, per cycle.
  double l2_bytes = 0;         ///< All slices, per cycle.
  double l2_merged = 0;        ///< Part of a read that the slices are spared when another SM's read
                               ///< of the same bytes is under way, [0, 1).
  double hbm_bytes = 0;        ///< Reachable by reads, per cycle.
  double hbm_write_bytes = 0;  ///< Reachable by writes, per cycle.
  double l2_latency = 0;       ///< Load to use on a hit, mean of near and far.
  double hbm_latency = 0;      ///< Added by a miss.
  double l2_capacity = 0;      ///< Bytes that reused data can occupy.
  double l2_dirty = 0;         ///< Written bytes that wait in L2 before they go to HBM.
  double cta_launch_cycles = 0;  ///< From a free slot to the first instruction of the next CTA.
  double tensor_scale = 1;       ///< Tensor pipe cycles per ideal cycle, >= 1.
  core::Hertz clock{};           ///< The SM clock that the cycles belong to.
};

/// The GPCs' SMs when only `sms` of them are given: taken in pairs (TPCs) from the largest GPC
/// first.
std::vector<int> give_sms(std::vector<int> gpc_sizes, int sms);

/// CTAs of `cluster` that run at once on the given GPCs; SMs that a cluster size strands stay idle.
int cluster_slots(const std::vector<int>& gpc_sizes, int cluster, int ctas_per_sm);

/// Part of a cache that survives when `touched` bytes are read in turn, over and over, before it is
/// used again: all while they fit, nothing soon after, as the least recently used goes first.
double surviving_part(double touched, double capacity);

}  // namespace tessera::gpu
