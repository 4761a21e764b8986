#pragma once

#include <memory>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "models/workload/operators.hpp"

namespace tessera::kernels {

/// Operands that are in L2 when a launch starts.
struct Residency {
  bool activations = false;     ///< A, at least half of it.
  bool weights = false;         ///< B, at least half of it.
  bool outputs = false;         ///< C's lines are in L2, dirty, from an earlier replay.
  double activations_part = 0;  ///< Part of A, [0, 1].
  double weights_part = 0;      ///< Part of B, [0, 1].
};

/// One GEMM tile configuration on one device.
struct GemmConfiguration {
  TileShape tile;
  int split = 1;  ///< CTAs that share a tile along k.
};

/// Tensor pipe cycles of an m x n x k MMA tile in `type`, with what small shapes waste: a wgmma
/// reads shared memory for 16 + n/4 cycles, however fast the GPU multiplies (n/2 cycles on H100, so
/// full rate from n = 64; four times that on H20, which small n costs nothing); tcgen05 takes at
/// least 44 cycles a K-step of 32 bytes and half rate below m = 128. Source: microbenchmarks of
/// H800 (arXiv 2402.13499) and B300/B200.
double mma_cycles(const device::DeviceSpec& device, core::DataType type, double m, double n,
                  double k);

/// Every configuration of `implementation` that fits `device` for `gemm`.
std::vector<GemmConfiguration> gemm_configurations(const workload::Gemm& gemm,
                                                   const device::DeviceSpec& device,
                                                   const Implementation& implementation);

/// C[m,n] = A[m,k] B[k,n], batched and split along k, with the loads, MMAs, promotion and epilogue
/// of the real kernel. `slots` are the clusters that run at once; they decide the raster.
std::unique_ptr<TileKernel> make_gemm(const workload::Gemm& gemm, const device::DeviceSpec& device,
                                      const Implementation& implementation,
                                      const GemmConfiguration& configuration,
                                      const Residency& residency,
                                      const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
