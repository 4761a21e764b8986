#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/implementation_library.hpp"

namespace tessera::gpu {
namespace {

double cycles_of(std::int64_t empty_groups, double walk, Fidelity fidelity) {
  const device::DeviceSpec device = device::load_device("h200_sxm");
  std::vector<kernels::Implementation> all = kernels::ImplementationLibrary::load().all();
  REQUIRE(kernels::apply_cost(all, "trtllm_block_grouped_hopper.group_walk", walk));
  Gpu gpu(device, {}, kernels::ImplementationLibrary(std::move(all)), fidelity);
  workload::GroupedGemm op{
      .n = 4096, .fixed = 2048, .type = core::DataType::fp8_block, .output = core::DataType::bf16};
  op.sizes.assign(4, 4);
  op.sizes.resize(static_cast<std::size_t>(4 + empty_groups), 0);
  return static_cast<double>(gpu.run(op, {}, "trtllm_block_grouped_hopper").cycles.value());
}

}  // namespace

TEST_CASE("CTAs walk over every group of the rank, its own or not", "[grouped_gemm]") {
  for (const Fidelity fidelity : {Fidelity::cycle, Fidelity::analytical}) {
    const double free = cycles_of(252, 0, fidelity);
    // 128 tiles, one a CTA; 256 groups at 200 cycles, of which the tile itself hides some.
    CHECK(cycles_of(252, 200, fidelity) - free > 0.8 * 256 * 200);
    CHECK(cycles_of(252, 200, fidelity) - free < 1.05 * 256 * 200);
    CHECK(cycles_of(0, 200, fidelity) - free < 0.1 * 256 * 200);
  }
}

}  // namespace tessera::gpu
