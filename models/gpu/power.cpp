#include "models/gpu/power.hpp"

#include <algorithm>
#include <cmath>

namespace tessera::gpu {

core::Joules dynamic_energy(const device::PowerSpec& power, core::DataType type, double flops,
                            double activity, double fp32_operations, const LaunchTotals& totals) {
  const auto found = power.tensor_pj_per_flop.find(type);
  const double tensor = found == power.tensor_pj_per_flop.end() ? 0.0 : found->second;
  const double picojoules =
      flops * activity * tensor + fp32_operations * power.fp32_pj_per_flop +
      totals.shared_memory_bytes * power.shared_memory_pj_per_byte +
      (totals.l2_read_bytes + totals.l2_write_bytes) * power.l2_pj_per_byte +
      (totals.hbm_read_bytes + totals.hbm_write_bytes) * power.hbm_pj_per_byte;
  return core::Joules{picojoules * 1e-12};
}

PowerState settle_power(const device::DeviceSpec& device, core::Joules dynamic,
                        core::Seconds at_boost, core::Seconds idle, const PowerTerms& terms) {
  const device::PowerSpec& power = device.power;
  const auto slowdown_at = [&](double ratio) {
    return terms.clock_bound / ratio + (1 - terms.clock_bound);
  };
  const auto power_at = [&](double ratio) {
    return power.idle.value() + dynamic.value() * std::pow(ratio, power.voltage_exponent) /
                                    (at_boost.value() * slowdown_at(ratio) + idle.value());
  };
  const double limit = terms.limit.value();
  double ratio = 1;
  if (power_at(1) > limit) {
    double low = device.clock.minimum / device.clock.boost;
    double high = 1;
    for (int i = 0; i < 40; ++i) {
      const double middle = (low + high) / 2;
      (power_at(middle) > limit ? high : low) = middle;
    }
    ratio = low;
  }
  const double slowdown = slowdown_at(ratio);
  const core::Watts drawn{power_at(ratio)};
  return {.clock = device.clock.boost * ratio,
          .slowdown = slowdown,
          .power = drawn,
          .energy = drawn * core::Seconds{at_boost.value() * slowdown + idle.value()}};
}

}  // namespace tessera::gpu
