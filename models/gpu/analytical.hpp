#pragma once

#include "models/gpu/launch_totals.hpp"
#include "models/gpu/machine.hpp"
#include "models/kernels/tile_kernel.hpp"

namespace tessera::gpu {

/// The closed form of a launch: waves of equal tiles, each step as long as its slowest resource.
///
/// Reads the same plan as the tile engine. Does not see bursts, tails of unequal tiles or the order
/// in which L2 is filled; where it and the engine differ by more than 15 %, reports say so.
LaunchTotals estimate_launch(const Machine& machine, const kernels::LaunchPlan& plan);

}  // namespace tessera::gpu
