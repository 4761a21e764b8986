#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/device/cluster_spec.hpp"
#include "models/device/price_list.hpp"
#include "sim/core/result.hpp"

/// What a GPU costs whom it belongs to, and when that is less than renting it.
namespace tessera::reports {

/// What the hour of an owned GPU depends on.
struct OwnershipAssumptions {
  device::Price server;              ///< USD of a GPU with its part of a server.
  device::Price network_share;       ///< The network's part of server and network together.
  device::Price years;               ///< Over which they are written off.
  device::Price cost_of_capital;     ///< A year.
  device::Price utilisation;         ///< Part of all hours that do useful work.
  device::Price idle_power;          ///< Power in the other hours, of that at work.
  device::Price colocation;          ///< USD per provisioned kW and month.
  device::Price pue;                 ///< Facility energy over IT energy.
  device::Price electricity;         ///< USD per kWh.
  double provisioned_kilowatts = 0;  ///< IT power per GPU that the building must offer.
};

/// What one GPU costs for one hour, and of what that is made.
struct GpuHour {
  core::Estimate total;              ///< USD per GPU and hour of useful work.
  std::vector<core::CostRow> parts;  ///< Sum to `total`; rented: one row.
};

/// What the sum of an owned hour is called among the rows of a bill, after its parts.
inline constexpr const char* kOwnedHour = "GPU-hour, owned";

/// IT power per GPU under full load: its limit, and its part of node and network. kW.
[[nodiscard]] double provisioned_kilowatts(const device::ClusterSpec& cluster);

/// What one dollar costs a year when it is paid back with interest in equal parts at the end of
/// each month over `years`, as rent saved would; `rate` compounds yearly. At no interest 1 / years.
[[nodiscard]] double annuity(double rate, double years);

/// The hour of an owned GPU: server, network, cost of capital, space and electricity. With u of the
/// hours useful, what stands there all year costs 1 / u of it a useful hour, and electricity
/// 1 + idle (1 - u) / u of it. `watts`: IT power at work; without it, all that is provisioned.
/// Bounds: each input moved alone to its low and high, in quadrature.
[[nodiscard]] GpuHour owned_hour(const OwnershipAssumptions& assumptions,
                                 const std::optional<core::Estimate>& watts = std::nullopt);
/// The same for an hour owned, useful or not: what published figures state.
[[nodiscard]] GpuHour owned_hour_whether_used_or_not(const OwnershipAssumptions& assumptions);

/// Buying against renting at one rate.
struct BreakEven {
  double rent = 0;  ///< USD per GPU and hour.
  /// Part of hours above which owning over its whole life is cheaper; empty: at none up to 1.
  std::optional<double> utilisation;
  /// Months after which rent saved has paid for the purchase with interest; empty: never within
  /// `years`.
  std::optional<double> months;
};

/// Renting pays for useful hours only; owning pays for all. Typical values; nothing is sold after.
/// At the utilisation that breaks even the purchase is paid back as its life ends. `watts` as for
/// owned_hour().
[[nodiscard]] BreakEven break_even(const OwnershipAssumptions& assumptions, double rent,
                                   const std::optional<core::Estimate>& watts = std::nullopt);

}  // namespace tessera::reports
