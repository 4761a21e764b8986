#include "models/workload/lowering.hpp"

#include <algorithm>
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

std::vector<std::string> names(const PartWork& part) {
  std::vector<std::string> all;
  for (const Work* work : works(part)) all.push_back(work->name);
  return all;
}
bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}
std::size_t count(const std::vector<std::string>& names, const std::string& ending) {
  return static_cast<std::size_t>(std::count_if(
      names.begin(), names.end(), [&](const std::string& n) { return n.ends_with(ending); }));
}

Architecture dense_model() {
  Architecture a;
  a.name = "dense";
  a.hidden = 1024;
  a.layers = 4;
  a.vocabulary = 32000;
  a.attention = GroupedQueryAttention{
      .heads = 8, .kv_heads = 8, .qk_dim = 128, .v_dim = 128, .rotary_dim = 128};
  a.dense = {.intermediate = 4096};
  return a;
}

TEST_CASE("per-tensor scales: maxima when current, transposes where k alone is read",
          "[lowering]") {
  const Architecture a = dense_model();
  PrecisionRecipe recipe = PrecisionRecipe::fp8(TensorScaling::delayed);
  const auto delayed = names(lowering(a, recipe).layer(0));
  CHECK(count(delayed, " amax") == 0);
  // Norms write FP8 themselves; attention's output and the activation are cast, and so are four
  // output gradients.
  CHECK(count(delayed, " cast") == 6);
  CHECK(count(delayed, " transpose") == 2);  // of the norms' outputs; casts transpose on their way
  recipe.scaling = TensorScaling::current;
  const auto current = names(lowering(a, recipe).layer(0));
  CHECK(count(current, " amax") == 8);
  CHECK(count(current, " scale") == 8);
  CHECK(count(current, " cast") == 8);
  CHECK(count(current, " transpose") == 0);
  recipe.transposed_copies = false;
  for (const Work* work : works(lowering(a, recipe).layer(0))) {
    const auto* stream = std::get_if<Stream>(&work->op);
    if (stream) CHECK(stream->kind != StreamKind::quantize_transpose);
  }
}

TEST_CASE("block-scaled recipes of Blackwell quantise both ways and swizzle scales", "[lowering]") {
  const Architecture a = dense_model();
  const auto mxfp8 = names(lowering(a, PrecisionRecipe::mxfp8()).layer(0));
  CHECK(count(mxfp8, " cast") == 8);
  CHECK(count(mxfp8, " amax") == 0);
  CHECK(count(mxfp8, " scales swizzle") == 12);  // four linear layers, three products each
  const auto nvfp4 = names(lowering(a, PrecisionRecipe::nvfp4()).layer(0));
  CHECK(count(nvfp4, " amax") == 8);
  CHECK(count(nvfp4, " scales swizzle") == 12);
}

TEST_CASE("layers at the ends stay in bf16 when asked", "[lowering]") {
  PrecisionRecipe recipe = PrecisionRecipe::nvfp4();
  recipe.bf16_first_layers = 1;
  recipe.bf16_last_layers = 2;
  const Lowering job = lowering(dense_model(), recipe);
  for (const std::int64_t number : {0, 1, 2, 3}) {
    CAPTURE(number);
    CHECK(holds(names(job.layer(number)), "mlp_norm cast") == (number == 1));
  }
}

TEST_CASE("gathered weights are transposed in FP8, cast from bf16", "[lowering]") {
  const OptimizerShare share{.low_precision = 1e6, .held = 8e6};
  const auto block = PrecisionRecipe::fp8_block();
  CHECK(after_gather_work(share, block).front().name == "weight transpose");
  CHECK(after_gather_work(share, block, false).front().name == "weight cast");
  CHECK(after_gather_work(share, PrecisionRecipe{}).empty());
  PrecisionRecipe fp8 = PrecisionRecipe::fp8(TensorScaling::delayed);
  CHECK(resident_weight_bytes(fp8) == Approx(2));
  CHECK(resident_weight_bytes(fp8, false) == Approx(4));
  fp8.transposed_copies = false;
  CHECK(after_gather_work(share, fp8).empty());
  CHECK(resident_weight_bytes(fp8) == Approx(1));
  CHECK(resident_weight_bytes(PrecisionRecipe::mxfp8(), false) == Approx(2 * 33.0 / 32));
}

/// Bytes that kernels of these names read and write, by their widths alone.
double stream_bytes(const PartWork& part, const std::string& ending) {
  double bytes = 0;
  for (const Work* work : works(part)) {
    const auto* stream = std::get_if<Stream>(&work->op);
    if (!stream || !work->name.ends_with(ending)) continue;
    const double out =
        stream->kind == StreamKind::column_sum ? 0 : activation_bytes(stream->output);
    bytes += static_cast<double>(stream->rows * stream->columns) *
             (activation_bytes(stream->input) + out);
  }
  return bytes;
}

