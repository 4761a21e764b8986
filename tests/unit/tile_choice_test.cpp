#include <catch2/catch_test_macros.hpp>

#include "models/kernels/gemm.hpp"

namespace tessera::kernels {
namespace {

std::vector<GemmConfiguration> tiles() {
  std::vector<GemmConfiguration> all;
  for (const int cluster : {1, 2})
    for (const int m : {64, 128})
      for (const int n : {16, 32, 64, 128, 160})
        all.push_back({{.m = m, .n = n, .cluster = cluster}, 1});
  return all;
}

TileShape chosen(std::int64_t m, std::int64_t n) {
  return choose_by_waves({.m = m, .n = n, .k = 1024}, 132, tiles()).tile;
}

}  // namespace

TEST_CASE("one wave as full as it gets comes before wide tiles", "[tile_choice]") {
  CHECK(chosen(8, 2048).n == 16);  // 128 tiles of 132
  CHECK(chosen(8, 2144).n == 32);  // 134 tiles of 16 would take two waves
  CHECK(chosen(8, 2048).m == 64);
}

TEST_CASE("tiles are multicast from 512 rows on, where their rows pair up", "[tile_choice]") {
  CHECK(chosen(384, 4096).cluster == 1);
  CHECK(chosen(4096, 4096).cluster == 2);
}

}  // namespace tessera::kernels
