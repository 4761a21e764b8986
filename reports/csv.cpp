#include "reports/csv.hpp"

#include <fmt/format.h>

namespace tessera::reports {
namespace {

std::string csv_field(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string text = "\"";
  for (const char c : field) {
    if (c == '"') text += '"';
    text += c;
  }
  return text + '"';
}

}  // namespace

std::string kernels_csv(const core::Result& result) {
  std::string text =
      "name,family,implementation,shape,pass,calls_per_step,time_s,time_lower_s,time_upper_s,grade,"
      "cycles,clock_hz,flops,hbm_bytes,l2_bytes,energy_joules,binding,note\n";
  for (const core::KernelRow& row : result.kernels) {
    text += fmt::format(
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", csv_field(row.name),
        csv_field(row.family), csv_field(row.implementation), csv_field(row.shape),
        csv_field(row.pass), row.calls_per_step, row.time.value, row.time.lower, row.time.upper,
        core::to_string(row.time.grade), row.cycles, row.clock_hz, row.flops, row.hbm_bytes,
        row.l2_bytes, row.energy_joules, csv_field(row.binding), csv_field(row.note));
  }
  return text;
}

}  // namespace tessera::reports
