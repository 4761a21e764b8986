#include "sim/app/price_choice.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "sim/app/scenario_cost.hpp"
#include "sim/core/diagnostics.hpp"
#include "sim/core/dimension.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::app {
namespace {

constexpr const char* kStated = "stated";

[[noreturn]] void fail(const std::string& option, const std::string& message) {
  throw core::ConfigError({option, 0, 0}, message);
}

std::pair<std::string, double> read_quote(const std::string& text) {
  const std::size_t equals = text.find('=');
  const core::NumberWithUnit parts = core::split_unit(
      equals == std::string::npos ? std::string_view() : std::string_view(text).substr(equals + 1));
  const auto rent = core::parse_number(parts.number);
  if (equals == 0 || !rent || parts.unit != kRent || *rent < kLeastRent || *rent > kMostRent)
    fail("--price", fmt::format("found '{}'; expected stated, or a device's rent from {} to {} {}, "
                                "as 'h800_sxm=2 {}'",
                                text, kLeastRent, kMostRent, kRent, kRent));
  return {text.substr(0, equals), *rent};
}

/// "h800_sxm 2.00 (1.70 to 3.42), 2025-02"
std::string price_text(const Scenario& scenario, const device::Price& price) {
  const core::Estimate& e = price.value;
  std::string text = fmt::format("{} {:.2f}", scenario.device().name, e.value);
  if (e.lower < e.upper) text += fmt::format(" ({:.2f} to {:.2f})", e.lower, e.upper);
  return text + ", " + (price.date.empty() ? price.source : price.date);
}

void add_once(std::vector<std::string>& list, const std::string& text) {
  if (std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
}

}  // namespace

ScenarioOptions PriceChoice::apply(ScenarioOptions options) const {
  options.market_prices = !stated;
  options.quoted_rental = quotes;
  return options;
}

PriceChoice read_price_choice(const std::vector<std::string>& texts,
                              const std::vector<std::string>& set) {
  PriceChoice choice;
  for (const std::string& text : texts) {
    if (text == kStated) {
      choice.stated = true;
      continue;
    }
    const auto [device, rent] = read_quote(text);
    if (!choice.quotes.emplace(device, rent).second)
      fail("--price", fmt::format("found '{}' a second time", device));
  }
  for (const std::string& change : set)
    for (const std::string path : {"cost.rental", "cost.server"})
      if (!choice.stated && change.starts_with(path + "="))
        fail("--set", fmt::format("found {}, which prices one cluster only; expected --price "
                                  "DEVICE=RENT, or --price stated beside it",
                                  path));
  return choice;
}

void check_quotes(const PriceChoice& choice, const std::vector<std::string>& devices, bool owned) {
  for (const auto& [device, unused] : choice.quotes) {
    if (std::find(devices.begin(), devices.end(), device) == devices.end())
      fail("--price", core::unknown_name(device, devices));
    if (owned)
      fail("--price", fmt::format("found a rent of {}, whose GPUs are owned; expected cost.kind: "
                                  "rental with it",
                                  device));
  }
}

std::vector<std::string> price_notes(const PriceChoice& choice,
                                     const std::vector<const Scenario*>& scenarios) {
  std::vector<std::string> rents, servers, untaken;
  for (const Scenario* scenario : scenarios) {
    const auto& owned = scenario->cost.ownership;
    if (owned)
      add_once(servers, price_text(*scenario, owned->server));
    else
      add_once(rents, price_text(*scenario, scenario->cost.rental));
    const auto& own = owned ? scenario->stated_server : scenario->stated_rental;
    const bool quoted = !owned && choice.quotes.contains(scenario->device().name);
    if (own && !choice.stated && !quoted)
      add_once(untaken,
               fmt::format("{} states a {} of {:.2f} {} for its own cluster, which is not taken: "
                           "all are priced alike (--price stated takes it).",
                           scenario->name, owned ? "server price" : "rent", *own,
                           owned ? kServer : kRent));
  }
  std::vector<std::string> notes;
  constexpr const char* kForm = "{} in {}, with their ranges and dates: {}.";
  if (!rents.empty()) notes.push_back(fmt::format(kForm, "Rents", kRent, fmt::join(rents, "; ")));
  if (!servers.empty())
    notes.push_back(fmt::format(kForm, "Owned servers", kServer, fmt::join(servers, "; ")));
  notes.insert(notes.end(), untaken.begin(), untaken.end());
  return notes;
}

}  // namespace tessera::app
