#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/fit_record.hpp"
#include "models/kernels/implementation_library.hpp"

/// What the numbers of a fit are, and how many of them are free.
namespace tessera::calibrate {

enum class ParameterKind {
  gpu,             ///< Of the chip: memory levels, launch, tensor pipe.
  energy,          ///< Of the chip: what its operations cost, and how its clock follows.
  implementation,  ///< Of one kernel implementation.
  harness,         ///< What one collection adds to every call.
  gap,             ///< What it adds between the kernels of one call.
  residual,        ///< Statistics of what is left; nothing reads them as a cost.
};

/// The most free parameters that a GPU and one implementation may have.
inline constexpr std::size_t kMostOfGpu = 15;
inline constexpr std::size_t kMostOfImplementation = 8;

[[nodiscard]] ParameterKind kind_of(const std::string& name);

/// "cublas_hopper" of "cublas_hopper.step"; "gpu", "energy" or the harness for the others.
[[nodiscard]] std::string owner_of(const std::string& name);

/// One free parameter as people read it.
struct DescribedParameter {
  std::string name;
  ParameterKind kind;
  std::string owner;
  std::string meaning;
  device::Parameter fitted;
  std::optional<double> prior;  ///< None for a parameter that the code does not free.

  /// Whether an earlier calibration moved what this one does not free any more.
  [[nodiscard]] bool outdated() const { return !prior && fitted.grade == core::Grade::fitted; }
};

/// The free parameters of a device's fit, by owner, residuals left out.
[[nodiscard]] std::vector<DescribedParameter> describe_parameters(
    const FitRecord& record, const device::DeviceSpec& device,
    const kernels::ImplementationLibrary& library);

}  // namespace tessera::calibrate
