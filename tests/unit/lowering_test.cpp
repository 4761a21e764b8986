#include "models/workload/lowering.hpp"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <set>

#include "models/workload/architecture_file.hpp"
#include "models/workload/parameters.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using Catch::Approx;

constexpr std::int64_t kTokens = 4096;

std::vector<std::int64_t> even_rows() { return {8192, 8192, 8192, 8192}; }

Lowering lowering(const Architecture& a, const PrecisionRecipe& precision,
                  const RecomputeChoice& recompute = {}) {
  return {a, precision, recompute, 1, kTokens, even_rows()};
}

std::vector<const Work*> works(const PartWork& part) {
  std::vector<const Work*> all;
  for (const Steps* list : part.lists()) {
    for (const Step& step : *list) {
      if (step.work()) all.push_back(step.work());
    }
  }
  return all;
}

double flops_of(const PartWork& part, Pass pass) {
  double sum = 0;
  for (const Work* work : works(part)) {
    if (work->pass == pass) sum += flops(work->op).value();
  }
  return sum;
}

TEST_CASE("each pass of the model computes what its parameters say", "[lowering]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  const Lowering job = lowering(v3, PrecisionRecipe::fp8_block());
  double forward = flops_of(job.embedding(), Pass::forward) + flops_of(job.head(), Pass::forward);
  double input = flops_of(job.head(), Pass::input_gradient);
  double weight = flops_of(job.head(), Pass::weight_gradient);
  for (std::int64_t l = 0; l < v3.layers; ++l) {
    forward += flops_of(job.layer(l), Pass::forward);
    input += flops_of(job.layer(l), Pass::input_gradient);
    weight += flops_of(job.layer(l), Pass::weight_gradient);
  }
  const double matrices = 2 * active_matrix_parameters(v3) * kTokens;
  const double pairs = kTokens * (kTokens + 1) / 2.0;  // scores under the causal mask
  const double per_dim = 2.0 * 61 * 128 * pairs;
  CHECK(forward == Approx(matrices + per_dim * (192 + 128)).epsilon(1e-9));
  CHECK(weight == Approx(matrices).epsilon(1e-9));
  // Scores are computed again; then gradients of scores, values, keys and queries.
  CHECK(input == Approx(matrices + per_dim * (3 * 192 + 2 * 128)).epsilon(1e-9));
}

TEST_CASE("the FP8 recipe multiplies linear layers in FP8 and nothing else", "[lowering]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  const Lowering job = lowering(v3, PrecisionRecipe::fp8_block());
  std::set<std::string> bf16;
  for (const PartWork& part : {job.layer(0), job.layer(60), job.head(), job.mtp(0)}) {
    for (const Work* work : works(part)) {
      if (const auto* gemm = std::get_if<Gemm>(&work->op)) {
        if (gemm->type == DataType::bf16) bf16.insert(work->name.substr(0, 4));
        const bool fp8_weight = gemm->accumulate && gemm->type == DataType::fp8_block;
        CHECK(gemm->both_operands_row_scaled == fp8_weight);
        if (gemm->accumulate) CHECK(gemm->output == DataType::fp32);
      }
      if (const auto* group = std::get_if<GroupedGemm>(&work->op)) {
        CHECK(group->type == DataType::fp8_block);
      }
      if (const auto* attention = std::get_if<Attention>(&work->op)) {
        CHECK(attention->type == DataType::bf16);
      }
    }
  }
  CHECK(bf16 == std::set<std::string>{"gate", "head"});
}

TEST_CASE("BF16 has no casts and no transposes", "[lowering]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  const Lowering job = lowering(v3, PrecisionRecipe{});
  for (const PartWork& part : {job.layer(0), job.layer(60), job.mtp(0)}) {
    for (const Work* work : works(part)) {
      const auto* stream = std::get_if<Stream>(&work->op);
      if (!stream) continue;
      CHECK(stream->kind != StreamKind::quantize);
      CHECK(stream->kind != StreamKind::quantize_transpose);
      CHECK(stream->kind != StreamKind::transpose);
    }
  }
}

TEST_CASE("recomputation trades saved bytes for kernels", "[lowering]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  const auto recipe = PrecisionRecipe::fp8_block();
  const PartWork kept = lowering(v3, recipe).layer(10);
  const PartWork norms = lowering(v3, recipe, {.rms_norm = true}).layer(10);
  const PartWork ups =
      lowering(v3, recipe, {.rms_norm = true, .mla_up_projection = true}).layer(10);
  const PartWork all = lowering(v3, recipe, {true, true, true}).layer(10);
  CHECK(norms.saved_bytes() < kept.saved_bytes());
  // Queries, keys and values: 128 heads of 192 + 192 + 128 in BF16.
  CHECK(norms.saved_bytes() - ups.saved_bytes() == Approx(4096.0 * 128 * 512 * 2));
  CHECK(all.saved_bytes() < ups.saved_bytes());
  CHECK(works(ups).size() > works(norms).size());
  CHECK(flops_of(ups, Pass::input_gradient) > flops_of(norms, Pass::input_gradient));
}

TEST_CASE("a part without experts does not exchange", "[lowering]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  const Lowering job = lowering(v3, PrecisionRecipe::fp8_block());
  CHECK_FALSE(job.layer(2).exchanges);
  CHECK(job.layer(3).exchanges);
  CHECK(job.mtp(0).exchanges);
  CHECK_FALSE(job.head().exchanges);
}

TEST_CASE("recipes that are not modelled are refused", "[lowering]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  PrecisionRecipe mx = PrecisionRecipe::fp8_block();
  mx.linear = DataType::mxfp8;
  CHECK_THROWS_AS(lowering(v3, mx), core::Refusal);
  PrecisionRecipe mixed;
  mixed.dispatch = DataType::fp8_block;
  CHECK_THROWS_AS(lowering(v3, mixed), core::Refusal);
}

}  // namespace
}  // namespace tessera::workload
