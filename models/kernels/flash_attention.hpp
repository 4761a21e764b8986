#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "models/workload/operators.hpp"

namespace tessera::kernels {

/// Forward: O = softmax(Q K^T) V, one CTA a tile of `TileShape::m` queries of a head, its loop over
/// tiles of `TileShape::n` keys. Consumers (warpgroups of 64 rows, or of 128 through TMEM)
/// alternate: the exponentials of one run beside the products of another. Causal tiles beyond the
/// diagonal and outside a window are not visited; a tile that the diagonal cuts costs as much as a
/// whole one. Short queries of one key head are packed into a tile; `splits` cut the keys of few
/// queries.
///
/// Reads of `implementation`: the parameters `softmax_fp32` (lane operations per score, beside what
/// narrows it), `polynomial_share` (of the exponentials, on the FP32 pipe), `drain_fp32` (lane
/// operations per output that is stored) and `stage_fp32` (per output of a tile, whether or not its
/// query is there), `evens_keys` (1: keys are cut as `efficient` cuts them for decode),
/// `combine_cycles` (from the last part to their sum, a second launch) and `sequence_scan` (per 31
/// sequences through which the scheduler looks for a tile's); costs prologue, epilogue, reduction
/// (row maxima and sums between threads, per tile), mma_latency, step and issue.
std::vector<std::unique_ptr<TileKernel>> make_attention(const workload::Attention& attention,
                                                        const device::DeviceSpec& device,
                                                        const Implementation& implementation,
                                                        const Residency& residency,
                                                        const std::vector<int>& gpc_sizes);

/// Backward: dQ, dK and dV by five products (S and dP again, dV, dK, dQ), one CTA a tile of
/// `TileShape::n` keys of a key head, its loop over tiles of `TileShape::m` queries of all its
/// query heads. dQ is added up in FP32 in L2. Parameters as forward, with `backward_fp32` in place
/// of `softmax_fp32`.
std::vector<std::unique_ptr<TileKernel>> make_attention_backward(
    const workload::Attention& attention, const device::DeviceSpec& device,
    const Implementation& implementation);

/// `attention` as `implementation` multiplies it: with values as wide as keys unless it takes them
/// as they are.
[[nodiscard]] workload::Attention multiplied(const workload::Attention& attention,
                                             const Implementation& implementation);
/// `attention` as its tensors lie in memory when `implementation` runs: with values as wide as keys
/// where it pads them.
[[nodiscard]] workload::Attention stored(const workload::Attention& attention,
                                         const Implementation& implementation);

/// The launches around the attention kernel. Where `implementation` pads values: the padded copy of
/// V, and backward of dO. Backward: row sums of dO * O with the clearing of dQ's FP32 sums, and the
/// conversion of these to the output type. `rows` is a stream implementation.
std::vector<std::unique_ptr<TileKernel>> make_attention_passes(const workload::Attention& attention,
                                                               const device::DeviceSpec& device,
                                                               const Implementation& implementation,
                                                               const Implementation& rows,
                                                               const std::vector<int>& gpc_sizes);

/// Tiles of keys that a tile of queries needs: [first, last).
struct KeyRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

/// For queries [first_query, last_query) of `attention`, keys in tiles of `keys`.
[[nodiscard]] KeyRange keys_needed(const workload::Attention& attention, std::int64_t first_query,
                                   std::int64_t last_query, std::int64_t keys);

}  // namespace tessera::kernels
