#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/core/result.hpp"

/// Per-rank rows brought together for people: the same figures in the table and on the page.
namespace tessera::reports {

/// One phase over all ranks, seconds.
struct PhaseSummary {
  std::string phase;
  double mean = 0;
  double lowest = 0;
  double highest = 0;
  std::string highest_rank;
  core::Grade grade = core::Grade::measured;  ///< The worst of the ranks'.
};
/// In the order in which phases first appear; they sum to the step. Rows of rank "all" count only
/// for phases that no single rank reports.
[[nodiscard]] std::vector<PhaseSummary> phases_over_ranks(const core::Result& result);
/// The same of the step's other split, by the resource that bounds it; empty where there is none.
[[nodiscard]] std::vector<PhaseSummary> bindings_over_ranks(const core::Result& result);

/// Up to this many ranks are shown each by itself.
inline constexpr std::size_t kFewRanks = 2;

/// One split of a step as a table: "time" for one rank, a column each for two, such as pools of
/// servers, "mean", "lowest" and "highest" for more.
struct PhaseTable {
  struct Row {
    std::string phase;
    std::vector<std::optional<double>> seconds;  ///< One a head.
    std::string highest_rank;
    core::Grade grade;
  };
  bool by_binding;  ///< By the resource that bounds it, else by what is done.
  std::vector<std::string> heads;
  bool names_rank;  ///< There are so many that the one with the highest time is worth a column.
  std::vector<Row> rows;
};
/// The step's splits that the result has.
[[nodiscard]] std::vector<PhaseTable> phase_tables(const core::Result& result);

/// One kind of memory over all ranks, bytes.
struct MemorySummary {
  std::string kind;
  double on_worst_rank = 0;  ///< On the rank that uses most in total.
  double lowest = 0;
  double highest = 0;
};
struct MemoryUse {
  std::string worst_rank;
  double worst_total = 0;  ///< Bytes in use on it.
  std::vector<MemorySummary> kinds;
};
/// The kind "free" is not in use and left out.
[[nodiscard]] MemoryUse memory_over_ranks(const core::Result& result);

/// Kernels by time spent in a step (calls x time), longest first; equal ones keep their order.
[[nodiscard]] std::vector<const core::KernelRow*> kernels_by_time(const core::Result& result);

[[nodiscard]] inline double seconds_per_step(const core::KernelRow& row) {
  return row.calls_per_step * row.time.value;
}

/// Share of kernel time in a step by the resource that binds, the largest first; sums to 1.
[[nodiscard]] std::vector<std::pair<std::string, double>> time_by_binding(
    const core::Result& result);

/// The quantities with those that answer the user's question first, one of each: step, GPU-hours,
/// dollars, MFU, throughput, energy; the rest in their order.
[[nodiscard]] std::vector<std::pair<std::string, core::Estimate>> headline_first(
    const core::Result& result);

/// "Layers per stage, 4 4 3: needs ...": a sentence for each alternative that the model declines.
[[nodiscard]] std::vector<std::string> refused_alternatives(const core::Result& result);

/// Names of ranks in the order in which they first appear, "all" left out.
[[nodiscard]] std::vector<std::string> ranks_of(const std::vector<core::PhaseRow>& rows);
[[nodiscard]] std::vector<std::string> ranks_of(const std::vector<core::MemoryRow>& rows);

}  // namespace tessera::reports
