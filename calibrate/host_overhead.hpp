#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "sim/core/units.hpp"

/// The one number per framework version that serving times are fitted with: what an iteration takes
/// beside the GPU's work, or, of eager servers, what the host takes to launch a layer's kernels.
namespace tessera::calibrate {

/// One row as the fit sees it.
struct OverheadRow {
  std::string framework;
  std::string version;  ///< "trtllm 1.2.0rc2"; the framework's name where blank.
  bool eager = false;   ///< The host launches kernels one by one; the overhead is of a layer.
  double measured_ms = 0;
  /// The row's TPOT in ms at an overhead in ms; never decreases.
  std::function<double(double)> predicted_ms;
};

/// The overhead of one version, and what its rows leave unexplained.
struct HostOverhead {
  double milliseconds = 0;  ///< Of an iteration; of a layer where eager.
  /// Of `milliseconds`, by leaving out a row at a time; as large as it where there is but one.
  double standard_error = 0;
  int rows = 0;       ///< That it was fitted to.
  double median = 0;  ///< Of |log(predicted / measured)| on them.
  double spread = 0;  ///< Its 90th percentile.
  double bias = 0;    ///< Median of log(predicted / measured).
};

/// By version; and by framework, over all of its rows, for versions without any. Eager servers are
/// named apart ("trtllm 1.3.0rc1, eager") and have one for all ("eager").
using HostOverheads = std::map<std::string, HostOverhead>;

/// Minimises a robust mean of log(predicted / measured) of each version's rows, squares of small
/// errors and sizes of large ones; never negative.
[[nodiscard]] HostOverheads fit_host_overheads(const std::vector<OverheadRow>& rows);

/// The name that a version's overhead has.
[[nodiscard]] std::string overhead_name(const std::string& version, bool eager);

/// The version's, else its framework's, or that of all eager servers. Throws core::Refusal where
/// there is neither.
[[nodiscard]] const HostOverhead& overhead_of(const HostOverheads& overheads,
                                              const std::string& framework,
                                              const std::string& version, bool eager = false);

/// Of an engine that nobody measured: the middle of the frameworks, over all rows of each, value by
/// value.
[[nodiscard]] HostOverhead unmeasured_overhead(const HostOverheads& overheads);

/// The text of calibrate/fits/host_overhead.yaml, and what it says.
[[nodiscard]] std::string overhead_text(const HostOverheads& overheads);
[[nodiscard]] HostOverheads load_host_overheads(const std::string& folder);

}  // namespace tessera::calibrate
