#include "sim/app/shipped_residuals.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "calibrate/fit_record.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "sim/core/config.hpp"
#include "sim/core/sha256.hpp"

namespace tessera::app {
namespace {

constexpr std::size_t kStampDigits = 16;
constexpr std::int64_t kManyRows = 1'000'000'000;
constexpr double kLargestError = 1e6;

/// Why the residuals of a record are not those of this model with these parameters; empty: they
/// are.
std::string staleness(const calibrate::FitRecord& record) {
  std::set<std::string> old;
  for (const calibrate::StageRecord& stage : record.stages)
    if (stage.model_version != gpu::kModelVersion) old.insert(stage.stage);
  if (!old.empty())
    return fmt::format("{} fitted with another model than this, version {}", fmt::join(old, ", "),
                       gpu::kModelVersion);
  if (record.stamp.empty()) return "it has no stamp";
  if (record.stamp != calibrate::stamp_of(record)) return "its stamp is another fit's";
  return "";
}

/// Whether a group is one of the classes of durations of another.
bool is_part(const std::string& group) {
  return group.ends_with(" short") || group.ends_with(" medium") || group.ends_with(" long");
}

void add_device(const std::string& name, const std::string& folder, ShippedResiduals& shipped) {
  const calibrate::FitRecord record = calibrate::load_fit_record(name, folder);
  if (record.residuals.empty()) {
    shipped.without.push_back(name);
    return;
  }
  shipped.fits.push_back(
      {.name = name, .stamp = calibrate::stamp_of(record), .stale = staleness(record)});
  for (const calibrate::ResidualLine& line : record.residuals)
    if (!is_part(line.group))
      shipped.residuals.push_back({.device = name,
                                   .group = line.group,
                                   .rows = line.rows,
                                   .median = line.median,
                                   .p90 = line.p90,
                                   .bias = line.bias,
                                   .inside = line.inside});
}

/// Residuals of a fabric's fit: those of the half that was not fitted, GPU by GPU.
void add_fabric(const std::string& name, const std::string& folder, ShippedResiduals& shipped) {
  const auto document = core::ConfigDocument::load(name, device::fit_options(folder));
  const core::ConfigNode root = document.root();
  for (const std::string& key : root.keys())
    if (key != "residuals") root.ignore(key);
  root.ignore("residuals");  // a GPU without NVLink has none
  const core::ConfigNode residuals = root.at("residuals");
  for (const core::ConfigNode& line :
       residuals.is_list() ? residuals.list() : std::vector<core::ConfigNode>{}) {
    const std::string half = line.text("half");
    ShippedResidual residual{.device = line.text("gpu"),
                             .group = line.text("family") + " " + line.text("group"),
                             .rows = static_cast<std::size_t>(line.integer("rows", 1, kManyRows)),
                             .median = line.number("median", 0, kLargestError),
                             .p90 = line.number("p90", 0, kLargestError),
                             .bias = line.number("bias", -kLargestError, kLargestError),
                             .inside = line.number_or("inside_90", 0, 1, 0)};
    if (half == "test") shipped.residuals.push_back(std::move(residual));
  }
  document.finish();
  std::string bytes;
  for (const auto& file : document.files()) bytes += core::read_text_file({file, file.string()});
  shipped.fits.push_back({.name = name, .stamp = core::sha256(bytes).substr(0, kStampDigits)});
}

/// A fit that only hands on another's: its residuals are listed there.
bool hands_on(const std::string& name, const std::string& folder) {
  const auto document = core::ConfigDocument::load(name, device::fit_options(folder));
  return document.files().size() > 1;
}

}  // namespace

ShippedResiduals load_shipped_residuals(const std::string& folder) {
  ShippedResiduals shipped;
  for (const std::string& name : core::names_in(folder)) {
    if (name == "host_overhead") continue;  // of servers: `validate serving` shows them
    if (name.starts_with("fabric_")) {
      add_fabric(name, folder, shipped);
    } else if (!hands_on(name, folder)) {
      add_device(name, folder, shipped);
    }
  }
  std::stable_sort(shipped.residuals.begin(), shipped.residuals.end(),
                   [](const auto& a, const auto& b) { return a.median > b.median; });
  return shipped;
}

std::string to_text(const ShippedResiduals& shipped) {
  std::string text = fmt::format(
      "What the fits that ship leave unexplained, at cycle fidelity, worst first; model version "
      "{}.\nErrors are |log(predicted / measured)|, bias its signed median, in90 the share of "
      "measured values\ninside the 90 % interval that other rows make.\n\n",
      gpu::kModelVersion);
  for (const ShippedFit& fit : shipped.fits)
    text += fmt::format("  {:<20} stamp {}{}\n", fit.name, fit.stamp,
                        fit.stale.empty() ? "" : "  STALE: " + fit.stale);
  if (!shipped.without.empty())
    text += fmt::format("  no residuals, priors alone: {}\n", fmt::join(shipped.without, ", "));
  text += fmt::format("\n{:<12} {:<48} {:>6} {:>8} {:>8} {:>8} {:>7}\n", "device", "group", "rows",
                      "median", "p90", "bias", "in90");
  for (const ShippedResidual& r : shipped.residuals)
    text += fmt::format("{:<12} {:<48} {:>6} {:>6.1f} % {:>6.1f} % {:>+6.1f} % {:>7}\n", r.device,
                        r.group, r.rows, 100 * r.median, 100 * r.p90, 100 * r.bias,
                        r.inside > 0 ? fmt::format("{:.1f} %", 100 * r.inside) : "-");
  return text;
}

}  // namespace tessera::app
