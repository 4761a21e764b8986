#pragma once

#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_timer.hpp"
#include "models/kernels/implementation_library.hpp"

namespace tessera::app {

/// Asks another timer for the first of the preferred implementations that can run an operator on
/// the device, and for the device's default where none can.
class PreferringKernelTimer : public gpu::KernelTimer {
 public:
  /// All arguments outlive this object; `names` are of `library`.
  PreferringKernelTimer(gpu::KernelTimer& timer, const kernels::ImplementationLibrary& library,
                        const device::DeviceSpec& device, const std::vector<std::string>& names);

  gpu::KernelResult run(const workload::Operator& op, const gpu::ExecutionContext& context,
                        const std::string& implementation = {}) override;

 private:
  gpu::KernelTimer& timer_;
  const device::DeviceSpec& device_;
  std::vector<const kernels::Implementation*> preferred_;
};

/// What a report says about the preferred kernels: which run, and which the device cannot run.
[[nodiscard]] std::vector<std::string> kernel_notes(const kernels::ImplementationLibrary& library,
                                                    const device::DeviceSpec& device,
                                                    const std::vector<std::string>& names);

}  // namespace tessera::app
