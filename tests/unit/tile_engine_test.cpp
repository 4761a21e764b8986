#include "models/gpu/tile_engine.hpp"

#include <catch2/catch_test_macros.hpp>

namespace tessera::gpu {
namespace {

using kernels::Box;
using kernels::Cta;
using kernels::TileProgram;

/// A kernel whose every tile loads one box, multiplies for `mma_cycles`, and stores nothing.
class OneStep : public kernels::TileKernel {
 public:
  OneStep(std::int64_t tiles, std::uint32_t bytes, std::int64_t mma_cycles, bool same_box)
      : bytes_(bytes), mma_cycles_(mma_cycles), same_box_(same_box) {
    plan_.tiles = tiles;
    plan_.barriers = 2;
    plan_.issue_cycles = 0;
  }
  std::vector<TileProgram> roles(const Cta& cta) const override {
    std::vector<TileProgram> programs;
    programs.push_back(role(cta));
    return programs;
  }

 private:
  TileProgram role(const Cta& cta) const {
    const std::int64_t tile = cta.tile(0);
    const auto column = static_cast<std::uint32_t>(same_box_ ? 0 : tile);
    co_await kernels::load(Box{.tensor = 1, .row = 0, .column = column, .bytes = bytes_}, 0);
    co_await kernels::wait(0, 1);
    co_await kernels::mma(mma_cycles_, 0, 1);
    co_await kernels::wait(1, 1);
  }
  std::uint32_t bytes_;
  std::int64_t mma_cycles_;
  bool same_box_;
};

Machine one_sm() {
  Machine machine;
  machine.gpc_sizes = {1};
  machine.sms = 1;
  machine.sm_port_bytes = 64;
  machine.l2_bytes = 128;
  machine.hbm_bytes = 16;
  machine.l2_latency = 200;
  machine.hbm_latency = 300;
  machine.l2_capacity = 1 << 20;
  machine.cta_launch_cycles = 10;
  return machine;
}

}  // namespace

TEST_CASE("a cold load takes request, HBM transfer, HBM latency, port and reply", "[tile_engine]") {
  const Machine machine = one_sm();
  const OneStep kernel{1, 6400, 50, false};
  TileEngine engine{machine, kernel, true};
  const LaunchTotals totals = engine.run();
  // 100 to L2, 6400/16 on HBM, 300 latency, 6400/64 through the port, 100 back, 50 on the tensor
  // pipe.
  CHECK(totals.cycles == 100 + 400 + 300 + 100 + 100 + 50);
  CHECK(totals.hbm_read_bytes == 6400);
  CHECK(totals.tensor_cycles == 50);
}

TEST_CASE("the second reader of a box hits in L2 and pays no HBM", "[tile_engine]") {
  const Machine machine = one_sm();
  const OneStep kernel{2, 6400, 50, true};
  TileEngine engine{machine, kernel, true};
  const LaunchTotals totals = engine.run();
  CHECK(totals.hbm_read_bytes == 6400);
  CHECK(totals.l2_read_bytes == 12800);
  CHECK(totals.l2_hit_bytes == 6400);
  CHECK(totals.cycles == 1050 + 10 + (100 + 100 + 100 + 50));
}

TEST_CASE("two SMs that read different boxes at once share HBM", "[tile_engine]") {
  Machine machine = one_sm();
  machine.gpc_sizes = {2};
  machine.sms = 2;
  const OneStep kernel{2, 6400, 0, false};
  TileEngine engine{machine, kernel, true};
  // The second CTA starts a cycle later; its transfer queues behind the first one's.
  CHECK(engine.run().cycles == 100 + 800 + 300 + 100 + 100);
}

}  // namespace tessera::gpu
