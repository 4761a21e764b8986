#pragma once

#include <optional>
#include <string>

#include "models/device/cluster_spec.hpp"
#include "models/device/price_list.hpp"
#include "reports/cost.hpp"
#include "sim/core/config.hpp"

namespace tessera::app {

inline constexpr const char* kRent = "USD/GPU/h";
inline constexpr const char* kServer = "USD/GPU";
// Bounds far outside of any market.
inline constexpr double kLeastRent = 0.001;
inline constexpr double kMostRent = 1000;

/// A price that the scenario itself states, or that is quoted for it.
[[nodiscard]] device::Price stated_price(double value, const std::string& unit,
                                         const std::string& source = "the scenario");

/// What owning the cluster's GPUs takes by the price list, `pue` and `electricity` given.
/// Requires: prices.ownership.server has the cluster's device.
[[nodiscard]] reports::OwnershipAssumptions ownership_of(const device::PriceList& prices,
                                                         const device::ClusterSpec& cluster);

/// Reads `cost.kind` and, for `ownership`, what the scenario states of it instead of the price
/// list; `cost.pue` and `cost.electricity` are those of `cost`. Returns the server price that the
/// scenario states, USD per GPU, which is taken only if `take_server`: it is of one cluster.
std::optional<double> read_ownership(const core::ConfigNode& node, const device::PriceList& prices,
                                     const device::ClusterSpec& cluster, bool take_server,
                                     reports::CostAssumptions& cost);

}  // namespace tessera::app
