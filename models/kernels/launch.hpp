#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"

namespace tessera::kernels {

/// Every launch with which `implementation` could do `op` on `device` with the SMs in `gpc_sizes`:
/// one for each tile shape and split that fits. The GPU model estimates all and simulates the best.
/// Throws core::Refusal when there is none.
std::vector<std::unique_ptr<TileKernel>> make_launches(const workload::Operator& op,
                                                       const device::DeviceSpec& device,
                                                       const Implementation& implementation,
                                                       const Residency& residency,
                                                       const std::vector<int>& gpc_sizes);

/// What a library that times its tiles does so with, where that is not `op` itself: groups of the
/// rows that the host plans for, where some then hold more.
[[nodiscard]] std::optional<workload::Operator> timed_with(const workload::Operator& op,
                                                           const Implementation& implementation);

}  // namespace tessera::kernels
