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

/// O = softmax(Q K^T) V for few queries a sequence. A CTA takes the query heads of one key head
/// (`DecodeTraits::packed_heads` at most, filled up to `TileShape::m` rows) and one part of the
/// keys, in tiles of `TileShape::n`; the last CTA of a sequence and head to arrive adds up the
/// parts, FP32 sums with their maxima and row sums. A window shortens what is read.
///
/// Reads of `implementation`: `decode`; the parameters `softmax_fp32` (lane operations per score),
/// `widen_fp32` (per element of a cache of another type than the queries), and `core_fp32` (per
/// multiply-add where CUDA cores do the products, else 0), `keys_of_part` (DecodeWork) and
/// `cuts_window` (1: parts are of the keys in the window alone); costs
/// prologue (start of a CTA to its first load), step (per tile of keys, beside its pipes),
/// mma_latency, epilogue (of the smallest tile's rows of 128 values, others in proportion),
/// reduction (from a part's store to the sum of parts, a second launch where a library has one, and
/// then where it finds no parts too) and issue.
std::vector<std::unique_ptr<TileKernel>> make_decode_attention(const workload::Attention& attention,
                                                               const device::DeviceSpec& device,
                                                               const Implementation& implementation,
                                                               const Residency& residency,
                                                               const std::vector<int>& gpc_sizes);

/// What a sequence's keys are cut for.
struct DecodeWork {
  std::int64_t ctas = 1;  ///< Work items when nothing is cut.
  std::int64_t ctas_of_sequence = 1;
  std::int64_t sms = 1;
  std::int64_t slots = 1;  ///< CTAs that the SMs hold at once.
  std::int64_t tiles = 1;  ///< Of keys.
  std::int64_t keys = 1;   ///< Those before a window too, unless `cuts_window`.
  std::int64_t keys_of_tile = 1;
  std::int64_t keys_of_part = 0;  ///< 0, or the fewest keys of a part that XQA cuts.
};

/// Parts into which the keys are cut; a part has a tile at least. `fill` with `keys_of_part` goes
/// by the root of the number of parts, as TensorRT-LLM's XQA; `efficient` evens FlashAttention-3's
/// few parts out over the SMs.
[[nodiscard]] std::int64_t decode_splits(const DecodeTraits& traits, const DecodeWork& work);

/// The bound of `efficient` (num_splits_heuristic of hopper/heuristics.h), which looks at one
/// sequence alone: the GPU evens out the parts of several.
[[nodiscard]] std::int64_t most_efficient_splits(const DecodeWork& work);

}  // namespace tessera::kernels
