#include "models/device/price_list.hpp"

#include <fmt/format.h>

namespace tessera::device {
namespace {

const std::vector<std::pair<std::string, core::Grade>> kGrades = {
    {"measured", core::Grade::measured},
    {"fitted", core::Grade::fitted},
    {"transferred", core::Grade::transferred},
    {"assumed", core::Grade::assumed},
};

constexpr double kDearest = 1e6;
// Bounds far outside of any plan.
constexpr double kMostNetwork = 0.9;
constexpr double kFewestYears = 0.1;
constexpr double kMostYears = 50;
constexpr double kLeastUse = 0.01;

/// `unit` empty: the values are plain numbers.
Price read_price(const core::ConfigNode& node, const std::string& unit, double min,
                 double max = kDearest) {
  const auto amount = [&](std::string_view key) {
    return unit.empty() ? node.number(key, min, max) : node.quantity_in(key, unit, min, max);
  };
  Price price;
  price.value.lower = amount("low");
  price.value.value = amount("typical");
  price.value.upper = amount("high");
  price.value.unit = unit.empty() ? "1" : unit;
  price.value.grade = node.choice("grade", kGrades);
  price.source = node.text("source");
  price.date = node.text("date");
  const bool ordered =
      price.value.lower <= price.value.value && price.value.value <= price.value.upper;
  if (node.sound() && !ordered)
    node.fail("typical", fmt::format("found {}; expected a value from low {} to high {}",
                                     price.value.value, price.value.lower, price.value.upper));
  return price;
}

OwnershipPrices read_ownership(const core::ConfigNode& node) {
  OwnershipPrices prices;
  const core::ConfigNode server = node.object("server");
  for (const std::string& device : server.keys())
    prices.server[device] = read_price(server.object(device), "USD/GPU", 1);
  const auto part = [&](std::string_view key, double min, double max) {
    return read_price(node.object(key), "", min, max);
  };
  prices.network_share = part("network_share", 0, kMostNetwork);
  prices.years = part("years", kFewestYears, kMostYears);
  prices.cost_of_capital = part("cost_of_capital", 0, 1);
  prices.utilisation = part("utilisation", kLeastUse, 1);
  prices.idle_power = part("idle_power", 0, 1);
  prices.colocation = read_price(node.object("colocation"), "USD/kW/month", 0);
  return prices;
}

}  // namespace

std::string Price::cited() const {
  return date.empty() ? source : fmt::format("{}, {}", source, date);
}

core::LoadOptions price_options(std::vector<core::Override> overrides) {
  return {.kind = "price list", .folder = "hw_configs", .overrides = std::move(overrides)};
}

PriceList read_prices(const core::ConfigDocument& document) {
  const core::ConfigNode root = document.root();
  PriceList list;
  const core::ConfigNode rental = root.object("rental");
  for (const std::string& device : rental.keys())
    list.rental[device] = read_price(rental.object(device), "USD/GPU/h", 0);
  list.electricity = read_price(root.object("electricity"), "USD/kWh", 0);
  list.pue = read_price(root.object("pue"), "", 1);
  list.ownership = read_ownership(root.object("ownership"));
  document.finish();
  return list;
}

PriceList load_prices(const std::string& name_or_path) {
  return read_prices(core::ConfigDocument::load(name_or_path, price_options()));
}

}  // namespace tessera::device
