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

/// One part of the work of latent attention: a tile of rows (heads of a query, then of the next
/// one) against blocks [first, last) of the cache of one sequence.
struct LatentPart {
  std::int64_t sequence = 0;
  std::int64_t tile = 0;   ///< Of rows.
  std::int64_t first = 0;  ///< Blocks of TileShape::n tokens.
  std::int64_t last = 0;
  std::int64_t index = 0;  ///< Among the parts of its tile.
  std::int64_t parts = 1;  ///< Of its tile.
};

/// The parts that each CTA works on, one after another.
struct LatentSchedule {
  TileShape tile;
  std::int64_t sequences =
      1;                  ///< Of the cache; where tokens are selected, every query has its own.
  std::int64_t rows = 1;  ///< Of a sequence: its queries' heads.
  std::int64_t row_tiles = 1;  ///< Of a sequence.
  std::vector<std::vector<LatentPart>> ctas;
  std::int64_t most_parts = 1;  ///< Of a tile.
  double split_rows = 0;        ///< Rows, over all tiles, that were cut.
  double partial_rows = 0;      ///< Rows of partial results.
};

/// How `implementation` cuts `attention` on so many SMs: its tile is the largest that the rows
/// fill, else the smallest; its parts follow KeyPartition. Requires: at least one tile shape.
[[nodiscard]] LatentSchedule latent_schedule(const workload::AbsorbedAttention& attention,
                                             const Implementation& implementation,
                                             std::int64_t sms);

/// Tokens that a query is multiplied with: all cached, or the selected ones, and with the parameter
/// `all_places` as many as its list has places, filled or not.
[[nodiscard]] std::int64_t latent_tokens(const workload::AbsorbedAttention& attention,
                                         const Implementation& implementation);

/// Bytes of one cached token: as wide as the cache's type, and beside an FP8 latent that is widened
/// four FP32 scales and a rotary part of 16 bits (FlashMLA's 656 bytes).
[[nodiscard]] double latent_token_bytes(const workload::AbsorbedAttention& attention);

/// Absorbed multi-head latent attention: one CTA a part, or one a list of parts. A producer streams
/// blocks of the cache once; both products read them. Scores of the next block are issued before
/// the exponentials of this one, where products run beside the warps that issue them (not
/// mma.sync). A `cluster` of a tile shape shares its rows, products and loads equally.
///
/// Long ranges are simulated in coarser boxes of several blocks, whose costs add up.
///
/// Reads of `implementation`: partition, combination; the parameters `softmax_fp32` (lane
/// operations per score), `least_blocks` (of a part), `overhead_blocks` (that a balanced schedule
/// counts for each part), `mma_tokens` (of one instruction, where a stage holds fewer),
/// `fp8_transpose` (passes of an FP8 block through shared memory to turn values), `hbm_reachable`
/// (part of HBM's peak rate that long runs of tokens reach; read by the GPU model), `blank_token`
/// (cycles to clear the place of a token that a block lacks), `combine_part` (cycles that adding
/// one part to the next takes), `crowded` (cycles a step when more than `lone_share` of the SMs
/// run), `all_places` (1: places of a query's list that hold no token are multiplied too); costs
/// prologue, epilogue (of each part), reduction, mma_latency, step and issue. Absent
/// parameters are 0.
std::vector<std::unique_ptr<TileKernel>> make_absorbed_attention(
    const workload::AbsorbedAttention& attention, const device::DeviceSpec& device,
    const Implementation& implementation, const Residency& residency,
    const std::vector<int>& gpc_sizes);

/// The launch that adds parts up, where `implementation` has one. `rows` is a stream
/// implementation.
std::vector<std::unique_ptr<TileKernel>> make_absorbed_passes(
    const workload::AbsorbedAttention& attention, const device::DeviceSpec& device,
    const Implementation& implementation, const Implementation& rows,
    const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
