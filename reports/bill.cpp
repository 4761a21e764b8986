#include "reports/bill.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "reports/aggregate.hpp"
#include "reports/json.hpp"
#include "reports/ownership.hpp"

namespace tessera::reports {
namespace {

using core::Estimate;

/// A part of an amount, as uncertain as the whole.
Estimate part_of(const Estimate& whole, double part, core::Grade grade) {
  return {whole.value * part, whole.lower * part, whole.upper * part, whole.unit,
          core::worst(whole.grade, grade)};
}

void add_phases(Bill& bill, const Estimate& dollars, const std::vector<PhaseSummary>& phases,
                const std::string& prefix) {
  double step = 0;
  for (const PhaseSummary& phase : phases) step += phase.mean;
  if (step <= 0) return;
  for (const PhaseSummary& phase : phases)
    bill.parts.emplace_back(prefix + phase.phase, part_of(dollars, phase.mean / step, phase.grade));
}

std::vector<PhaseSummary> phases_on(const core::Result& result, const std::string& rank) {
  core::Result of_rank;
  std::copy_if(result.phases.begin(), result.phases.end(), std::back_inserter(of_rank.phases),
               [&](const core::PhaseRow& row) { return row.rank == rank; });
  return phases_over_ranks(of_rank);
}

Bill dollars_by_phase(const core::Result& result) {
  Bill bill;
  for (const std::string name : {"dollars", "dollars_per_million_tokens"}) {
    const Estimate* dollars = result.find(name);
    if (dollars == nullptr) continue;
    bill.total = *dollars;
    bool by_rank = false;
    for (const std::string& rank : ranks_of(result.phases))
      if (const Estimate* own = result.find(part_of_rank(name, rank))) {
        by_rank = true;
        add_phases(bill, *own, phases_on(result, rank), rank + ": ");
      }
    if (!by_rank) add_phases(bill, *dollars, phases_over_ranks(result), "");
    break;
  }
  return bill;
}

/// The rows before the sum of an owned hour.
Bill owned_hour_of(const core::Result& result) {
  Bill bill{.of = "an owned GPU-hour", .parts = {}, .total = {}};
  const auto total = std::find_if(result.cost.begin(), result.cost.end(),
                                  [](const core::CostRow& row) { return row.item == kOwnedHour; });
  if (total == result.cost.end()) return bill;
  bill.total = total->amount;
  for (auto row = result.cost.begin(); row != total; ++row)
    if (row->amount.unit == total->amount.unit) bill.parts.emplace_back(row->item, row->amount);
  return bill;
}

}  // namespace

std::string part_of_rank(const std::string& bill, const std::string& rank) {
  return bill + "_of_" + rank;
}

std::vector<Bill> bills_of(const core::Result& result) {
  std::vector<Bill> bills;
  for (Bill& bill : std::vector<Bill>{dollars_by_phase(result), owned_hour_of(result)})
    if (!bill.parts.empty()) bills.push_back(std::move(bill));
  return bills;
}

nlohmann::ordered_json waterfall_json(const Bill& bill) {
  nlohmann::ordered_json items = nlohmann::ordered_json::array();
  const auto add = [&](const std::string& item, const Estimate& amount) {
    nlohmann::ordered_json json{{"item", item}};
    json.update(estimate_json(amount));
    items.push_back(std::move(json));
  };
  for (const auto& [item, amount] : bill.parts) add(item, amount);
  add("total", bill.total);
  return items;
}

}  // namespace tessera::reports
