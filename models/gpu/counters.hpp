#pragma once

#include "models/gpu/kernel_result.hpp"
#include "models/gpu/launch_totals.hpp"
#include "models/gpu/machine.hpp"
#include "models/kernels/tile_kernel.hpp"

namespace tessera::gpu {

/// Shares of the launch during which each resource worked, [0, 1].
struct Utilization {
  double tensor = 0;
  double fp32 = 0;
  double sfu = 0;
  double shared_memory = 0;
  double issue = 0;
  double l2 = 0;
  double hbm = 0;

  /// The busiest resource, or latency when none is busy half of the time.
  [[nodiscard]] Resource binding() const;
};

Utilization utilization(const Machine& machine, const kernels::LaunchPlan& plan,
                        const LaunchTotals& totals);

/// Counters under Nsight Compute's names, and stall shares, from what the launch did.
void fill_counters(const Machine& machine, const kernels::LaunchPlan& plan,
                   const LaunchTotals& totals, KernelResult& result);

}  // namespace tessera::gpu
