#include "calibrate/carry_over.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "calibrate/parameters.hpp"

namespace tessera::calibrate {
namespace {

/// A fit is no surer of a parameter than this, whatever its rows say: the model's form errs too.
/// // assumed
constexpr double kLeastRelativeError = 0.02;
/// Relative error of a parameter without one. // assumed
constexpr double kUnknownRelativeError = 0.5;

struct Known {
  const CarriedFit* fit;
  device::Parameter parameter;  ///< On the target: a ratio to what descriptions say is kept.
};

bool usable(const std::string& name, const device::Parameter& parameter,
            const device::DeviceSpec& target) {
  return !name.starts_with("residual.") && parameter.value > 0 &&
         parameter.source != "of " + target.name;
}

int distance(device::Generation a, device::Generation b) {
  return std::abs(static_cast<int>(a) - static_cast<int>(b));
}

/// The elements of the generation nearest to the target's; `generation_of` says which one's each
/// is.
template <class Each, class GenerationOf>
std::vector<Each> nearest_of(const std::vector<Each>& all, device::Generation generation,
                             const GenerationOf& generation_of) {
  int least = distance(generation_of(all.front()), generation);
  for (const Each& each : all) least = std::min(least, distance(generation_of(each), generation));
  std::vector<Each> near;
  for (const Each& each : all)
    if (distance(generation_of(each), generation) == least) near.push_back(each);
  return near;
}

std::vector<Known> nearest_known(const std::vector<Known>& all, device::Generation generation) {
  return nearest_of(all, generation,
                    [](const Known& known) { return known.fit->device.generation; });
}

/// "cublas_hopper.step" of a Hopper GPU as "cublas_blackwell.step", where there is such a cost of
/// such an implementation; else the name itself.
std::string namesake(const std::string& name, device::Generation from, device::Generation to,
                     const kernels::ImplementationLibrary& library) {
  const std::string old = "_" + to_string(from) + ".";
  const std::size_t at = name.find(old);
  if (from == to || at == std::string::npos) return name;
  const std::string implementation = name.substr(0, at) + "_" + to_string(to);
  const std::string renamed = implementation + "." + name.substr(at + old.size());
  for (const kernels::Implementation& each : library.all()) {
    if (each.name != implementation) continue;
    for (const FreeParameter& parameter : implementation_parameters(each))
      if (parameter.name == renamed) return renamed;
  }
  return name;
}

std::map<std::string, double> descriptions(const device::DeviceSpec& device) {
  std::map<std::string, double> priors;
  for (const FreeParameter& parameter : gpu_parameters(device))
    priors[parameter.name] = parameter.prior;
  for (const FreeParameter& parameter : power_parameters(device))
    priors[parameter.name] = parameter.prior;
  return priors;
}

/// A parameter of a source as the target would have it.
device::Parameter moved(const std::string& name, device::Parameter parameter,
                        const std::map<std::string, double>& from,
                        const std::map<std::string, double>& to) {
  const auto source = from.find(name), target = to.find(name);
  if (source == from.end() || target == to.end()) return parameter;
  const double ratio = target->second / source->second;
  parameter.value *= ratio;
  parameter.standard_error *= ratio;
  return parameter;
}

device::Parameter pooled(const std::vector<Known>& sources) {
  double weights = 0, sum = 0;
  std::vector<std::string> names;
  for (const Known& source : sources) {
    const double relative = source.parameter.standard_error > 0
                                ? source.parameter.standard_error / source.parameter.value
                                : kUnknownRelativeError;
    const double weight = std::pow(std::max(relative, kLeastRelativeError), -2);
    weights += weight;
    sum += weight * std::log(source.parameter.value);
    names.push_back(source.fit->record.fits.name);
  }
  const double mean = sum / weights;
  double spread = 0;
  for (const Known& source : sources)
    spread += std::pow(std::log(source.parameter.value) - mean, 2);
  spread /= static_cast<double>(sources.size());
  device::Parameter parameter = sources.front().parameter;
  parameter.value = std::exp(mean);
  parameter.standard_error = parameter.value * std::sqrt(1 / weights + spread);
  parameter.grade = core::worst(parameter.grade, core::Grade::transferred);
  parameter.source = fmt::format("of {}", fmt::join(names, " and "));
  parameter.fitted_on.clear();
  return parameter;
}

std::vector<ResidualLine> carried_residuals(const device::DeviceSpec& target,
                                            const std::vector<CarriedFit>& sources) {
  std::map<std::string, ResidualLine> widest;
  for (const CarriedFit& source : nearest(sources, target.generation)) {
    for (const ResidualLine& line : source.record.residuals) {
      ResidualLine& known = widest.try_emplace(line.group, line).first->second;
      if (line.upper - line.lower > known.upper - known.lower) known = line;
    }
  }
  std::vector<ResidualLine> lines;
  for (const auto& [group, line] : widest) lines.push_back(line);
  return lines;
}

}  // namespace

std::vector<CarriedFit> nearest(const std::vector<CarriedFit>& fits,
                                device::Generation generation) {
  return nearest_of(fits, generation, [](const CarriedFit& fit) { return fit.device.generation; });
}

FitRecord carry_over(const device::DeviceSpec& target, const std::vector<CarriedFit>& sources,
                     const kernels::ImplementationLibrary& library) {
  std::map<std::string, std::vector<Known>> known;
  const auto described = descriptions(target);
  for (const CarriedFit& source : sources) {
    const auto from = descriptions(source.device);
    for (const auto& [name, parameter] : source.record.fits.parameters)
      if (usable(name, parameter, target))
        known[namesake(name, source.device.generation, target.generation, library)].push_back(
            {&source, moved(name, parameter, from, described)});
  }
  FitRecord record{.fits = {.name = target.name}};
  for (const auto& [name, all] : known)
    record.fits.parameters[name] = pooled(nearest_known(all, target.generation));
  for (const CarriedFit& source : sources)
    record.carried_from += (record.carried_from.empty() ? "" : " and ") + source.record.fits.name;
  record.residuals = carried_residuals(target, sources);
  return record;
}

}  // namespace tessera::calibrate
