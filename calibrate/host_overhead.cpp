#include "calibrate/host_overhead.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "calibrate/measured_row.hpp"
#include "calibrate/scoreboard.hpp"
#include "models/device/fit_file.hpp"
#include "sim/core/config.hpp"

namespace tessera::calibrate {

namespace {

/// No iteration of a server waits longer for its host. // assumed: bounds the search
constexpr double kLongest = 100;  // ms
constexpr int kSteps = 60;        ///< Of golden sections: kLongest shrinks below a nanosecond.

/// Errors beyond it count by their size, smaller ones by their square: what servers of one version
/// differ by, as the kernels alone err (calibrate's residuals). // assumed
constexpr double kUsualError = 0.2;

/// All servers without graphs; and what their versions' names end with.
const std::string kAllEager = "eager";

double mean_error(const std::vector<const OverheadRow*>& rows, double ms) {
  double sum = 0;
  for (const OverheadRow* row : rows)
    sum += std::hypot(1.0, std::log(row->predicted_ms(ms) / row->measured_ms) / kUsualError);
  return sum / static_cast<double>(rows.size());
}

/// Golden sections from every decade, as the error has corners.
double best(const std::vector<const OverheadRow*>& rows) {
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double found = 0;
  for (const double upper : {0.1, 1.0, 5.0, 20.0, kLongest}) {
    double low = 0, high = upper;
    for (int step = 0; step < kSteps; ++step) {
      const double a = high - ratio * (high - low), b = low + ratio * (high - low);
      if (mean_error(rows, a) <= mean_error(rows, b))
        high = b;
      else
        low = a;
    }
    if (mean_error(rows, (low + high) / 2) < mean_error(rows, found)) found = (low + high) / 2;
  }
  return found;
}

double standard_error(const std::vector<const OverheadRow*>& rows, double value) {
  const auto n = static_cast<double>(rows.size());
  if (rows.size() < 2) return value;
  std::vector<double> left;
  for (std::size_t out = 0; out < rows.size(); ++out) {
    std::vector<const OverheadRow*> others = rows;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(out));
    left.push_back(best(others));
  }
  const double mean = std::accumulate(left.begin(), left.end(), 0.0) / n;
  double squares = 0;
  for (const double ms : left) squares += (ms - mean) * (ms - mean);
  return std::sqrt(squares * (n - 1) / n);
}

HostOverhead fit(const std::vector<const OverheadRow*>& rows) {
  HostOverhead result{.milliseconds = best(rows), .rows = static_cast<int>(rows.size())};
  result.standard_error = standard_error(rows, result.milliseconds);
  std::vector<double> errors, sizes;
  for (const OverheadRow* row : rows) {
    errors.push_back(std::log(row->predicted_ms(result.milliseconds) / row->measured_ms));
    sizes.push_back(std::abs(errors.back()));
  }
  result.median = quantile(sizes, 0.5);
  result.spread = quantile(sizes, 0.9);
  result.bias = quantile(errors, 0.5);
  return result;
}

}  // namespace

HostOverheads fit_host_overheads(const std::vector<OverheadRow>& rows) {
  std::map<std::string, std::vector<const OverheadRow*>> groups;
  for (const OverheadRow& row : rows) {
    groups[row.eager ? kAllEager : "any " + row.framework].push_back(&row);
    groups[overhead_name(row.version, row.eager)].push_back(&row);
  }
  HostOverheads overheads;
  for (const auto& [name, members] : groups) overheads[name] = fit(members);
  return overheads;
}

std::string overhead_name(const std::string& version, bool eager) {
  return eager ? version + ", " + kAllEager : version;
}

const HostOverhead& overhead_of(const HostOverheads& overheads, const std::string& framework,
                                const std::string& version, bool eager) {
  for (const std::string& name :
       {overhead_name(version, eager), eager ? kAllEager : "any " + framework})
    if (const auto found = overheads.find(name); found != overheads.end()) return found->second;
  refuse_row(fmt::format("no host overhead was fitted for {}", framework));
}

HostOverhead unmeasured_overhead(const HostOverheads& overheads) {
  std::vector<double> milliseconds, spreads;
  for (const auto& [name, overhead] : overheads) {
    if (!name.starts_with("any ")) continue;
    milliseconds.push_back(overhead.milliseconds);
    spreads.push_back(overhead.spread);
  }
  return {.milliseconds = quantile(milliseconds, 0.5), .spread = quantile(spreads, 0.5)};
}

std::string overhead_text(const HostOverheads& overheads) {
  std::string text =
      "# Host time of one iteration by framework version, fitted to the fit half of "
      "e2e_serving.csv "
      "(NVIDIA aiconfigurator,\n# Apache-2.0, commit 095f58a51c4c). Written by `tessera calibrate "
      "serving`. A version without rows takes `any FRAMEWORK`.\n# Of eager servers, which launch "
      "kernels one by one: host time of a layer, while the GPU works.\nparameters:\n";
  for (const auto& [name, overhead] : overheads)
    text += fmt::format(
        "  \"{}\": {{value: {:.5g}, unit: \"ms\", standard_error: {:.3g}, grade: fitted, source: "
        "\"e2e_serving, {} rows\"}}\n",
        name, overhead.milliseconds, overhead.standard_error, overhead.rows);
  text += "# |log(predicted / measured)| of TPOT on the rows fitted.\nresiduals:\n";
  for (const auto& [name, overhead] : overheads)
    text +=
        fmt::format("  - {{group: \"{}\", rows: {}, median: {:.4f}, p90: {:.4f}, bias: {:.4f}}}\n",
                    name, overhead.rows, overhead.median, overhead.spread, overhead.bias);
  return text;
}

HostOverheads load_host_overheads(const std::string& folder) {
  const core::ConfigDocument document =
      core::ConfigDocument::load("host_overhead", device::fit_options(folder));
  const core::ConfigNode root = document.root();
  HostOverheads overheads;
  constexpr double kLarge = 1e6;
  const core::ConfigNode parameters = root.object("parameters");
  for (const std::string& name : parameters.keys()) {
    const core::ConfigNode node = parameters.object(name);
    overheads[name].milliseconds = node.number("value", 0, kLarge);
    overheads[name].standard_error = node.number("standard_error", 0, kLarge);
    for (const char* key : {"unit", "grade", "source"}) node.ignore(key);
  }
  for (const core::ConfigNode& node : root.list("residuals")) {
    HostOverhead& overhead = overheads[node.text("group")];
    overhead.rows = static_cast<int>(node.integer("rows", 1, 1000000));
    overhead.median = node.number("median", 0, kLarge);
    overhead.spread = node.number("p90", 0, kLarge);
    overhead.bias = node.number("bias", -kLarge, kLarge);
  }
  document.finish();
  return overheads;
}

}  // namespace tessera::calibrate
