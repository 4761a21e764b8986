#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/row_kernel.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "models/workload/operators.hpp"

namespace tessera::kernels {

/// Forward attention by mma.sync, as `Implementation::warps` describes it: every warp of a CTA
/// multiplies its rows of queries and exponentiates them, one after the other, with one tile of
/// keys and one of values in flight. CTAs of an SM take turns at the tensor pipe instruction by
/// instruction, so that those that start together stay together and their products add up; only
/// what a CTA waits for is hidden by the others.
///
/// Reads of `implementation`: tiles (m queries by n keys, for heads of `head_from` to `head_to`
/// elements and `rows_from` to `rows_to` queries), the parameters `softmax_fp32` (lane operations
/// per score), `rescale_fp32` (per output and step) and `spill` (cycles of shared memory's port per
/// register that a thread spills, per step); costs prologue, epilogue, step, mma_latency (of a
/// step: barriers, fragments, shuffles) and reduction (of the merge of parts).
std::vector<std::unique_ptr<TileKernel>> make_warp_attention(const workload::Attention& attention,
                                                             const device::DeviceSpec& device,
                                                             const Implementation& implementation,
                                                             const Residency& residency,
                                                             const std::vector<int>& gpc_sizes);

/// Keys of a part where FlashInfer's plan cuts them: the fewest, at least 128, with which the
/// `tiles` of queries of a key head and their parts number at most `most` (scheduler.cuh,
/// PrefillBinarySearchKVChunkSize); all where they do not fit.
[[nodiscard]] std::int64_t planned_part(std::int64_t tiles, std::int64_t keys, std::int64_t most);

/// Steps of the slot that ends last when `slots` take tiles of these steps in order, the grid being
/// `repeats` times the list.
[[nodiscard]] double busiest_slot(const std::vector<double>& steps, std::int64_t repeats,
                                  std::int64_t slots);

}  // namespace tessera::kernels
