#include "calibrate/fit_record.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "sim/core/config.hpp"
#include "sim/core/result.hpp"
#include "sim/core/sha256.hpp"

namespace tessera::calibrate {
namespace {

/// Larger than any number of rows, passes or |log error| in a fit.
constexpr std::int64_t kMany = 1'000'000'000;

ResidualLine read_residual(const std::string& group, const core::ConfigNode& node) {
  return {.group = group,
          .stage = node.text("stage"),
          .rows = static_cast<std::size_t>(node.integer("rows", 1, kMany)),
          .median = node.number("median", 0, kMany),
          .p90 = node.number("p90", 0, kMany),
          .bias = node.number("bias", -kMany, kMany),
          .lower = node.number_or("lower", -kMany, kMany, 0),
          .upper = node.number_or("upper", -kMany, kMany, 0),
          .inside = node.number_or("inside", 0, 1, 0)};
}

StageRecord read_stage(const core::ConfigNode& node) {
  return {.stage = node.text("stage"),
          .half = node.text("half"),
          .rows = static_cast<std::size_t>(node.integer("rows", 1, kMany)),
          .passes = static_cast<int>(node.integer("passes", 0, 100)),
          .model_version = node.text("model_version"),
          .measurements_hash = node.text("sha256")};
}

std::string parameters_text(const FitRecord& record) {
  std::string text;
  for (const auto& [name, p] : record.fits.parameters)
    text += fmt::format(
        "  {}: {{value: {:.6g}, unit: \"{}\", standard_error: {:.3g}, grade: {}, {}source: "
        "\"{}\"}}\n",
        name, p.value, p.unit.empty() ? "1" : p.unit, p.standard_error, core::to_string(p.grade),
        p.fitted_on.empty() ? "" : "fitted_on: " + p.fitted_on + ", ", p.source);
  return text;
}

}  // namespace

std::string stamp_of(const FitRecord& record) {
  constexpr std::size_t kDigits = 16;  // enough to tell any two fits apart
  return core::sha256(gpu::kModelVersion + ("\n" + parameters_text(record))).substr(0, kDigits);
}

std::string fit_text(const std::string& device, const FitRecord& record) {
  std::string text = fmt::format(
      "# Parameters of {} and of its kernels, fitted by `tessera calibrate`. Not edited by "
      "hand.\nparameters:\n{}",
      device, parameters_text(record));
  text +=
      "residuals:  # log error at cycle fidelity on rows of the fitted half; lower, upper: 90 % of "
      "log(measured / predicted)\n";
  for (const ResidualLine& line : record.residuals)
    text += fmt::format(
        "  {}: {{stage: {}, rows: {}, median: {:.4f}, p90: {:.4f}, bias: {:+.4f}, lower: {:+.4f}, "
        "upper: {:+.4f}, inside: {:.3f}}}\n",
        line.group, line.stage, line.rows, line.median, line.p90, line.bias, line.lower, line.upper,
        line.inside);
  text += fmt::format(
      "provenance:\n"
      "  measurements: \"NVIDIA aiconfigurator, Apache-2.0, commit 095f58a51c4c\"\n"
      "  stamp: \"{}\"\n{}",
      stamp_of(record),
      (record.energies_from.empty() ? "" : "  energies_from: " + record.energies_from + "\n") +
          (record.carried_from.empty() ? "" : "  carried_from: " + record.carried_from + "\n"));
  if (!record.stages.empty()) text += "  stages:\n";
  for (const StageRecord& stage : record.stages)
    text += fmt::format(
        "    - {{stage: {}, half: {}, rows: {}, passes: {}, model_version: \"{}\", sha256: {}}}\n",
        stage.stage, stage.half, stage.rows, stage.passes, stage.model_version,
        stage.measurements_hash);
  return text;
}

DeviceRecord load_record_for(const device::DeviceSpec& device, const std::string& folder) {
  const std::vector<std::string> known = core::names_in(folder);
  const bool own = std::find(known.begin(), known.end(), device.name) != known.end();
  DeviceRecord found{
      .record = load_fit_record(own ? device.name : to_string(device.generation), folder),
      .transferred = !own};
  found.transferred = !own || !found.record.carried_from.empty();
  found.record.fits = device::load_fit_for(device, folder);
  return found;
}

FitRecord load_fit_record(const std::string& name, const std::string& folder) {
  const auto document = core::ConfigDocument::load(name, device::fit_options(folder));
  const core::ConfigNode root = document.root();
  FitRecord record;
  const core::ConfigNode residuals = root.optional_object("residuals");
  if (residuals.present())
    for (const std::string& group : residuals.keys())
      record.residuals.push_back(read_residual(group, residuals.object(group)));
  const core::ConfigNode provenance = root.optional_object("provenance");
  if (provenance.present()) {
    provenance.ignore("measurements");
    record.carried_from = provenance.text_or("carried_from", "");
    record.stamp = provenance.text_or("stamp", "");
    record.energies_from = provenance.text_or("energies_from", "");
    for (const core::ConfigNode& stage : provenance.optional_list("stages"))
      record.stages.push_back(read_stage(stage));
  }
  record.fits = device::read_fit(document);  // finishes the document
  return record;
}

}  // namespace tessera::calibrate
