#include "models/device/fit_file.hpp"

#include <algorithm>
#include <filesystem>

#include "sim/core/sha256.hpp"

namespace tessera::device {
namespace {

constexpr double kLargest = 1e18;  ///< Beyond every physical parameter; keeps sums finite.

const std::vector<std::pair<std::string, core::Grade>> kGrades = {
    {"measured", core::Grade::measured},
    {"fitted", core::Grade::fitted},
    {"transferred", core::Grade::transferred},
    {"assumed", core::Grade::assumed},
};

Parameter read_parameter(const core::ConfigNode& node) {
  return {.value = node.number("value", -kLargest, kLargest),
          .standard_error = node.number("standard_error", 0, kLargest),
          .grade = node.choice("grade", kGrades),
          .unit = node.text("unit"),
          .source = node.text("source"),
          .fitted_on = node.text_or("fitted_on", "")};
}

std::string hash_of(const core::ConfigDocument& document) {
  std::string bytes;
  for (const std::filesystem::path& file : document.files())
    if (!file.empty()) bytes += core::read_text_file({file, file.string()});
  return core::sha256(bytes);
}

}  // namespace

core::LoadOptions fit_options(const std::string& folder) {
  return {.kind = "fit", .folder = folder};
}

FitSet read_fit(const core::ConfigDocument& document) {
  FitSet fit{.name = document.name(), .hash = hash_of(document)};
  const core::ConfigNode root = document.root();
  const core::ConfigNode parameters = root.object("parameters");
  for (const std::string& name : parameters.keys())
    fit.parameters[name] = read_parameter(parameters.object(name));
  root.ignore("residuals");
  root.ignore("provenance");
  document.finish();
  return fit;
}

FitSet load_fit(const std::string& name_or_path, const std::string& folder) {
  return read_fit(core::ConfigDocument::load(name_or_path, fit_options(folder)));
}

FitSet load_fit_for(const DeviceSpec& device, const std::string& folder) {
  const std::vector<std::string> known = core::names_in(folder);
  if (std::find(known.begin(), known.end(), device.name) != known.end())
    return load_fit(device.name, folder);
  FitSet fit = load_fit(to_string(device.generation), folder);
  for (auto& [name, parameter] : fit.parameters)
    parameter.grade = core::worst(parameter.grade, core::Grade::transferred);
  return fit;
}

}  // namespace tessera::device
