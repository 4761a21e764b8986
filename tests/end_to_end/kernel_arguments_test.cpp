#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "tests/end_to_end/tessera_program.hpp"

namespace tessera::end_to_end {

using Catch::Matchers::ContainsSubstring;

TEST_CASE("the kernels of sparse attention run by name, with counters", "[kernel_arguments]") {
  const std::pair<std::string, std::string> kernels[] = {
      {"index_scores q=512 kv=8192", "deepgemm_index_hopper"},
      {"index_scores batch=64 kv=8192 --implementation deepgemm_paged_index_hopper",
       "deepgemm_paged_index_hopper"},
      {"select_top_k rows=512 columns=8192", "top_k_radix"},
      {"absorbed_attention batch=64 kv=8192 heads=64 selected=2048 cache=fp8 --implementation "
       "flashmla_sparse_fp8_hopper",
       "flashmla_sparse_fp8_hopper"}};
  for (const auto& [arguments, implementation] : kernels) {
    const Outcome outcome = run_tessera("kernel --device h100_sxm " + arguments + " --counters");
    CAPTURE(outcome.output);
    CHECK(outcome.exit_code == 0);
    CHECK_THAT(outcome.output,
               ContainsSubstring(implementation) && ContainsSubstring("dram__bytes_read.sum"));
  }
}

TEST_CASE("mistakes in a kernel's arguments name what was expected", "[kernel_arguments]") {
  const std::pair<std::string, std::string> mistakes[] = {
      {"index_scores q=512", "kv=... is missing"},
      {"index_scores q=512 kv=256", "q=512 queries are more than the kv=256 tokens"},
      {"index_scores kv=256 topk=4", "index_scores has no argument 'topk'; it has batch, "},
      {"index_scores kv=256 compression=0", "compression: found '0'; expected an integer in [1, "},
      {"select_top_k rows=4", "columns=... is missing"},
      {"select_top_k rows=4 columns=4096 ties=some", "ties: found 'some'; expected true or false"},
      {"select_topk rows=4 columns=4096", "expected one of gemm, "}};
  for (const auto& [arguments, message] : mistakes) {
    const Outcome outcome = run_tessera("kernel --device h100_sxm " + arguments);
    CAPTURE(arguments, outcome.errors);
    CHECK(outcome.exit_code == 2);
    CHECK_THAT(outcome.errors, ContainsSubstring(message));
  }
}

TEST_CASE("an indexer that no implementation has is refused with a reason", "[kernel_arguments]") {
  const Outcome wide = run_tessera("kernel --device h100_sxm index_scores kv=4096 heads=256");
  CHECK(wide.exit_code == 1);
  CHECK_THAT(wide.errors, ContainsSubstring("has no tile for index_scores"));
  const Outcome old = run_tessera("kernel --device a100_sxm index_scores kv=4096");
  CHECK(old.exit_code == 1);
  CHECK_THAT(old.errors, ContainsSubstring("no kernel implementation for index_scores"));
}

}  // namespace tessera::end_to_end
