#pragma once

#include <string>

#include "models/device/device_spec.hpp"
#include "models/gpu/kernel_result.hpp"
#include "models/workload/operators.hpp"

namespace tessera::app {

/// One kernel's result for a terminal; `counters` adds Nsight Compute's counters and the stalls.
std::string kernel_table(const device::DeviceSpec& device, const workload::Operator& op,
                         const gpu::KernelResult& result, bool counters);
/// The same, whole, as JSON.
std::string kernel_json(const device::DeviceSpec& device, const workload::Operator& op,
                        const gpu::KernelResult& result);

}  // namespace tessera::app
