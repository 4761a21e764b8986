#include "reports/price_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "reports/json.hpp"

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;
using core::Estimate;

constexpr const char* kScope =
    "Owning: server and network written off at a cost of capital, space by provisioned power, "
    "electricity.\nStaff, storage, software, taxes and what hardware sells for in the end are left "
    "out.\nRanges: each input moved alone between its bounds, in quadrature; for rents what "
    "sources "
    "name.\n";

std::string money(double dollars) { return fmt::format("{:.2f}", dollars); }

std::string ranged(const Estimate& e) {
  return fmt::format("{} ({} to {})", money(e.value), money(e.lower), money(e.upper));
}

std::string use_text(const BreakEven& even) {
  return even.utilisation ? fmt::format("above {:.0f} % use", 100 * *even.utilisation) : "never";
}

std::string months_text(const BreakEven& even) {
  return even.months ? fmt::format("{:.0f} months", *even.months) : "never";
}

/// What to do at the stated utilisation, in a sentence.
std::string verdict(const PriceComparison& c) {
  const double use = c.ownership.utilisation.value.value;
  const Estimate& own = c.useful.total;
  const Estimate& rent = c.rental.value;
  const bool buying = own.value < rent.value;
  const Estimate& cheaper = buying ? own : rent;
  const Estimate& dearer = buying ? rent : own;
  const bool sure = cheaper.upper < dearer.lower;
  return fmt::format(
      "At {:.0f} % use {} is cheaper by {:.0f} %, {}.", 100 * use, buying ? "owning" : "renting",
      100 * (1 - cheaper.value / dearer.value),
      sure ? "and the ranges do not overlap" : "but the ranges overlap: it depends on the offer");
}

std::string parts_text(const GpuHour& useful, const GpuHour& owned) {
  std::string text;
  for (std::size_t i = 0; i < useful.parts.size(); ++i) {
    const core::CostRow& part = useful.parts[i];
    text += fmt::format("  {:<21} {:>6}  {:>6}  {:<16} {:<11}  {}\n", part.item,
                        money(owned.parts[i].amount.value), money(part.amount.value),
                        fmt::format("{} to {}", money(part.amount.lower), money(part.amount.upper)),
                        core::to_string(part.amount.grade), part.source);
  }
  const Estimate& total = useful.total;
  return text + fmt::format("  {:<21} {:>6}  {:>6}  {:<16} {}\n", kOwnedHour,
                            money(owned.total.value), money(total.value),
                            fmt::format("{} to {}", money(total.lower), money(total.upper)),
                            core::to_string(total.grade));
}

Json hour_json(const GpuHour& hour) {
  Json parts = Json::array();
  for (const core::CostRow& part : hour.parts)
    parts.push_back(
        {{"item", part.item}, {"amount", estimate_json(part.amount)}, {"source", part.source}});
  return {{"total", estimate_json(hour.total)}, {"parts", parts}};
}

Json comparison_json(const PriceComparison& c) {
  Json json{{"device", c.device},
            {"cluster", c.cluster},
            {"rental", estimate_json(c.rental.value)},
            {"rental_source", c.rental.cited()},
            {"owned_hour", hour_json(c.owned)},
            {"useful_hour", hour_json(c.useful)},
            {"utilisation", c.ownership.utilisation.value.value},
            {"break_even", Json::array()},
            {"published", Json::array()}};
  for (const BreakEven& even : c.break_even)
    json["break_even"].push_back(
        {{"rent", even.rent},
         {"utilisation", even.utilisation ? Json(*even.utilisation) : Json(nullptr)},
         {"months", even.months ? Json(*even.months) : Json(nullptr)}});
  for (const PublishedOwnership& row : c.published)
    json["published"].push_back({{"owner", row.owner},
                                 {"dollars", row.dollars},
                                 {"error", c.owned.total.value / row.dollars - 1},
                                 {"source", row.source}});
  return json;
}

}  // namespace

PriceComparison compare_prices(const std::string& device, const std::string& cluster,
                               const device::Price& rental, const OwnershipAssumptions& ownership,
                               const std::vector<PublishedOwnership>& published) {
  PriceComparison comparison{.device = device,
                             .cluster = cluster,
                             .rental = rental,
                             .ownership = ownership,
                             .useful = owned_hour(ownership),
                             .owned = owned_hour_whether_used_or_not(ownership),
                             .break_even = {},
                             .published = published};
  for (const double rent : {rental.value.lower, rental.value.value, rental.value.upper})
    comparison.break_even.push_back(break_even(ownership, rent));
  return comparison;
}

std::string to_text(const PriceComparison& c) {
  std::string text = fmt::format("{}, in {}, USD per GPU and hour\n\n", c.device, c.cluster);
  text += fmt::format("  rent {}  {}  {}\n\n", ranged(c.rental.value),
                      core::to_string(c.rental.value.grade), c.rental.cited());
  text += fmt::format("  {:<21} {:>6}  {:>6}  {:<16} grade\n", "own", "owned", "useful",
                      "range of useful");
  text += parts_text(c.useful, c.owned) + "\n" + verdict(c) + "\n\n";
  text += "  at a rent of   owning is cheaper   pays back after\n";
  for (const BreakEven& even : c.break_even)
    text +=
        fmt::format("  {:>12}   {:<18}  {}\n", money(even.rent), use_text(even), months_text(even));
  for (const PublishedOwnership& row : c.published)
    text += fmt::format("{}  published: {:<11} {} an hour owned, {:+.1f} % here; {}\n",
                        &row == &c.published.front() ? "\n" : "", row.owner, money(row.dollars),
                        100 * (c.owned.total.value / row.dollars - 1), row.source);
  return text + "\n" + kScope;
}

std::string to_price_table(const std::vector<PriceComparison>& comparisons) {
  std::string text =
      fmt::format("{:<20} {:<22} {:<22} {:>6}  {:<15} {:<10}  {}\n", "device", "rent, USD/GPU/h",
                  "own, useful hour", "owned", "cheaper to own", "pays back", "published, owned");
  for (const PriceComparison& c : comparisons) {
    const BreakEven& even = c.break_even[1];
    std::string published;
    for (const PublishedOwnership& row : c.published)
      published +=
          fmt::format("{}{} {}", published.empty() ? "" : ", ", row.owner, money(row.dollars));
    std::string line =
        fmt::format("{:<20} {:<22} {:<22} {:>6}  {:<15} {:<10}  {}", c.device,
                    ranged(c.rental.value), ranged(c.useful.total), money(c.owned.total.value),
                    use_text(even), months_text(even), published);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text + "Break-even at the typical rent.\n\n" + kScope;
}

std::string to_json(const std::vector<PriceComparison>& comparisons) {
  Json json = Json::array();
  for (const PriceComparison& comparison : comparisons) json.push_back(comparison_json(comparison));
  return json.dump(2) + "\n";
}

}  // namespace tessera::reports
