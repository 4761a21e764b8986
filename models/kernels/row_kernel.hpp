#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/stream.hpp"
#include "models/kernels/tile_kernel.hpp"

namespace tessera::kernels {

/// Work that CUDA cores stream through: so many units, each of so many elements of equal cost.
struct RowWork {
  std::string name;
  double units = 0;          ///< What a CTA takes at least one of: a row, or an element.
  double unit_elements = 1;  ///< Elements of a unit.
  double row_elements = 1;   ///< Elements of a row, where units are smaller.
  StreamFacts facts;
  double remote_write_bytes =
      0;                    ///< Per element, to peers: through the SM's port, past L2 and HBM.
  double padding_rows = 0;  ///< Visited by all CTAs in turn once their rows are done.
  double rows_at_once = 1;  ///< Of those that a thread sums, how many it loads side by side.
  double cta_elements = 0;  ///< Of a CTA that ends with them; 0: CTAs stay and take more.
};

/// The launch that streams `work` through all given SMs. Reads of `implementation`: the parameters
/// `box_bytes` (most bytes that a CTA moves at a time, unless a unit is larger), `issue_per_fp32`
/// (instructions issued per arithmetic lane operation), `issue_per_moved` (per element, where it is
/// moved alone and not in vectors; 0 where absent), `row_cycles` (of a CTA, for each row,
/// beside its elements; 0 where absent), `padding_row` (SM cycles of a row of padding, where there
/// are any), `cta_launch` (SM cycles from a CTA's start to the next one's, where they do not stay),
/// and the costs prologue, epilogue and reduction (one exchange between the threads of a row).
std::unique_ptr<TileKernel> make_row_kernel(const RowWork& work, const device::DeviceSpec& device,
                                            const Implementation& implementation,
                                            const Residency& residency,
                                            const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