TEST_CASE("eager PyTorch reads norms twice and puts gradients together", "[lowering]") {
  const Architecture mpt = load_architecture("mpt_7b");
  const PrecisionRecipe bf16{};
  const Lowering eager(mpt, bf16, {}, 1, 2048, {}, {}, {.eager = true, .train_metrics = 2});
  const Lowering fused(mpt, bf16, {}, 1, 2048, {});
  const PartWork layer = eager.layer(0);
  CHECK(stream_bytes(layer, "norm weight gradient") == 2 * 2 * 2 * 2048.0 * 4096);
  CHECK(stream_bytes(layer, "qkv gradient assembly") == 4 * 2048.0 * 3 * 4096);
  CHECK(stream_bytes(layer, "weight gradients assembly") ==
        Approx(4 * layer_parameters(mpt, 0).total()));
  for (const Work* work : works(layer)) {
    const auto* gemm = std::get_if<Gemm>(&work->op);
    if (!gemm || work->pass != Pass::weight_gradient) continue;
    CHECK(gemm->output == DataType::bf16);
    CHECK_FALSE(gemm->accumulate);
  }
  // A cast to FP32 and a log_softmax in FP32 for each metric.
  const double logits = 2048.0 * static_cast<double>(mpt.vocabulary);
  CHECK(stream_bytes(eager.head(), "metric logits cast") == 2 * 6 * logits);
  CHECK(stream_bytes(eager.head(), "metric log_softmax") == 2 * 8 * logits);
  CHECK(stream_bytes(fused.layer(0), "qkv gradient assembly") == 4 * 2048.0 * 3 * 4096);
  for (const char* ending : {"norm weight gradient", "s assembly", "cast", "log_softmax"}) {
    CHECK(stream_bytes(fused.layer(0), ending) == 0);
    CHECK(stream_bytes(fused.head(), ending) == 0);
  }
}

TEST_CASE("eager AdamW reads and writes every operand of every operation", "[lowering]") {
  const OptimizerShare share{.low_precision = 3 << 20, .high_precision = 1 << 20};
  const double elements = 4 << 20;
  const auto bytes = [](const std::vector<Work>& list) {
    double sum = 0;
    for (const Work& work : list) {
      const auto& stream = std::get<Stream>(work.op);
      const int reads = stream.kind == StreamKind::unpermute ? stream.fan
                        : stream.kind == StreamKind::add     ? 2
                                                             : 1;
      const int writes = stream.kind == StreamKind::gradient_clip ? 0 : 1;
      sum += static_cast<double>(stream.rows * stream.columns) *
             (reads * activation_bytes(stream.input) + writes * activation_bytes(stream.output));
    }
    return sum;
  };
  const KernelChoice eager{.eager = true};
  // Six operations on one tensor, two sums of two, and one quotient of three: 22 operands in FP32.
  CHECK(bytes(update_work(share, {}, true, eager)) == 22 * 4 * elements);
  // The norm reads, the scale reads and writes.
  CHECK(bytes(gradient_norm_work(share, {}, eager)) == 3 * 4 * elements);
  CHECK(bytes(gradient_norm_work(share, {})) == 4 * elements);
  CHECK(update_work(share, {}).size() == 2);
}

TEST_CASE("a ring's first output is rescaled whole, its later halves as they are added",
          "[lowering]") {
  const Architecture mpt = load_architecture("mpt_7b");
  const auto rescaled = [&](std::int64_t ranks, const char* name) {
    const PartWork layer = Lowering(mpt, {}, {}, 1, 2048, {}, {.context = ranks}).layer(0);
    double rows = 0;
    for (const Work* work : works(layer))
      if (work->name == name) rows += static_cast<double>(std::get<Stream>(work->op).rows);
    return rows;
  };
  CHECK(rescaled(1, "attention rescale") == 0);
  CHECK(rescaled(2, "attention rescale") == 1024);
  CHECK(rescaled(4, "attention rescale") == 512);
  CHECK(rescaled(2, "attention correction") == 512);
}

const Work& named(const std::vector<const Work*>& all, const std::string& name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Work* work) { return work->name == name; });
  REQUIRE(found != all.end());
  return **found;
}

TEST_CASE("experts that a library multiplies one by one are cast and padded so", "[lowering]") {
  const Architecture qwen = load_architecture("qwen3_30b_a3b");
  const ParallelSplit split{.expert = 32};
  const auto layer = [&](ExpertLaunches experts) {
    return Lowering{qwen,    PrecisionRecipe::mxfp8(),
                    {},      1,
                    kTokens, even_rows(),
                    split,   {.dispatcher = Dispatcher::all_to_all, .experts = experts}}
        .layer(0);
  };
  const PartWork each = layer(ExpertLaunches::each), together = layer(ExpertLaunches::together);
  for (const char* cast : {"expert_input cast", "expert_swiglu cast", "expert_output gradient cast",
                           "expert_gate_up gradient cast"}) {
    CAPTURE(cast);
    const auto casts = [&](const PartWork& part) {
      const auto all = works(part);
      return std::count_if(all.begin(), all.end(),
                           [&](const Work* work) { return work->name == cast; });
    };
    CHECK(casts(each) == 4);
    CHECK(casts(together) == 1);
    CHECK(stream_bytes(each, cast) == Approx(stream_bytes(together, cast)));
  }
  const Work& product = named(works(each), "expert_gate_up");
  CHECK(product.launches == 4);
  CHECK(product.module);
  CHECK(named(works(each), "expert_gate_up weight_gradient").launches == 4);
  CHECK_FALSE(named(works(each), "expert_gate_up weight_gradient").module);
  CHECK(named(works(together), "expert_gate_up").launches == 1);
  // Rows in and out, forward and backward, read and written in BF16.
  CHECK(stream_bytes(each, " padding") == 4 * 4 * 4 * 8192.0 * 2048);
  CHECK(stream_bytes(together, " padding") == 0);
}

