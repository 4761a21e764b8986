#pragma once

#include <functional>
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "calibrate/import_rules.hpp"

namespace tessera::calibrate {

/// One profiled kernel launch of an Nsight Compute export.
struct NcuLaunch {
  std::string id;       ///< "0", as the export numbers launches.
  std::string process;  ///< Process ID; launches are numbered anew in each.
  std::string kernel;
  std::string grid;    ///< "(1024, 1, 1)"; empty in exports without it.
  std::string block;   ///< As grid.
  std::string device;  ///< What the driver calls the GPU; empty unless on the raw page.
  /// Metrics by Nsight Compute's names, in ns, bytes, cycles, percent or plain counts: the unit
  /// prefix of the export (Kbyte, usecond) is undone. Metrics without a number are absent.
  std::map<std::string, double> metrics;
};

/// Reads `ncu --csv`: the raw page (one column a metric, units in the second line) or the details
/// page and --metrics lists (one line a metric). Keeps `wanted` metrics, by their names or by what
/// the details page calls them (calibrate/import_rules.yaml); calls `each` for every launch, one
/// launch in memory at a time. Lines of the profiler (==PROF==) and of the program before the table
/// are passed over. Throws core::ConfigError at line and column: no table, a record that does not
/// fit its header, a value or unit that is none.
void read_ncu_export(std::istream& text, const std::string& file, const ImportRules& rules,
                     const std::vector<std::string>& wanted,
                     const std::function<void(const NcuLaunch&)>& each);

/// Launches as rows: one for each kernel, grid and block, latency_us from gpu__time_duration.sum.
/// Shapes are unknown: the export does not have them.
[[nodiscard]] Import import_ncu(std::istream& text, const std::string& file,
                                const ImportRules& rules);

inline constexpr const char* kNcuDuration = "gpu__time_duration.sum";  ///< ns

}  // namespace tessera::calibrate
