#include "sim/app/scenario_cost.hpp"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace tessera::app {
namespace {

using core::ConfigNode;
using device::Price;
using reports::OwnershipAssumptions;

const std::vector<std::pair<std::string, bool>> kOwned = {{"rental", false}, {"ownership", true}};

/// A plain number that replaces an assumption.
struct Share {
  const char* key;
  Price OwnershipAssumptions::*price;
  double min;
  double max;
};
// Bounds as those of the price list.
constexpr double kMostNetwork = 0.9;
constexpr double kFewestYears = 0.1;
constexpr double kMostYears = 50;
constexpr double kLeastUse = 0.01;
const std::vector<Share>& shares() {
  static const std::vector<Share> all = {
      {"network_share", &OwnershipAssumptions::network_share, 0, kMostNetwork},
      {"years", &OwnershipAssumptions::years, kFewestYears, kMostYears},
      {"cost_of_capital", &OwnershipAssumptions::cost_of_capital, 0, 1},
      {"utilisation", &OwnershipAssumptions::utilisation, kLeastUse, 1},
      {"idle_power", &OwnershipAssumptions::idle_power, 0, 1}};
  return all;
}

constexpr double kDearestServer = 1e6;
constexpr double kDearestSpace = 1e5;

/// Says of each key that only owning has that it does not go with renting.
void refuse_keys_of_owning(const ConfigNode& node) {
  const auto refuse = [&](std::string_view key) {
    if (!node.has(key)) return;
    node.ignore(key);
    node.fail(key, "found beside rented GPUs; expected kind: ownership with it");
  };
  refuse("server");
  refuse("colocation");
  for (const Share& share : shares()) refuse(share.key);
}

}  // namespace

Price stated_price(double value, const std::string& unit, const std::string& source) {
  return {{value, value, value, unit, core::Grade::assumed}, source, ""};
}

OwnershipAssumptions ownership_of(const device::PriceList& prices,
                                  const device::ClusterSpec& cluster) {
  const device::OwnershipPrices& own = prices.ownership;
  return {.server = own.server.at(cluster.node.device.name),
          .network_share = own.network_share,
          .years = own.years,
          .cost_of_capital = own.cost_of_capital,
          .utilisation = own.utilisation,
          .idle_power = own.idle_power,
          .colocation = own.colocation,
          .pue = prices.pue,
          .electricity = prices.electricity,
          .provisioned_kilowatts = reports::provisioned_kilowatts(cluster)};
}

std::optional<double> read_ownership(const ConfigNode& node, const device::PriceList& prices,
                                     const device::ClusterSpec& cluster, bool take_server,
                                     reports::CostAssumptions& cost) {
  if (!node.choice_or("kind", kOwned, false)) {
    refuse_keys_of_owning(node);
    return std::nullopt;
  }
  device::PriceList filled = prices;
  Price& server = filled.ownership.server[cluster.node.device.name];
  const bool listed = prices.ownership.server.contains(cluster.node.device.name);
  std::optional<double> stated;
  if (node.has("server")) stated = node.quantity_in("server", kServer, 1, kDearestServer);
  take_server = take_server && stated;
  if (take_server) server = stated_price(*stated, kServer);
  if (!listed && !take_server && node.sound())
    node.at("prices").fail(
        fmt::format("'{}' has no server price of {}; expected one there or in "
                    "cost.server",
                    node.text("prices"), cluster.node.device.name));
  OwnershipAssumptions ownership = ownership_of(filled, cluster);
  for (const Share& share : shares())
    if (const auto value = node.optional_number(share.key, share.min, share.max))
      ownership.*share.price = stated_price(*value, "1");
  if (node.has("colocation"))
    ownership.colocation = stated_price(
        node.quantity_in("colocation", "USD/kW/month", 0, kDearestSpace), "USD/kW/month");
  ownership.pue = cost.pue;
  ownership.electricity = cost.electricity;
  if (node.sound()) cost.ownership = ownership;
  return stated;
}

}  // namespace tessera::app
