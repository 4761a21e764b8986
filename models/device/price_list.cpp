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

/// `unit` empty: the values are plain numbers.
Price read_price(const core::ConfigNode& node, const std::string& unit, double min) {
  const auto amount = [&](std::string_view key) {
    return unit.empty() ? node.number(key, min, kDearest)
                        : node.quantity_in(key, unit, min, kDearest);
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

}  // namespace

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
  document.finish();
  return list;
}

PriceList load_prices(const std::string& name_or_path) {
  return read_prices(core::ConfigDocument::load(name_or_path, price_options()));
}

}  // namespace tessera::device
