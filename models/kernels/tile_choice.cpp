#include "models/kernels/tile_choice.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <tuple>

#include "sim/core/data_type.hpp"

namespace tessera::kernels {
namespace {

using workload::Gemm;

/// Tiles of all products, and how they fill the SMs.
struct Waves {
  std::int64_t tiles = 0;
  std::int64_t count = 0;
  std::int64_t last = 0;  ///< Tiles of the last one.
};

Waves waves_of(const Gemm& gemm, std::int64_t products, int sms, const TileShape& tile) {
  Waves waves;
  waves.tiles = products * divide_up(gemm.m, tile.m) * divide_up(gemm.n, tile.n);
  waves.count = divide_up(waves.tiles, sms);
  waves.last = waves.tiles % sms == 0 ? sms : waves.tiles % sms;
  return waves;
}

/// Makes the tile one of a cluster of two where the library does.
void pair_tiles(const Gemm& gemm, int sms, const Implementation& implementation, TileShape& tile) {
  if (gemm.m < implementation.pairing_rows || sms % 2 != 0) return;
  switch (implementation.pairing) {
    case Pairing::none:
      return;
    case Pairing::columns:
      if (gemm.n % (2 * static_cast<std::int64_t>(tile.n)) != 0) return;
      tile.cluster = 2;
      tile.side = ClusterSide::columns;
      return;
    case Pairing::longer:
      tile.cluster = 2;
      tile.side = tile.m > tile.n ? ClusterSide::columns : ClusterSide::rows;
      tile.lone_rest = true;
      return;
  }
}

GemmConfiguration fewest_waves(const Gemm& gemm, std::int64_t products, int sms,
                               const Implementation& implementation,
                               const std::vector<GemmConfiguration>& configurations) {
  struct Candidate {
    const GemmConfiguration* configuration;
    Waves waves;
  };
  const auto beats = [&](const Candidate& a, const Candidate& b) {
    if (a.waves.count != b.waves.count) return a.waves.count < b.waves.count;
    if (a.waves.last != b.waves.last) return a.waves.last > b.waves.last;
    const TileShape& x = a.configuration->tile;
    const TileShape& y = b.configuration->tile;
    if (x.m == y.m) return x.n < y.n;
    if (x.n == y.n) return x.m < y.m;
    return x.n > y.n && x.n <= gemm.n && x.m <= gemm.m;
  };
  Candidate best{nullptr, {}};
  for (const GemmConfiguration& configuration : configurations) {
    const Candidate candidate{&configuration, waves_of(gemm, products, sms, configuration.tile)};
    if (best.configuration == nullptr || beats(candidate, best)) best = candidate;
  }
  GemmConfiguration chosen = *best.configuration;
  if (products == 1) pair_tiles(gemm, sms, implementation, chosen.tile);
  return chosen;
}

GemmConfiguration paired_waves(const Gemm& gemm, std::int64_t products, int sms,
                               const std::vector<GemmConfiguration>& configurations) {
  // Smaller is better, in this order.
  const auto rank_of = [](const TileShape& tile, const Waves& waves) {
    const std::int64_t single = waves.count == 1 ? 0 : 1;
    return std::tuple{single,      -tile.cluster,   waves.count,
                      -waves.last, tile.m + tile.n, tile.m * tile.n};
  };
  GemmConfiguration best = configurations.front();
  auto least = rank_of(best.tile, waves_of(gemm, products, sms, best.tile));
  for (const GemmConfiguration& configuration : configurations) {
    TileShape tile = configuration.tile;
    const Waves waves = waves_of(gemm, products, sms, tile);
    // Along the instruction's long side, where two SMs multiply together.
    const std::int64_t along = tile.swapped ? divide_up(gemm.n, tile.n) : divide_up(gemm.m, tile.m);
    if (along % 2 == 0 && sms % 2 == 0) {
      tile.cluster = 2;
      tile.side = tile.swapped ? ClusterSide::columns : ClusterSide::rows;
    }
    const auto rank = rank_of(tile, waves);
    if (rank >= least) continue;
    least = rank;
    best = {tile, configuration.split};
  }
  return best;
}

/// What a layout moves through the caches of an SM and through L2, in the library's own estimate;
/// HBM's bytes and the products are the same for all layouts.
struct DataPaths {
  // Rates in bytes a cycle, of the library.
  static constexpr std::int64_t kL1Rate = 128;  // of an SM, as its L2 port has half of it
  static constexpr double kL2Rate = 8e6 / 1.3e3;
  static constexpr std::int64_t kInstructionRows = 64;  // that wgmma reads, filled or not

