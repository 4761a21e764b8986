#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/app/scenario.hpp"

/// One way of pricing for everything that a comparison sets side by side.
namespace tessera::app {

/// By default every device is priced by the scenario's price list.
struct PriceChoice {
  bool stated = false;  ///< A scenario's own rent and server price hold for its own cluster.
  std::map<std::string, double> quotes;  ///< Rents by device, USD per GPU and hour; before both.

  /// The same with every other option as it is.
  [[nodiscard]] ScenarioOptions apply(ScenarioOptions options) const;
};

/// Reads what --price says: "stated", or "h800_sxm=2 USD/GPU/h". `set`: the changes of --set, which
/// may not price one cluster while the others have the list's prices. Throws core::ConfigError.
[[nodiscard]] PriceChoice read_price_choice(const std::vector<std::string>& texts,
                                            const std::vector<std::string>& set);

/// Throws core::ConfigError for a quote of a device that none of the compared machines has, and for
/// any when GPUs are owned, whom a rent does not concern.
void check_quotes(const PriceChoice& choice, const std::vector<std::string>& devices, bool owned);

/// What the bills of the scenarios rest on, in sentences: each device's rent or server price with
/// its range and date, and rents that scenarios state and that are not taken.
[[nodiscard]] std::vector<std::string> price_notes(const PriceChoice& choice,
                                                   const std::vector<const Scenario*>& scenarios);

}  // namespace tessera::app
