#include "models/gpu/l2_cache.hpp"

#include <catch2/catch_test_macros.hpp>

namespace tessera::gpu {
namespace {

kernels::Box box(std::uint32_t row) { return {.tensor = 1, .row = row, .bytes = 100}; }

}  // namespace

TEST_CASE("reads within the window of one under way are merged with it", "[l2]") {
  L2Cache l2{1000, 1000};
  CHECK_FALSE(l2.read(box(0), 10, 50).hit);
  l2.fill(200, 50);
  CHECK(l2.read(box(0), 20, 50).merged);   // while the box comes from HBM
  CHECK(l2.read(box(0), 249, 50).merged);  // until the window after its arrival ends
  CHECK_FALSE(l2.read(box(0), 250, 50).merged);
  CHECK(l2.read(box(0), 299, 50).merged);  // with the one at 250
  CHECK_FALSE(l2.read(box(0), 300, 50).merged);
}

TEST_CASE("written bytes beyond their place go to HBM, oldest first, and stay readable", "[l2]") {
  L2Cache l2{1000, 250};
  CHECK(l2.write(box(0), 0).written_back == 0);
  CHECK(l2.write(box(1), 0).written_back == 0);
  CHECK(l2.write(box(1), 0).written_back == 0);  // dirty already
  CHECK(l2.write(box(2), 0).written_back == 100);
  CHECK(l2.read(box(0)).hit);
  CHECK(l2.write(box(0), 0).written_back == 100);  // was clean, pushes out the next oldest
}

}  // namespace tessera::gpu
