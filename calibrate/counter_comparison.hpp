#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "calibrate/import_rules.hpp"

namespace tessera::calibrate {

/// One counter, predicted and measured.
struct CounterRow {
  std::string name;  ///< Nsight Compute's.
  double predicted = 0;
  double measured = 0;  ///< Median over the launches compared.

  /// Whether the counter is a share in percent, so that differences are in points.
  [[nodiscard]] bool in_percent() const;
  /// Signed: predicted / measured - 1, or predicted - measured in points of percent. Infinite
  /// where a count was measured as 0 and predicted as more.
  [[nodiscard]] double difference() const;
};

struct CounterComparison {
  std::string kernel;  ///< Name of the measured kernel.
  std::string grid, block;
  std::size_t launches = 0;
  std::vector<CounterRow> rows;
  std::vector<std::string> missing;  ///< Predicted, but not in the export.
};

/// Sets predicted counters against the launches of one kernel in an `ncu --csv` export.
/// `operator_family` is workload::family of what was predicted: without a `selection`, kernels of
/// that family are looked at, and they must be one kernel with one grid. `selection` is a part of
/// a kernel's name, or the number of a launch. Throws core::ConfigError when no or more than one
/// kernel remains, naming them, and where the export is malformed.
[[nodiscard]] CounterComparison compare_counters(const std::map<std::string, double>& predicted,
                                                 std::istream& text, const std::string& file,
                                                 const ImportRules& rules,
                                                 const std::string& operator_family,
                                                 const std::string& selection);

}  // namespace tessera::calibrate
