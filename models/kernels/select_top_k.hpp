#pragma once

#include <memory>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "models/workload/operators.hpp"

namespace tessera::kernels {

/// The selection by radix: one CTA a row counts the coarse keys of all columns in a histogram in
/// shared memory, finds the bin that the threshold lies in, passes over the row again to write the
/// places above it and to collect the bin's own, and refines those a byte at a time. Rows of at
/// most `selected` columns are written out without a look.
/// Source: SGLang, sgl-kernel, fast_topk (after TileLang's top-k selector of DeepSeek-V3.2).
///
/// Reads of `implementation`: ctas_per_sm; the parameters `box_bytes` (of a row in flight),
/// `element_fp32` (lane operations per column and pass), `candidates` (places that shared memory
/// keeps of the threshold's bin), `contested_cycles` (for each of them and round, whose counts fall
/// on one bin: one after another) and `hbm_reachable` (read by the GPU model); costs prologue,
/// epilogue (of a row) and reduction (of one exchange between the threads: eight make a scan of the
/// histogram, one scan a round).
std::unique_ptr<TileKernel> make_select_top_k(const workload::SelectTopK& selection,
                                              const device::DeviceSpec& device,
                                              const Implementation& implementation,
                                              const Residency& residency,
                                              const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
