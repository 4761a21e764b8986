#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/implementation_library.hpp"

/// Grouped products whose tiles are paired along the columns: DeepGEMM on Blackwell.
namespace tessera::gpu {
namespace {

KernelResult run(std::int64_t columns, Fidelity fidelity = Fidelity::cycle) {
  Gpu gpu(device::load_device("b200_sxm"), {}, kernels::ImplementationLibrary::load(), fidelity);
  const workload::GroupedGemm op{.sizes = {100, 0, 300},
                                 .n = columns,
                                 .fixed = 1024,
                                 .type = core::DataType::fp8_block,
                                 .masked = true};
  return gpu.run(op, {}, "deepgemm_grouped_blackwell");
}

}  // namespace

TEST_CASE("an even number of blocks is paired, an odd one is not", "[grouped_gemm]") {
  CHECK(run(1024).implementation.find("cluster 2") != std::string::npos);
  CHECK(run(9 * 128).implementation.find("cluster") == std::string::npos);
}

TEST_CASE("pairs read each operand once from HBM and half of the rows each from L2",
          "[grouped_gemm]") {
  constexpr double kScaled = 1 + 4.0 / 128;  // bytes of an element of A, its scale included
  constexpr double kRows = 400, kDepth = 1024;
  for (const std::int64_t columns : {1024, 1152}) {
    const KernelResult result = run(columns);
    const double a = kRows * kDepth * kScaled;
    const double b = 2.0 * static_cast<double>(columns) * kDepth;  // of two groups; scales are few
    CHECK(result.counters.at("dram__bytes_read.sum") == Catch::Approx(a + b).epsilon(0.01));
  }
  // Of a block's bytes, 412,800 are rows of A, 524,288 weights and 102,400 results: 0.8 with half
  // of the rows. What L2 merges is alike in both.
  CHECK(run(1024).l2_bytes / 8 == Catch::Approx(0.8 * run(1152).l2_bytes / 9).epsilon(0.1));
}

}  // namespace tessera::gpu