TEST_CASE("PyTorch adds the biases of experts that are multiplied one by one", "[lowering]") {
  const Architecture oss = load_architecture("gpt_oss_120b");
  const auto bytes = [&](ExpertLaunches experts, const std::string& name) {
    const Lowering job{oss, {}, {}, 1, kTokens, even_rows(), {.expert = 32}, {.experts = experts}};
    return stream_bytes(job.layer(0), name) / (4 * 8192.0 * 2880);
  };
  CHECK(bytes(ExpertLaunches::each, "expert bias cast") == 6);
  CHECK(bytes(ExpertLaunches::each, "expert bias concatenation") == 8);
  CHECK(bytes(ExpertLaunches::each, "expert bias gradient of bias product") == 8);
  CHECK(bytes(ExpertLaunches::together, "expert bias cast") == 0);
}

TEST_CASE("PyTorch holds what enters an activation between bounds, unless the experts' kernel does",
          "[lowering]") {
  const auto bytes = [&](const char* name, const std::string& kernel, ExpertLaunches experts,
                         RecomputeChoice recompute = {}) {
    const Architecture model = load_architecture(name);
    const Lowering job{model,   {},          recompute,      1,
                       kTokens, even_rows(), {.expert = 32}, {.experts = experts}};
    return stream_bytes(job.layer(0), "expert clamp " + kernel) /
           (4 * 8192.0 * static_cast<double>(model.moe.intermediate));
  };
  constexpr const char* kOss = "gpt_oss_120b";
  CHECK(bytes(kOss, "gate", ExpertLaunches::each) == 4);
  CHECK(bytes(kOss, "concatenation", ExpertLaunches::each) == 8);
  CHECK(bytes(kOss, "gradient up lower mask", ExpertLaunches::each) == 3);
  CHECK(bytes(kOss, "gradient up", ExpertLaunches::each) == 4);
  CHECK(bytes(kOss, "gradient concatenation", ExpertLaunches::each) == 8);
  CHECK(bytes(kOss, "concatenation recompute", ExpertLaunches::each) == 0);
  CHECK(bytes(kOss, "concatenation recompute", ExpertLaunches::each, {.swiglu = true}) == 8);
  CHECK(bytes(kOss, "concatenation", ExpertLaunches::together) == 0);
  CHECK(bytes("qwen3_30b_a3b", "concatenation", ExpertLaunches::each) == 0);
}

TEST_CASE("rotary positions in pieces read and write queries and keys five times", "[lowering]") {
  const Architecture oss = load_architecture("gpt_oss_120b");
  const auto pieces = [&](bool fused) {
    const Lowering job{
        oss, {}, {}, 1, kTokens, even_rows(), {.expert = 32}, {.fused_rotary = fused}};
    const PartWork layer = job.layer(0);
    const auto all = works(layer);
    return std::count_if(all.begin(), all.end(), [](const Work* work) {
      return work->pass == Pass::forward && work->name.starts_with("rotary");
    });
  };
  CHECK(pieces(true) == 1);
  CHECK(pieces(false) == 5);
}

TEST_CASE("an MLP is computed again from its norm", "[lowering]") {
  const Architecture a = dense_model();
  const PartWork kept = lowering(a, {}).layer(0);
  const PartWork again = lowering(a, {}, {.mlp = true}).layer(0);
  // Both halves of the first product and the activation, 3 x 4096 in BF16.
  CHECK(kept.saved_bytes() - again.saved_bytes() == Approx(kTokens * 3.0 * 4096 * 2));
  CHECK(flops_of(again, Pass::input_gradient) - flops_of(kept, Pass::input_gradient) ==
        Approx(2.0 * kTokens * 8192 * 1024));
}

TEST_CASE("recipes that are not modelled are refused", "[lowering]") {
  const Architecture v3 = load_architecture("deepseek_v3");
  PrecisionRecipe narrow = PrecisionRecipe::fp8_block();
  narrow.linear = DataType::mxfp8;  // experts cannot take fp8_block tokens then
  CHECK_THROWS_AS(lowering(v3, narrow), core::Refusal);
  narrow = {.linear = DataType::int8};
  CHECK_THROWS_AS(lowering(v3, narrow), core::Refusal);
  PrecisionRecipe mixed;
  mixed.dispatch = DataType::fp8_block;
  CHECK_THROWS_AS(lowering(v3, mixed), core::Refusal);
}

}  // namespace
}  // namespace tessera::workload
