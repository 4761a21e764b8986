#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "models/kernels/tile_choice.hpp"

namespace tessera::kernels {
namespace {

std::vector<GemmConfiguration> tiles() {
  std::vector<GemmConfiguration> all;
  for (const int m : {64, 128})
    for (const int n : {16, 32, 64, 128, 160}) all.push_back({{.m = m, .n = n}, 1});
  return all;
}

TileShape chosen(std::int64_t m, std::int64_t n, Pairing pairing = Pairing::none,
                 int pairing_rows = 512, std::int64_t products = 1) {
  Implementation implementation;
  implementation.choice = TileChoice::fewest_waves;
  implementation.pairing = pairing;
  implementation.pairing_rows = pairing_rows;
  const auto launched =
      choose_tiles({.m = m, .n = n, .k = 1024}, products, 132, implementation, tiles());
  REQUIRE(launched.size() == 1);
  return launched.front().tile;
}

}  // namespace

TEST_CASE("one wave as full as it gets comes before wide tiles", "[tile_choice]") {
  CHECK(chosen(8, 2048).n == 16);  // 128 tiles of 132
  CHECK(chosen(8, 2144).n == 32);  // 134 tiles of 16 would take two waves
  CHECK(chosen(8, 2048).m == 64);
}

TEST_CASE("waves are those of all products together", "[tile_choice]") {
  CHECK(chosen(8, 2048, Pairing::none, 512, 4).n == 64);  // 4 times 32 tiles of 132
}

TEST_CASE("tile columns are paired where they fill pairs", "[tile_choice]") {
  const TileShape pairs = chosen(1024, 512, Pairing::columns, 1024);  // 16 x 8 tiles of 64 x 64
  CHECK((pairs.m == 64 && pairs.n == 64));
  CHECK(pairs.cluster == 2);
  CHECK(pairs.side == ClusterSide::columns);
  CHECK(chosen(960, 512, Pairing::columns, 1024).cluster == 1);   // too few rows
  CHECK(chosen(1024, 448, Pairing::columns, 1024).cluster == 1);  // 7 tile columns
}

TEST_CASE("high tiles are paired beside each other, others one above the other", "[tile_choice]") {
  const TileShape high = chosen(16384, 16, Pairing::longer);  // 128 tiles of 128 x 16
  CHECK((high.m == 128 && high.n == 16));
  CHECK(high.side == ClusterSide::columns);
  const TileShape wide = chosen(513, 16384, Pairing::longer);
  CHECK(wide.m <= wide.n);
  CHECK(wide.side == ClusterSide::rows);
  CHECK((wide.cluster == 2 && wide.lone_rest));
}

TEST_CASE("the least bytes through L1 and L2 win, and one wave is never paired", "[tile_choice]") {
  Implementation implementation;
  implementation.choice = TileChoice::data_paths;
  std::vector<GemmConfiguration> all;
  for (const int m : {64, 128, 256})
    for (const int n : {16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 192})
      if (m <= 128 || n <= 128) all.push_back({{.m = m, .n = n}, 1});
  const auto launched = [&](std::int64_t m, std::int64_t n, std::int64_t k) {
    const workload::Gemm gemm{.m = m, .n = n, .k = k, .type = core::DataType::fp8_block};
    const auto chosen = choose_tiles(gemm, 1, 132, implementation, all);
    REQUIRE(chosen.size() == 1);
    return chosen.front().tile;
  };
  // 100 tiles of (128 + 64) x 5,120 + 16,384 B at 6,153 B of L2 a cycle, over 76 % of a wave:
  // 21,439 cycles, the least; not a pair, though there are enough rows.
  const TileShape alone = launched(3073, 256, 5120);
  CHECK((alone.m == 128 && alone.n == 64 && alone.cluster == 1));
  // 238 tiles fill 90 % of two waves; 126 of 256x112 in one wave would not share rows through L2.
  const TileShape pairs = launched(2049, 1536, 2560);
  CHECK((pairs.m == 128 && pairs.n == 112 && pairs.cluster == 2));
  CHECK((pairs.side == ClusterSide::columns && pairs.lone_rest));
  const TileShape wide = launched(129, 16384, 6144);  // 64 rows, so that columns are read once
  CHECK((wide.m == 64 && wide.n == 192 && wide.side == ClusterSide::rows));
}

TEST_CASE("pairs come before fewer waves, unless one wave is enough", "[tile_choice]") {
  Implementation implementation;
  implementation.choice = TileChoice::paired_waves;
  std::vector<GemmConfiguration> all;
  for (const int n : {32, 64, 128, 256}) all.push_back({{.m = 128, .n = n}, 1});
  for (const int m : {64, 128, 256}) all.push_back({{.m = m, .n = 128, .swapped = true}, 1});
  const auto taken = [&](std::int64_t m, std::int64_t n) {
    return choose_tiles({.m = m, .n = n, .k = 1024}, 1, 148, implementation, all).front().tile;
  };
  CHECK(taken(4096, 4096).cluster == 2);
  // 33 tile rows do not pair up; 32 tile columns of the product computed transposed do.
  const TileShape odd = taken(4096 + 1, 4096);
  CHECK((odd.cluster == 2 && odd.swapped && odd.side == ClusterSide::columns));
  // 128 tiles of 128 x 32 would fill one wave better than 32 pairs of 64 x 128.
  const TileShape few = taken(128, 4096);
  CHECK((few.cluster == 2 && few.swapped && few.m == 64));
}

TEST_CASE("scores are of the power of two of rows below", "[tile_choice]") {
  Implementation implementation;
  implementation.choice = TileChoice::scored;
  std::vector<GemmConfiguration> all;
  for (const int n : {64, 128, 192, 256})
    for (const int cluster : {1, 2}) {
      all.push_back({{.m = 128, .n = n, .cluster = cluster}, 1});
      all.push_back({{.m = n, .n = 128, .cluster = cluster, .swapped = true}, 1});
    }
  const auto taken = [&](std::int64_t m, std::int64_t n, std::int64_t k) {
    return choose_tiles({.m = m, .n = n, .k = k}, 1, 148, implementation, all).front().tile;
  };
  // 128 tiles of 128 x 256 fill most of one wave; a row more changes nothing.
  CHECK(taken(1024, 4096, 7168).n == 256);
  CHECK(taken(1025, 4096, 7168).n == 256);
  CHECK(taken(1024, 3072, 7168).n == 192);  // 128 of these, where 256 columns leave 96
  CHECK(taken(1024, 4096, 1024).n == 128);  // shallow products take no wide tiles
  CHECK(taken(16, 4096, 7168).swapped);
  CHECK(!taken(17, 4096, 7168).swapped);  // not a multiple of 8
}

TEST_CASE("tiles about the rows that the host plans for are timed", "[tile_choice]") {
  Implementation implementation;
  std::vector<GemmConfiguration> all;
  for (const int m : {8, 16, 32, 64, 128, 256}) all.push_back({{.m = m, .n = 128}, 1});
  const auto heights = [&](TileChoice choice, std::int64_t planned) {
    implementation.choice = choice;
    std::vector<int> found;
    for (const auto& each :
         choose_tiles({.m = planned, .n = 4096, .k = 1024}, 8, 148, implementation, all))
      found.push_back(each.tile.m);
    return found;
  };
  CHECK(heights(TileChoice::near_planned, 17) == std::vector{16, 32, 64, 128});
  CHECK(heights(TileChoice::near_planned, 16) == std::vector{8, 16, 32, 64});
  CHECK(heights(TileChoice::near_planned, 1) == std::vector{8, 16, 32});
  CHECK(heights(TileChoice::near_planned, 5000) == std::vector{128, 256});
  CHECK(heights(TileChoice::fastest, 17).size() == all.size());
  // Where nobody times them, the lowest of these runs.
  implementation.parameters["times_tiles"] = 0;
  CHECK(heights(TileChoice::near_planned, 17) == std::vector{16});
  CHECK(heights(TileChoice::near_planned, 16) == std::vector{8});
  CHECK(heights(TileChoice::near_planned, 1) == std::vector{8});
  CHECK(heights(TileChoice::near_planned, 5000) == std::vector{128});
}

TEST_CASE("tiles side by side pair up however few rows there are", "[tile_choice]") {
  Implementation implementation;
  implementation.tiles = {{.m = 64,
                           .n = 128,
                           .cluster = 2,
                           .side = ClusterSide::columns,
                           .schedule = GemmSchedule::tmem},
                          {.m = 64, .n = 128, .cluster = 2, .schedule = GemmSchedule::tmem}};
  const auto sides = [&](std::int64_t m, std::int64_t n) {
    std::vector<ClusterSide> found;
    for (const auto& each : gemm_configurations({.m = m, .n = n, .k = 1024},
                                                device::load_device("b200_sxm"), implementation))
      found.push_back(each.tile.side);
    return found;
  };
  CHECK(sides(64, 256) == std::vector{ClusterSide::columns});
  CHECK(sides(65, 128) == std::vector{ClusterSide::rows});
}

}  // namespace tessera::kernels
