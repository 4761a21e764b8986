#pragma once

#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/implementation.hpp"

namespace tessera::calibrate {

/// A number that a fit may move, in the form in which it is fitted: its logarithm, around a prior.
struct FreeParameter {
  std::string name;
  std::string unit;
  double prior = 1;
  double prior_spread = 0.5;  ///< Standard deviation of the logarithm.
  double lowest = 0;
  double highest = 1e9;
  std::string source;  ///< Of the prior.
};

/// The parameters of a GPU's memory system, launch and clock, with priors from its description.
std::vector<FreeParameter> gpu_parameters(const device::DeviceSpec& device);

/// Energies per operation and byte, idle power and the voltage's exponent, with priors from the
/// device's description.
std::vector<FreeParameter> power_parameters(const device::DeviceSpec& device);

/// The costs and parameters of one implementation.
std::vector<FreeParameter> implementation_parameters(const kernels::Implementation& implementation);

/// What a harness adds to every row of one file and framework, in microseconds.
FreeParameter harness_parameter(const std::string& name);

}  // namespace tessera::calibrate
