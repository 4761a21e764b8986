#include "models/kernels/tile_choice.hpp"

#include <algorithm>
#include <set>
#include <tuple>

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
    case TileChoice::near_planned:
      return near_planned(gemm, parameter_or(implementation, "times_tiles", 1) > 0, configurations);
  }
  return configurations;
}

}  // namespace tessera::kernels
