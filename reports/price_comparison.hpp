#pragma once

#include <string>
#include <vector>

#include "reports/ownership.hpp"

/// Renting beside owning: what both cost an hour, and when buying pays.
namespace tessera::reports {

/// An ownership cost that somebody published, per hour owned. Never read by a model.
struct PublishedOwnership {
  std::string owner;  ///< "neocloud"
  double dollars = 0;
  std::string source;
};

/// One device in one cluster.
struct PriceComparison {
  std::string device;
  std::string cluster;  ///< Whose node and network the power is of.
  device::Price rental;
  OwnershipAssumptions ownership;
  GpuHour useful;                     ///< An owned hour of useful work.
  GpuHour owned;                      ///< An hour owned, used or not.
  std::vector<BreakEven> break_even;  ///< At the lowest, typical and highest rent.
  std::vector<PublishedOwnership> published;
};

[[nodiscard]] PriceComparison compare_prices(const std::string& device, const std::string& cluster,
                                             const device::Price& rental,
                                             const OwnershipAssumptions& ownership,
                                             const std::vector<PublishedOwnership>& published);

/// One device in full.
[[nodiscard]] std::string to_text(const PriceComparison& comparison);
/// One line a device.
[[nodiscard]] std::string to_price_table(const std::vector<PriceComparison>& comparisons);
[[nodiscard]] std::string to_json(const std::vector<PriceComparison>& comparisons);

}  // namespace tessera::reports
