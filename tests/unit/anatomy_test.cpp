#include "reports/anatomy.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

namespace tessera::reports {
namespace {

core::KernelRow kernel(const std::string& name, const std::string& family, const std::string& shape,
                       const std::string& pass, double calls, double seconds) {
  core::KernelRow row;
  row.name = name;
  row.family = family;
  row.shape = shape;
  row.pass = pass;
  row.calls_per_step = calls;
  row.time.value = seconds;
  row.hbm_bytes = 10;
  return row;
}

TEST_CASE("a step's kernels are told apart by format and purpose", "[anatomy]") {
  core::Result result;
  result.kernels = {
      kernel("o", "gemm", "gemm 64x64x64 fp8_block -> bf16", "forward", 2, 1.0),
      kernel("gate", "gemm", "gemm 64x8x64 bf16 -> bf16", "forward", 2, 0.5),
      kernel("expert_down weight_gradient", "grouped_gemm",
             "grouped_gemm k 4x64 n64 m64 fp8_block -> +=fp32 row_scaled", "weight_gradient", 1,
             3.0),
      kernel("o gradient cast", "stream", "quantize_transpose 64x64 bf16 -> fp8_block",
             "input_gradient", 1, 0.25),
      kernel("o scales swizzle", "stream", "copy 64x2 fp8 -> fp8", "forward", 1, 0.1),
      kernel("attention", "attention", "attention 1x64/64 heads 1/1 dims 64/64 bf16 cache bf16",
             "forward", 1, 2.0),
      kernel("adamw", "stream", "adamw 64x1 fp32 -> fp8_block state bf16", "optimizer", 1, 0.5)};
  const auto rows = precision_anatomy(result);
  REQUIRE(rows.size() == 6);
  CHECK(rows[0].line == "products in fp8_block");
  CHECK(rows[0].forward == Catch::Approx(2));
  CHECK(rows[0].weight_gradient == Catch::Approx(3));
  CHECK(rows[0].hbm_bytes == Catch::Approx(30));
  CHECK(rows[1].line == "products in bf16");
  CHECK(rows[2].line == "attention");
  CHECK(rows[3].line == "casts along both dimensions");
  CHECK(rows[4].line == "order of scales");
  CHECK(rows[5].optimizer == Catch::Approx(0.5));
  double sum = 0;
  for (const AnatomyRow& row : rows) sum += row.seconds();
  CHECK(sum == Catch::Approx(2 + 1 + 3 + 0.25 + 0.1 + 2 + 0.5));
}

TEST_CASE("bf16 alone needs no anatomy", "[anatomy]") {
  core::Result result;
  result.kernels = {kernel("o", "gemm", "gemm 64x64x64 bf16 -> bf16", "forward", 2, 1.0)};
  CHECK(precision_anatomy(result).empty());
}

}  // namespace
}  // namespace tessera::reports