  const Gemm& gemm;
  int sms;

  /// Cycles of `tile` in its cluster, longer for SMs that idle in the last wave.
  [[nodiscard]] std::int64_t cycles(const TileShape& tile, const Waves& waves) const {
    const auto bytes_of = [](std::int64_t values, int bits) { return values * bits / 8; };
    const auto operands = [&](std::int64_t rows, std::int64_t columns) {
      return bytes_of(gemm.k * rows, core::activation_bits(gemm.type)) +
             bytes_of(gemm.k * columns, core::weight_bits(gemm.type));
    };
    const bool rows_shared = tile.side == ClusterSide::columns;
    const std::int64_t product =
        bytes_of(std::int64_t{tile.m} * tile.n, core::activation_bits(gemm.output));
    const std::int64_t stored = product * (gemm.accumulate ? 2 : 1);
    const std::int64_t from_l2 = operands(tile.m / (rows_shared ? tile.cluster : 1),
                                          tile.n / (rows_shared ? 1 : tile.cluster));
    const std::int64_t multiplied =
        operands(std::max<std::int64_t>(kInstructionRows, tile.m), tile.n) + product;
    const auto l2_rate = static_cast<std::int64_t>(std::min(kL1Rate / 2.0 * sms, kL2Rate));
    const std::int64_t l2 = (from_l2 + stored) * waves.tiles / l2_rate;
    const std::int64_t l1 =
        (operands(tile.m, tile.n) + multiplied + stored) * waves.tiles / (kL1Rate * sms);
    // As the library rounds them.
    const float filled = static_cast<float>(waves.tiles) / static_cast<float>(waves.count * sms);
    return static_cast<std::int64_t>(static_cast<float>(std::max(l1, l2)) / filled);
  }
};

GemmConfiguration least_data_paths(const Gemm& gemm, std::int64_t products, int sms,
                                   const std::vector<GemmConfiguration>& configurations) {
  const DataPaths paths{gemm, sms};
  GemmConfiguration best = configurations.front();
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  const auto consider = [&](int cluster, ClusterSide side) {
    for (const GemmConfiguration& configuration : configurations) {
      TileShape tile = configuration.tile;
      const Waves waves = waves_of(gemm, products, sms, tile);
      if (cluster > 1 && waves.count == 1) continue;
      tile.cluster = cluster;
      tile.side = side;
      tile.lone_rest = cluster > 1;
      const std::int64_t cycles = paths.cycles(tile, waves);
      if (cycles >= least) continue;
      least = cycles;
      best = {tile, configuration.split};
    }
  };
  // The first of equals stands, in the library's order.
  consider(1, ClusterSide::rows);
  if (sms % 2 != 0) return best;
  consider(2, ClusterSide::columns);
  consider(2, ClusterSide::rows);
  return best;
}

/// FlashInfer's score of a tile for `rows` of the product: high for filled tiles, many of them
/// above each other, filled waves, and large square tiles. A cluster of two is one tile of twice
/// the rows.
double tile_score(const Gemm& gemm, std::int64_t rows, int sms, const TileShape& tile) {
  constexpr double kLargest = 256.0 * 256, kLarge = 128.0 * 128;
  const std::int64_t along = tile.swapped ? gemm.n : rows;  // the instruction's long side
  const std::int64_t across = tile.swapped ? rows : gemm.n;
  const std::int64_t height = std::int64_t{tile.swapped ? tile.n : tile.m} * tile.cluster;
  const std::int64_t width = tile.swapped ? tile.m : tile.n;
  const auto area = static_cast<double>(height * width);
  const std::int64_t beside = divide_up(across, width);
  const std::int64_t tiles = divide_up(along, height) * beside;
  const std::int64_t waves = divide_up(tiles, sms);
  const double filled = static_cast<double>(across) / static_cast<double>(beside * width);
  const double squareness =
      static_cast<double>(std::min(height, width)) / static_cast<double>(std::max(height, width));
  const double shallow = area <= kLarge || gemm.k > 2048 ? 1.0 : gemm.k > 1024 ? 0.8 : 0.5;
  return filled * std::sqrt(area / kLargest) * std::pow(squareness, 0.25) * shallow *
         static_cast<double>(along * tiles) / static_cast<double>(height * waves * sms);
}

/// The first of the highest score, for the power of two of rows at or below the product's.
GemmConfiguration best_score(const Gemm& gemm, int sms,
                             const std::vector<GemmConfiguration>& configurations) {
  constexpr std::uint64_t kMostRows = 4096;
  constexpr std::int64_t kSwapFrom = 8, kSwapTo = 16;
  const auto rows = static_cast<std::int64_t>(
      std::min(std::bit_floor(static_cast<std::uint64_t>(gemm.m)), kMostRows));
  const bool swaps = gemm.m % 8 == 0 &&
                     ((rows >= kSwapFrom && rows <= kSwapTo && gemm.n > rows) || gemm.n % 8 != 0);
  GemmConfiguration best = configurations.front();
  double highest = 0;
  for (const GemmConfiguration& each : configurations) {
    if (each.tile.swapped != swaps) continue;
    const double score = tile_score(gemm, rows, sms, each.tile);
    if (score <= highest) continue;
    highest = score;
    best = each;
  }
  return best;
}

/// Of the heights of tiles, the first that holds the planned rows (else the highest), the one below
/// it and the two above; where nobody `times` them, the lowest of these.
std::vector<GemmConfiguration> near_planned(const Gemm& gemm, bool times,
                                            const std::vector<GemmConfiguration>& configurations) {
  std::set<int> heights;
  for (const GemmConfiguration& each : configurations) heights.insert(each.tile.m);
  auto middle = std::find_if(heights.begin(), heights.end(), [&](int m) { return m >= gemm.m; });
  if (middle == heights.end()) --middle;
  const auto lowest = middle == heights.begin() ? middle : std::prev(middle);
  auto highest = times ? middle : lowest;
  for (int i = 0; times && i < 2 && std::next(highest) != heights.end(); ++i) ++highest;
  std::vector<GemmConfiguration> near;
  for (const GemmConfiguration& each : configurations)
    if (each.tile.m >= *lowest && each.tile.m <= *highest) near.push_back(each);
  return near;
}

}  // namespace

std::vector<GemmConfiguration> choose_tiles(const Gemm& gemm, std::int64_t products, int sms,
                                            const Implementation& implementation,
                                            std::vector<GemmConfiguration> configurations) {
  if (configurations.empty()) return configurations;
  switch (implementation.choice) {
    case TileChoice::fastest:
      break;
    case TileChoice::fewest_waves:
      return {fewest_waves(gemm, products, sms, implementation, configurations)};
    case TileChoice::paired_waves:
      return {paired_waves(gemm, products, sms, configurations)};
    case TileChoice::data_paths:
      return {least_data_paths(gemm, products, sms, configurations)};
    case TileChoice::scored:
      return {best_score(gemm, sms, configurations)};
    case TileChoice::near_planned:
      return near_planned(gemm, parameter_or(implementation, "times_tiles", 1) > 0, configurations);
  }
  return configurations;
}

}  // namespace tessera::kernels
