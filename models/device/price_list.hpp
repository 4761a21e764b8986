#pragma once

#include <map>
#include <string>

#include "sim/core/config.hpp"
#include "sim/core/result.hpp"

namespace tessera::device {

/// A price with its range; lower and upper are the lowest and highest that sources name.
struct Price {
  core::Estimate value;
  std::string source;
  std::string date;  ///< Of the source, "2026-05"; may be empty.

  /// The source with its date, when it has one.
  [[nodiscard]] std::string cited() const;
};

/// What owning GPUs takes, besides the energy they draw.
struct OwnershipPrices {
  std::map<std::string, Price> server;  ///< By device name; USD of a GPU with its part of a server.
  Price network_share;    ///< The cluster network's part of server and network together, [0, 1).
  Price years;            ///< Over which they are written off.
  Price cost_of_capital;  ///< A year, [0, 1].
  Price utilisation;      ///< Part of all hours that do useful work, (0, 1].
  Price idle_power;       ///< Power in the other hours, of that at work, [0, 1].
  Price colocation;       ///< USD per kW of provisioned IT power and month; energy apart.
};

/// What hardware and energy cost, as hw_configs/prices.yaml has it.
struct PriceList {
  std::map<std::string, Price> rental;  ///< By device name; USD per GPU and hour.
  Price electricity;                    ///< USD per kWh.
  Price pue;                            ///< Facility energy over IT energy, >= 1.
  OwnershipPrices ownership;
};

/// Reads a price list below hw_configs by bare name or path. Throws core::ConfigError with all
/// mistakes.
[[nodiscard]] PriceList load_prices(const std::string& name_or_path = "prices");
[[nodiscard]] PriceList read_prices(const core::ConfigDocument& document);
[[nodiscard]] core::LoadOptions price_options(std::vector<core::Override> overrides = {});

}  // namespace tessera::device
