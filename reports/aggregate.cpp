#include "reports/aggregate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "reports/format.hpp"

namespace tessera::reports {
namespace {

constexpr const char* kAllRanks = "all";

template <class Row>
std::vector<std::string> distinct_ranks(const std::vector<Row>& rows) {
  std::vector<std::string> ranks;
  for (const Row& row : rows)
    if (row.rank != kAllRanks && std::find(ranks.begin(), ranks.end(), row.rank) == ranks.end())
      ranks.push_back(row.rank);
  return ranks;
}

PhaseSummary summarise(const std::string& phase, const std::vector<const core::PhaseRow*>& rows) {
  PhaseSummary summary{.phase = phase, .lowest = rows.front()->time.value};
  summary.highest = summary.lowest;
  summary.highest_rank = rows.front()->rank;
  for (const core::PhaseRow* row : rows) {
    const double seconds = row->time.value;
    summary.mean += seconds / static_cast<double>(rows.size());
    summary.lowest = std::min(summary.lowest, seconds);
    if (seconds > summary.highest) summary.highest_rank = row->rank;
    summary.highest = std::max(summary.highest, seconds);
    summary.grade = core::worst(summary.grade, row->time.grade);
  }
  return summary;
}

/// Of the rank, or of all where no rank has it by itself.
std::optional<double> seconds_on(const core::Result& result, const std::string& phase,
                                 const std::string& rank) {
  std::optional<double> seconds;
  for (const core::PhaseRow& row : result.phases)
    if (row.phase == phase && (row.rank == rank || (row.rank == kAllRanks && !seconds)))
      seconds = row.time.value;
  return seconds;
}

/// The phases of one of the two splits of a step.
std::vector<PhaseSummary> summaries_of(const core::Result& result, bool by_binding) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<const core::PhaseRow*>> single;
  std::map<std::string, std::vector<const core::PhaseRow*>> all;
  for (const core::PhaseRow& row : result.phases) {
    if (row.phase.starts_with(core::kBoundBy) != by_binding) continue;
    if (std::find(order.begin(), order.end(), row.phase) == order.end()) order.push_back(row.phase);
    (row.rank == kAllRanks ? all : single)[row.phase].push_back(&row);
  }
  std::vector<PhaseSummary> summaries;
  for (const std::string& phase : order)
    summaries.push_back(summarise(phase, single.contains(phase) ? single[phase] : all[phase]));
  return summaries;
}

}  // namespace

std::vector<PhaseSummary> phases_over_ranks(const core::Result& result) {
  return summaries_of(result, false);
}
std::vector<PhaseSummary> bindings_over_ranks(const core::Result& result) {
  return summaries_of(result, true);
}

std::vector<PhaseTable> phase_tables(const core::Result& result) {
  const std::vector<std::string> ranks = ranks_of(result.phases);
  std::vector<PhaseTable> tables;
  for (const bool by_binding : {false, true}) {
    PhaseTable table{.by_binding = by_binding, .heads = {}, .names_rank = ranks.size() > kFewRanks};
    table.heads = ranks.size() == kFewRanks ? ranks : std::vector<std::string>{"time"};
    if (table.names_rank) table.heads = {"mean", "lowest", "highest"};
    for (const PhaseSummary& phase : summaries_of(result, by_binding)) {
      PhaseTable::Row row{phase.phase, {phase.mean}, phase.highest_rank, phase.grade};
      if (table.names_rank) row.seconds = {phase.mean, phase.lowest, phase.highest};
      if (ranks.size() == kFewRanks) {
        row.seconds.clear();
        for (const std::string& rank : ranks)
          row.seconds.push_back(seconds_on(result, phase.phase, rank));
      }
      table.rows.push_back(std::move(row));
    }
    if (!table.rows.empty()) tables.push_back(std::move(table));
  }
  return tables;
}

MemoryUse memory_over_ranks(const core::Result& result) {
  constexpr const char* kFree = "free";
  std::vector<std::string> kinds;
  std::map<std::string, std::map<std::string, double>> bytes;  // rank, kind
  for (const core::MemoryRow& row : result.memory) {
    if (row.kind == kFree) continue;
    if (std::find(kinds.begin(), kinds.end(), row.kind) == kinds.end()) kinds.push_back(row.kind);
    bytes[row.rank][row.kind] += row.bytes;
  }
  MemoryUse use;
  for (const core::MemoryRow& row : result.memory) {  // in the order of rows: the first worst rank
    double total = 0;
    for (const auto& [kind, size] : bytes[row.rank]) total += size;
    if (total > use.worst_total) {
      use.worst_total = total;
      use.worst_rank = row.rank;
    }
  }
  for (const std::string& kind : kinds) {
    MemorySummary summary{.kind = kind, .on_worst_rank = bytes[use.worst_rank][kind]};
    summary.lowest = summary.highest = summary.on_worst_rank;
    for (auto& [rank, sizes] : bytes) {
      summary.lowest = std::min(summary.lowest, sizes[kind]);
      summary.highest = std::max(summary.highest, sizes[kind]);
    }
    use.kinds.push_back(summary);
  }
  return use;
}

std::vector<const core::KernelRow*> kernels_by_time(const core::Result& result) {
  std::vector<const core::KernelRow*> rows;
  for (const core::KernelRow& row : result.kernels) rows.push_back(&row);
  std::stable_sort(rows.begin(), rows.end(), [](const auto* a, const auto* b) {
    return seconds_per_step(*a) > seconds_per_step(*b);
  });
  return rows;
}

std::vector<std::pair<std::string, double>> time_by_binding(const core::Result& result) {
  std::map<std::string, double> seconds;
  double total = 0;
  for (const core::KernelRow& row : result.kernels) {
    seconds[row.binding] += seconds_per_step(row);
    total += seconds_per_step(row);
  }
  std::vector<std::pair<std::string, double>> shares;
  if (total <= 0) return shares;
  for (const auto& [binding, time] : seconds) shares.emplace_back(binding, time / total);
  std::stable_sort(shares.begin(), shares.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return shares;
}

std::vector<std::pair<std::string, core::Estimate>> headline_first(const core::Result& result) {
  static constexpr std::array kFirst = {"step_time",
                                        "gpu_hours",
                                        "dollars",
                                        "mfu",
                                        "tokens_per_second_per_gpu",
                                        "megawatt_hours_per_trillion_tokens"};
  auto rest = result.quantities;
  std::vector<std::pair<std::string, core::Estimate>> quantities;
  for (const char* prefix : kFirst) {
    const auto found = std::find_if(rest.begin(), rest.end(),
                                    [&](const auto& row) { return row.first.starts_with(prefix); });
    if (found == rest.end()) continue;
    quantities.push_back(*found);
    rest.erase(found);
  }
  quantities.insert(quantities.end(), rest.begin(), rest.end());
  return quantities;
}

std::vector<std::string> refused_alternatives(const core::Result& result) {
  std::vector<std::string> sentences;
  for (const core::SensitivityRow& row : result.sensitivity)
    if (row.refused)
      sentences.push_back(fmt::format("{}, {}: {}", label(row.choice), row.value, *row.refused));
  return sentences;
}

std::vector<std::string> ranks_of(const std::vector<core::PhaseRow>& rows) {
  return distinct_ranks(rows);
}
std::vector<std::string> ranks_of(const std::vector<core::MemoryRow>& rows) {
  return distinct_ranks(rows);
}

}  // namespace tessera::reports
