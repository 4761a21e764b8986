#include "models/device/device_spec.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "sim/core/diagnostics.hpp"

namespace tessera::device {

std::string to_string(Generation generation) {
  switch (generation) {
    case Generation::ampere:
      return "ampere";
    case Generation::ada:
      return "ada";
    case Generation::hopper:
      return "hopper";
    case Generation::blackwell:
      return "blackwell";
    case Generation::blackwell_client:
      return "blackwell_client";
  }
  return "hopper";
}

core::FlopsPerSecond DeviceSpec::peak(DataType type) const {
  const auto found = sm.tensor_flops.find(type);
  if (found == sm.tensor_flops.end())
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("{} has no tensor path for {}", name, core::to_string(type)));
  return core::FlopsPerSecond{found->second * sm.count * clock.quoted.value()};
}

const Parameter& FitSet::at(const std::string& parameter) const {
  const auto found = parameters.find(parameter);
  if (found == parameters.end())
    throw std::out_of_range(fmt::format("fit '{}' has no parameter '{}'", name, parameter));
  return found->second;
}

}  // namespace tessera::device
