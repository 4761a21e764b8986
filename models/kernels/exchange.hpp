#pragma once

#include <memory>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "models/workload/operators.hpp"

namespace tessera::kernels {

/// What the SMs of one GPU do for an exchange among experts; time on the wire is the fabric's.
/// Dispatch: each token's row is read once and written `copies` times, to peers or to send buffers.
/// Combine: `copies` rows a token are read, summed in FP32 and written once.
std::unique_ptr<TileKernel> make_exchange(const workload::Exchange& exchange,
                                          const device::DeviceSpec& device,
                                          const Implementation& implementation,
                                          const Residency& residency,
                                          const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
