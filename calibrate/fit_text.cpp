#include "calibrate/fit_text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "sim/core/result.hpp"

namespace tessera::calibrate {

std::string fit_text(const std::string& device, const device::FitSet& fits,
                     const std::vector<ResidualLine>& residuals, const FitProvenance& provenance) {
  std::string text = fmt::format(
      "# Parameters of {} and of its kernels, fitted by `tessera calibrate`. Not edited by "
      "hand.\nparameters:\n",
      device);
  for (const auto& [name, p] : fits.parameters)
    text += fmt::format(
        "  {}: {{value: {:.6g}, unit: \"{}\", standard_error: {:.3g}, grade: {}, source: "
        "\"{}\"}}\n",
        name, p.value, p.unit.empty() ? "1" : p.unit, p.standard_error, core::to_string(p.grade),
        p.source);
  text += "residuals:  # |log error| at cycle fidelity on the fitted rows\n";
  for (const ResidualLine& line : residuals)
    text += fmt::format("  {}: {{rows: {}, median: {:.4f}, p90: {:.4f}, bias: {:+.4f}}}\n",
                        line.group, line.rows, line.median, line.p90, line.bias);
  text += fmt::format(
      "provenance:\n"
      "  measurements: \"NVIDIA aiconfigurator, Apache-2.0, commit 095f58a51c4c\"\n"
      "  measurements_sha256: {}\n"
      "  stages: [{}]\n"
      "{}"
      "  half: {}\n"
      "  rows_per_stage: {}\n"
      "  passes: {}\n"
      "  model_version: \"{}\"\n",
      provenance.measurements_hash, fmt::join(provenance.stages, ", "),
      provenance.energies_from.empty() ? "" : "  energies_from: " + provenance.energies_from + "\n",
      provenance.half, provenance.rows_per_stage, provenance.passes, provenance.model_version);
  return text;
}

}  // namespace tessera::calibrate
