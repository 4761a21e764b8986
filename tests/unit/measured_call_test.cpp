#include "calibrate/measured_call.hpp"

#include <catch2/catch_test_macros.hpp>

#include "models/device/device_file.hpp"

namespace tessera::calibrate {
namespace {

/// The call of one GEMM row: 6 MiB of operands and result a set in BF16, L2 of H100 50 MB.
MeasuredCall gemm_call(const std::string& framework, const std::string& dtype,
                       const std::string& operands, const std::string& sets) {
  const CsvTable table = CsvTable::parse(
      "gpu,framework,op,dtype,kernel,M,N,K,operands,operand_sets\n"
      "h100_sxm," +
          framework + ",gemm," + dtype + ",cublaslt,1024,1024,1024," + operands + "," + sets + "\n",
      "gemm.csv");
  return MeasurementMap::load().call("gemm", table, 0, device::load_device("h100_sxm"));
}

}  // namespace

TEST_CASE("a probe's row times its GEMM alone, in the state of L2 that it names", "[measured]") {
  const MeasuredCall cycled = gemm_call("tessera_probes", "bfloat16", "cycled", "6");
  REQUIRE(cycled.kernels.size() == 1);
  // Six sets of three matrices of 2 MiB; what survives of so many bytes is the GPU model's to say.
  CHECK(cycled.kernels[0].context.warm_weights);
  CHECK(cycled.kernels[0].context.weight_reuse_bytes == 6.0 * 3 * 1024 * 1024 * 2);
  CHECK_FALSE(
      gemm_call("tessera_probes", "bfloat16", "cycled", "24").kernels[0].context.warm_weights);
  CHECK(gemm_call("tessera_probes", "bfloat16", "warm", "1").kernels[0].context.warm_weights);
  CHECK_FALSE(
      gemm_call("tessera_probes", "bfloat16", "flushed", "1").kernels[0].context.warm_weights);
  CHECK(gemm_call("tessera_probes", "fp8", "cycled", "6").kernels.size() == 1);
  CHECK(gemm_call("trtllm", "fp8", "", "").kernels.size() > 1);  // casts before its GEMM
  // SmoothQuant's activation comes quantised, weight-only kernels take it as it is.
  CHECK(gemm_call("trtllm", "sq", "", "").kernels.size() == 1);
  CHECK(cycled.harness == "harness.gemm.tessera_probes");
}

}  // namespace tessera::calibrate
