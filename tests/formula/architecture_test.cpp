#include "models/workload/parameters.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/workload/architecture_file.hpp"

namespace tessera::workload {
namespace {

using Catch::Approx;

TEST_CASE("DeepSeek-V3's parameters add up to what is published", "[architecture]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  // Counted from the published configuration: 671.03 B in all, an expert 44.04 M.
  CHECK(main_parameters(v3).total() == Approx(671.03e9).epsilon(0.001));
  CHECK(layer_parameters(v3, 3).routed == Approx(256 * 44.04e6).epsilon(0.001));
  // README_WEIGHTS.md of the release: 0.9 B embedding, 0.9 B head, 11.5 B in the MTP module.
  CHECK(embedding_parameters(v3).total() == Approx(0.9e9).epsilon(0.04));
  CHECK(mtp_parameters(v3).total() == Approx(11.5e9).epsilon(0.01));
  // 36.7 B active with embedding and head.
  CHECK(active_matrix_parameters(v3) == Approx(36.7e9).epsilon(0.01));
}

TEST_CASE("half of the scores are counted when causal", "[architecture]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  const double causal = training_flops_per_token(v3, 4096, true);
  const double full = training_flops_per_token(v3, 4096, false);
  // 3 passes, 2 FLOPs, 61 layers, 128 heads of 192 + 128, half of 4096 keys.
  CHECK(full - causal == Approx(3.0 * 2 * 61 * 128 * 320 * 2048));
  CHECK(causal - (full - causal) == Approx(6 * active_matrix_parameters(v3)));
}

}  // namespace
}  // namespace tessera::workload
