#include "sim/app/parameter_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "calibrate/parameter_kinds.hpp"
#include "models/device/device_file.hpp"
#include "sim/core/config.hpp"

namespace tessera::app {
namespace {

using calibrate::DescribedParameter;

std::string line(const DescribedParameter& p) {
  return fmt::format("  {:<46} {:>11.5g} {:>10.3g} {:>11} {:<8} {:<12} {}\n", p.name,
                     p.fitted.value, p.fitted.standard_error,
                     p.prior ? fmt::format("{:.5g}", *p.prior) : "-", p.fitted.unit,
                     core::to_string(p.fitted.grade), p.meaning);
}

std::string table_of(const std::string& name, const std::string& folder,
                     const kernels::ImplementationLibrary& library) {
  const auto parameters = calibrate::describe_parameters(calibrate::load_fit_record(name, folder),
                                                         device::load_device(name), library);
  std::map<std::string, std::size_t> owned;
  for (const DescribedParameter& p : parameters) ++owned[p.owner];
  std::string text =
      fmt::format("{}\n  {:<46} {:>11} {:>10} {:>11} {:<8} {:<12} {}\n", name, "parameter", "value",
                  "error", "prior", "unit", "grade", "meaning");
  for (const DescribedParameter& p : parameters) text += line(p);
  std::string counts;
  for (const auto& [owner, count] : owned)
    if (!owner.starts_with("harness."))
      counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", owner, count);
  return text + "  free: " + counts + "\n";
}

}  // namespace

std::string parameter_table(const std::string& folder) {
  const auto library = kernels::ImplementationLibrary::load();
  const std::vector<std::string> devices = core::names_in("hw_configs/devices");
  std::string text;
  for (const std::string& name : core::names_in(folder))
    if (std::find(devices.begin(), devices.end(), name) != devices.end())
      text += (text.empty() ? "" : "\n") + table_of(name, folder, library);
  return text;
}

}  // namespace tessera::app
