#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/kernels/mla_decode.hpp"

namespace tessera::kernels {

using workload::AbsorbedAttention;

namespace {

TileShape choose_tile(const std::vector<TileShape>& tiles, std::int64_t rows) {
  const auto smaller = [](const TileShape& a, const TileShape& b) { return a.m < b.m; };
  TileShape best = *std::min_element(tiles.begin(), tiles.end(), smaller);
  for (const TileShape& tile : tiles)
    if (tile.m <= rows && tile.m > best.m) best = tile;
  return best;
}

/// Blocks of the cache that a tile of rows needs: causal, so up to its last query's token.
std::int64_t blocks_of(const AbsorbedAttention& a, const Implementation& implementation,
                       const LatentSchedule& schedule, std::int64_t tile) {
  if (a.selected > 0) return divide_up(latent_tokens(a, implementation), schedule.tile.n);
  const std::int64_t last_row = std::min((tile + 1) * schedule.tile.m, schedule.rows) - 1;
  const std::int64_t after = a.q_length - 1 - last_row / a.heads;  // queries that see more
  return divide_up(std::max<std::int64_t>(1, a.kv_length - after), schedule.tile.n);
}

/// The fewest parts whose last wave is at least 85 % as full as the best's. Source: FlashAttention,
/// hopper/heuristics.h.
std::int64_t efficient_parts(std::int64_t tiles, std::int64_t sms, std::int64_t blocks) {
  constexpr double kFull = 0.8, kGoodEnough = 0.85;
  constexpr std::int64_t kFewBlocks = 4, kMostParts = 128;
  if (static_cast<double>(tiles) >= kFull * static_cast<double>(sms) || blocks <= kFewBlocks)
    return 1;
  const std::int64_t most = std::min({kMostParts, sms, blocks});
  const auto efficiency = [&](std::int64_t parts) {
    const double waves = static_cast<double>(tiles * parts) / static_cast<double>(sms);
    return waves / static_cast<double>(divide_up(tiles * parts, sms));
  };
  double best = 0;
  for (std::int64_t parts = 1; parts <= most; ++parts) best = std::max(best, efficiency(parts));
  for (std::int64_t parts = 1; parts <= most; ++parts)
    if (efficiency(parts) >= kGoodEnough * best) return parts;
  return 1;
}

std::int64_t equal_parts(const Implementation& implementation, const LatentSchedule& schedule,
                         std::int64_t sms, std::int64_t blocks) {
  const std::int64_t tiles = schedule.sequences * schedule.row_tiles;
  switch (implementation.partition) {
    case KeyPartition::even: {
      const std::int64_t least =
          std::max<std::int64_t>(1, std::llround(parameter_or(implementation, "least_blocks", 1)));
      return std::clamp<std::int64_t>(sms / (tiles * schedule.tile.cluster), 1,
                                      divide_up(blocks, least));
    }
    case KeyPartition::efficient:
      return efficient_parts(tiles, sms, blocks);
    case KeyPartition::whole:
    case KeyPartition::balanced:
      break;
  }
  return 1;
}

void cut_equally(const AbsorbedAttention& a, const Implementation& implementation, std::int64_t sms,
                 LatentSchedule& schedule) {
  const std::int64_t wanted =
      equal_parts(implementation, schedule, sms,
                  blocks_of(a, implementation, schedule, schedule.row_tiles - 1));
  schedule.ctas.reserve(static_cast<std::size_t>(schedule.sequences * schedule.row_tiles * wanted));
  for (std::int64_t sequence = 0; sequence < schedule.sequences; ++sequence) {
    // The tiles that see most first.
    for (std::int64_t tile = schedule.row_tiles - 1; tile >= 0; --tile) {
      const std::int64_t blocks = blocks_of(a, implementation, schedule, tile);
      const std::int64_t share = divide_up(blocks, wanted);
      const std::int64_t parts = divide_up(blocks, share);
      for (std::int64_t part = 0; part < parts; ++part)
        schedule.ctas.push_back({{.sequence = sequence,
                                  .tile = tile,
                                  .first = part * share,
                                  .last = std::min(blocks, (part + 1) * share),
                                  .index = part,
                                  .parts = parts}});
    }
  }
}

/// Every tile of rows has as many CTAs as the others; the blocks of all sequences, end to end, are
/// dealt out to them in equal shares, in which each part counts `overhead_blocks` more. Source:
/// FlashMLA, get_mla_metadata.
void cut_balanced(const AbsorbedAttention& a, const Implementation& implementation,
                  std::int64_t sms, LatentSchedule& schedule) {
  const std::int64_t overhead = std::llround(parameter_or(implementation, "overhead_blocks", 0));
  const std::int64_t ranges = std::max<std::int64_t>(1, sms / schedule.row_tiles);
  for (std::int64_t tile = 0; tile < schedule.row_tiles; ++tile) {
    const std::int64_t blocks = blocks_of(a, implementation, schedule, tile);
    const std::int64_t payload =
        divide_up(schedule.sequences * (blocks + overhead), ranges) + overhead;
    const std::size_t first_cta = schedule.ctas.size();
    std::int64_t sequence = 0, done = 0, index = 0;
    for (std::int64_t range = 0; range < ranges && sequence < schedule.sequences; ++range) {
      std::vector<LatentPart> parts;
      for (std::int64_t left = payload; sequence < schedule.sequences;) {
        const std::int64_t rest = blocks - done;
        LatentPart part{.sequence = sequence, .tile = tile, .first = done, .index = index};
        if (left >= rest + overhead) {
          part.last = blocks;
          parts.push_back(part);
          left -= rest + overhead;
          ++sequence;
          done = index = 0;
          continue;
        }
        if (left > overhead) {
          done += left - overhead;
          part.last = done;
          parts.push_back(part);
          ++index;
        }
        break;
      }
      schedule.ctas.push_back(std::move(parts));
    }
    std::vector<std::int64_t> count(static_cast<std::size_t>(schedule.sequences), 0);
    for (std::size_t i = first_cta; i < schedule.ctas.size(); ++i)
      for (const LatentPart& part : schedule.ctas[i])
        ++count[static_cast<std::size_t>(part.sequence)];
    for (std::size_t i = first_cta; i < schedule.ctas.size(); ++i)
      for (LatentPart& part : schedule.ctas[i])
        part.parts = count[static_cast<std::size_t>(part.sequence)];
  }
}

}  // namespace

LatentSchedule latent_schedule(const AbsorbedAttention& attention,
                               const Implementation& implementation, std::int64_t sms) {
  LatentSchedule schedule;
  const bool gathered = attention.selected > 0;
  schedule.sequences = attention.batch * (gathered ? attention.q_length : 1);
  schedule.rows = attention.heads * (gathered ? 1 : attention.q_length);
  schedule.tile = choose_tile(implementation.tiles, schedule.rows);
  schedule.row_tiles = divide_up(schedule.rows, schedule.tile.m);
  if (implementation.partition == KeyPartition::balanced) {
    cut_balanced(attention, implementation, sms, schedule);
  } else {
    cut_equally(attention, implementation, sms, schedule);
  }
  for (const std::vector<LatentPart>& parts : schedule.ctas) {
    for (const LatentPart& part : parts) {
      schedule.most_parts = std::max(schedule.most_parts, part.parts);
      if (part.parts == 1) continue;
      const auto rows = static_cast<double>(
          std::min<std::int64_t>(schedule.tile.m, schedule.rows - part.tile * schedule.tile.m));
      schedule.partial_rows += rows;
      if (part.index == 0) schedule.split_rows += rows;
    }
  }
  return schedule;
}

std::int64_t latent_tokens(const AbsorbedAttention& a, const Implementation& implementation) {
  if (a.selected == 0) return a.kv_length;
  const bool all = parameter_or(implementation, "all_places", 0) > 0;
  return all ? a.selected : std::min(a.selected, a.kv_length);
}

double latent_token_bytes(const AbsorbedAttention& a) {
  const double cache = core::activation_bits(a.cache_type) / 8.0;
  const auto latent = static_cast<double>(a.latent);
  const auto rotary = static_cast<double>(a.rotary);
  constexpr double kScales = 16;  // four, of 128 elements each, FP32 (FlashMLA)
  if (cache < core::activation_bits(a.type) / 8.0) return latent * cache + kScales + 2 * rotary;
  return (latent + rotary) * cache;
}

}  // namespace tessera::kernels
