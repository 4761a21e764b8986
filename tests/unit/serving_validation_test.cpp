#include "sim/app/serving_validation.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "tests/temporary_folder.hpp"

namespace tessera::app {
namespace {

const std::string kHeader =
    "gpu,model,framework,version,gemm_quant,mode,isl,osl,concurrency,batch,n_gpus,pp,attn_dp,tp,"
    "moe_tp,moe_ep,ttft_ms,tpot_ms\n";

/// A row of Llama-3.1-8B on one H100; `batch` as the file writes it, which decides the half.
std::string row(const std::string& batch, const std::string& tpot) {
  return "h100_sxm,meta-llama/Llama-3.1-8B-Instruct,trtllm,9.9,bfloat16,agg,1024,256,4," + batch +
         ",1,1,,1,1,1,80," + tpot + "\n";
}

/// A row of DeepSeek-R1 on eight H200.
std::string latent_row(const std::string& batch, const std::string& tpot) {
  return "h200_sxm,deepseek-ai/DeepSeek-R1,trtllm,9.9,fp8,agg,1024,256,4," + batch +
         ",8,1,1,8,8,1,80," + tpot + "\n";
}

/// Two ways to write a batch of four, whose rows are of the wanted halves.
std::string batch_of(calibrate::Half wanted,
                     std::string (*of)(const std::string&, const std::string&) = row) {
  for (std::string text : {"4", "4.0", "4.00", "4.000", "4.0000", "4.00000"})
    if (half(calibrate::CsvTable::parse(kHeader + of(text, "9"), "rows"), 0) == wanted) return text;
  FAIL("no such half");
  return {};
}

int rows_fitted(const std::string& rows) {
  const testing::TemporaryFolder folder;
  folder.write("e2e_serving.csv", kHeader + rows);
  const calibrate::HostOverheads overheads =
      fit_serving({.measurements = folder.path().string(), .fidelity = gpu::Fidelity::analytical});
  const auto found = overheads.find("trtllm 9.9");
  return found == overheads.end() ? 0 : found->second.rows;
}

TEST_CASE("a measurement that the file holds twice is fitted once, and never when it tests",
          "[serving_validation]") {
  const std::string fit = batch_of(calibrate::Half::fit), test = batch_of(calibrate::Half::test);
  CHECK(rows_fitted(row(fit, "9.0") + row(fit, "9.5")) == 2);
  CHECK(rows_fitted(row(fit, "9.0") + row(fit, "9.0")) == 1);
  CHECK(rows_fitted(row(fit, "9.0") + row(test, "9.0") + row(fit, "9.5")) == 1);
  CHECK(rows_fitted(row(fit, "9.0") + row(test, "9.5")) == 1);
}

TEST_CASE("no time of the test half decides which rows are fitted", "[serving_validation]") {
  const std::string fit = batch_of(calibrate::Half::fit, latent_row);
  const std::string test = batch_of(calibrate::Half::test, latent_row);
  const std::string own = latent_row(fit, "60");
  CHECK(rows_fitted(own) == 1);
  // An equal server that took so long shows that this one speculates, and then in all rows; but
  // not where it tests.
  CHECK(rows_fitted(own + latent_row(fit, "200")) == 0);
  CHECK(rows_fitted(own + latent_row(test, "200")) == 1);
  // Repeated servers differ by as much.
  CHECK(rows_fitted(own + latent_row(fit, "90")) == 2);
}

TEST_CASE("rows without a measured time are refused, not fitted", "[serving_validation]") {
  const std::string fit = batch_of(calibrate::Half::fit);
  CHECK(rows_fitted(row(fit, "") + row(fit, "9.0")) == 1);
}

}  // namespace
}  // namespace tessera::app
