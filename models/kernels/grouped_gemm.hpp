#pragma once

#include <memory>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "models/workload/operators.hpp"

namespace tessera::kernels {

/// Every configuration of `implementation` that fits `device` for `grouped`; of a library that
/// counts waves the one that it takes on `sms` SMs for groups of the mean size.
std::vector<GemmConfiguration> grouped_gemm_configurations(const workload::GroupedGemm& grouped,
                                                           const device::DeviceSpec& device,
                                                           const Implementation& implementation,
                                                           int sms);

/// Products of different sizes in one launch: tiles belong to one group each, and run through the
/// groups in order. Rows vary: C_g[m_g,n] = A_g[m_g,k] B_g[k,n]; a contiguous layout pads m_g to
/// the implementation's `group_alignment`. Depth varies: C_g[m,n] = A_g[m,k_g] B_g[k_g,n]. A group
/// of size zero costs nothing.
std::unique_ptr<TileKernel> make_grouped_gemm(const workload::GroupedGemm& grouped,
                                              const device::DeviceSpec& device,
                                              const Implementation& implementation,
                                              const GemmConfiguration& configuration,
                                              const Residency& residency,
                                              const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
