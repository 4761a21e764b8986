#pragma once

#include "models/device/device_spec.hpp"
#include "models/gpu/launch_totals.hpp"
#include "models/kernels/tile_kernel.hpp"

namespace tessera::gpu {

/// Clock and energy of a launch under the power limit.
struct PowerState {
  core::Hertz clock{};    ///< SM clock that the limit leaves.
  double slowdown = 1;    ///< Time at `clock` over time at boost, >= 1.
  core::Watts power{};    ///< Mean while the launch runs.
  core::Joules energy{};  ///< Of one launch and the idle time beside it.
};

/// Dynamic energy of a launch at the boost clock's voltage, from its counters. `activity` is of the
/// tensor operations' operands: ExecutionContext::operand_activity.
core::Joules dynamic_energy(const device::PowerSpec& power, core::DataType type, double flops,
                            double activity, double fp32_operations, const LaunchTotals& totals);

/// What bounds the power of a launch, and how much of it the clock moves.
struct PowerTerms {
  core::Watts limit{};     ///< That the mean power has to keep.
  double clock_bound = 1;  ///< Part of the time that scales with the SM clock.
};

/// The clock at which dynamic power plus idle meets the limit, averaged over the launch and the
/// `idle` time beside it. Dynamic energy per operation scales with (clock /
/// boost)^voltage_exponent; the part of the time that HBM sets does not scale with the SM clock.
PowerState settle_power(const device::DeviceSpec& device, core::Joules dynamic,
                        core::Seconds at_boost, core::Seconds idle, const PowerTerms& terms);

}  // namespace tessera::gpu
