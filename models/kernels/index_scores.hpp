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

/// A block of queries against blocks [first, last) of TileShape::n keys, counted from the first key
/// of `sequence`, the first query's.
struct IndexPart {
  std::int64_t query_block = 0;
  std::int64_t sequence = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

/// The parts that each work item consists of.
struct IndexSchedule {
  TileShape tile;
  std::int64_t queries_per_block = 1;  ///< Whose heads fill the tile's rows.
  std::vector<std::vector<IndexPart>> items;
  std::int64_t longest = 1;  ///< Blocks of the longest item.
  double blocks = 0;         ///< Of all items.
};

/// How `implementation` cuts `scores` on so many SMs. Its partition is `whole` (an item is a block
/// of queries against all keys that any of them sees: DeepGEMM's fp8_mqa_logits, where queries of
/// several short sequences share a block and scan each other's keys) or `balanced` (the blocks of
/// all queries end to end, one equal range an item: fp8_paged_mqa_logits).
[[nodiscard]] IndexSchedule index_schedule(const workload::IndexScores& scores,
                                           const Implementation& implementation, std::int64_t sms);

/// Bytes of a key with its FP32 scale.
[[nodiscard]] double index_key_bytes(const workload::IndexScores& scores);

/// The lightning indexer: a producer streams blocks of keys; two warpgroups multiply half of a
/// block each by the queries' heads, then weigh, rectify and sum the scores of the heads on the
/// CUDA cores and store one FP32 logit a query and key.
///
/// Long ranges are simulated in coarser boxes of several blocks, whose costs add up. Requires:
/// heads of a query that fit the rows of a tile; makes no launch otherwise.
///
/// Reads of `implementation`: partition (whole, balanced); the parameters `reduce_fp32` (lane
/// operations per score) and `hbm_reachable` (read by the GPU model); costs prologue, epilogue (of
/// each part), reduction (from an MMA to its scores, each block), step and issue.
std::vector<std::unique_ptr<TileKernel>> make_index_scores(const workload::IndexScores& scores,
                                                           const device::DeviceSpec& device,
                                                           const Implementation& implementation,
                                                           const Residency& residency,
                                                           const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
