#include <algorithm>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "models/workload/lowering.hpp"
#include "models/workload/parameters.hpp"
#include "sim/core/diagnostics.hpp"

/// What one layer computes, sends and keeps under every split, against closed forms.
namespace tessera::workload {
namespace {

using Catch::Approx;
using std::int64_t;

constexpr int64_t kLength = 2048;

/// Grouped queries, gated MLPs.
Architecture llama() {
  Architecture a;
  a.name = "llama";
  a.hidden = 4096;
  a.layers = 2;
  a.vocabulary = 128256;
  a.attention = GroupedQueryAttention{
      .heads = 32, .kv_heads = 8, .qk_dim = 128, .v_dim = 128, .rotary_dim = 128};
  a.dense = {.intermediate = 14336};
  return a;
}

/// Multi-head attention, an ungated MLP of four times the width, biases, learned positions.
Architecture gpt() {
  Architecture a;
  a.name = "gpt";
  a.hidden = 6144;
  a.layers = 2;
  a.vocabulary = 51200;
  a.norm = NormKind::layer;
  a.norm_bias = true;
  a.positions = Positions::learned;
  a.learned_positions = kLength;
  a.attention = GroupedQueryAttention{.heads = 64,
                                      .kv_heads = 64,
                                      .qk_dim = 96,
                                      .v_dim = 96,
                                      .qkv_bias = true,
                                      .output_bias = true};
  a.dense = {
      .intermediate = 4 * 6144, .gated = false, .activation = Activation::gelu, .bias = true};
  return a;
}

/// Queries and keys normalised, experts without shared ones, as Qwen3's.
Architecture qwen() {
  Architecture a = llama();
  a.name = "qwen";
  std::get<GroupedQueryAttention>(a.attention).qk_norm = QkNorm::head;
  a.moe = {.experts = 16, .top_k = 4, .intermediate = 1536};
  return a;
}

/// Latent attention, a shared expert.
Architecture latent() {
  Architecture a = llama();
  a.name = "latent";
  a.attention = LatentAttention{.heads = 32,
                                .query_rank = 1536,
                                .key_value_rank = 512,
                                .nope_dim = 128,
                                .rope_dim = 64,
                                .value_dim = 128};
  a.moe = {.experts = 16, .shared_experts = 1, .top_k = 4, .intermediate = 2048};
  a.dense_layers = 1;
  return a;
}

std::vector<ParallelSplit> splits() {
  std::vector<ParallelSplit> all;
  for (const int64_t tensor : {1, 2, 4, 8}) {
    for (const int64_t context : {1, 2, 4}) {
      for (const ContextKind kind : {ContextKind::ring, ContextKind::all_to_all}) {
        for (const bool overlap : {false, true}) {
          ParallelSplit split{.tensor = tensor,
                              .sequence_parallel = tensor > 1,
                              .context = context,
                              .context_kind = kind,
                              .tensor_overlap = overlap};
          split.expert_tensor = std::min<int64_t>(tensor, 2);
          all.push_back(split);
        }
      }
    }
  }
  return all;
}

/// Every rank of a split does the same: experts' rows are even.
LoweringJob job_of(const Architecture& a, const ParallelSplit& split, int64_t sequences = 1) {
  LoweringJob job{.architecture = a, .split = split};
  job.sequences = sequences;
  job.sequence_length = kLength;
  const int64_t ranks = split.tensor * split.context;
  const int64_t rows = sequences * kLength * a.moe.top_k * split.expert_tensor / ranks;
  if (a.has_experts())
    job.expert_rows.assign(static_cast<std::size_t>(a.moe.experts), rows / a.moe.experts);
  return job;
}

template <typename Visit>
void each_step(const PartWork& part, Visit visit) {
  for (const Steps* list : part.lists()) {
    for (const Step& step : *list) visit(step);
  }
}

double flops_of(const PartWork& part, Pass pass, bool attention) {
  double sum = 0;
  each_step(part, [&](const Step& step) {
    const Work* work = step.work();
    if (work && work->pass == pass && std::holds_alternative<Attention>(work->op) == attention)
      sum += flops(work->op).value();
  });
  return sum;
}

/// Bytes of transfers of one group and pass.
double bytes_of(const PartWork& part, Pass pass, Transfer::Group group,
                std::optional<Transfer::Kind> kind = {}) {
  double sum = 0;
  each_step(part, [&](const Step& step) {
    const Transfer* t = step.transfer();
    if (t && t->pass == pass && t->group == group && (!kind || t->kind == *kind)) sum += t->bytes;
  });
  return sum;
}

/// Products that ranks repeat: keys' and values' where ranks outnumber key heads.
double repeated(const Architecture& a, const ParallelSplit& split) {
  const auto* g = std::get_if<GroupedQueryAttention>(&a.attention);
  if (!g || split.tensor <= g->kv_heads) return 0;
  return 2.0 * kLength * static_cast<double>(a.hidden) *
         static_cast<double>((split.tensor - g->kv_heads) * (g->qk_dim + g->v_dim));
}

TEST_CASE("products of all ranks add up to the layer's, however it is split", "[split]") {
  for (const Architecture& a : {llama(), gpt(), qwen(), latent()}) {
    for (const int64_t number : {int64_t{0}, int64_t{1}}) {
      const PartWork whole = Lowering(job_of(a, {})).layer(number);
      const double products = 2.0 * kLength * weight_products(a, a.layer(number));
      CHECK(flops_of(whole, Pass::forward, false) == Approx(products).epsilon(1e-12));
      for (const ParallelSplit& split : splits()) {
        CAPTURE(a.name, number, split.tensor, split.context, split.tensor_overlap);
        const PartWork part = Lowering(job_of(a, split)).layer(number);
        const auto ranks = static_cast<double>(split.tensor * split.context);
        for (const Pass pass : {Pass::forward, Pass::input_gradient, Pass::weight_gradient}) {
          CHECK(ranks * flops_of(part, pass, false) ==
                Approx(products + repeated(a, split)).epsilon(1e-12));
          CHECK(ranks * flops_of(part, pass, true) ==
                Approx(flops_of(whole, pass, true)).epsilon(1e-12));
        }
      }
    }
  }
}

TEST_CASE("ranks beyond the key heads repeat one each", "[split]") {
  Architecture a = llama();
  std::get<GroupedQueryAttention>(a.attention).kv_heads = 2;
  const ParallelSplit split{.tensor = 8, .sequence_parallel = true};
  const PartWork part = Lowering(job_of(a, split)).layer(0);
  const double products = 2.0 * kLength * weight_products(a, a.layer(0));
  CHECK(8 * flops_of(part, Pass::forward, false) == Approx(products + repeated(a, split)));
  CHECK(repeated(a, split) == Approx(2.0 * 2048 * 4096 * 6 * 256));
}

TEST_CASE("tensor ranks send what Megatron's do", "[split]") {
  using Kind = Transfer::Kind;
  const auto group = Transfer::Group::tensor;
  for (const Architecture& a : {llama(), gpt()}) {
    const double sbh = 2.0 * kLength * static_cast<double>(a.hidden);  // BF16
    const ParallelSplit sequence{.tensor = 8, .sequence_parallel = true};
    const PartWork part = Lowering(job_of(a, sequence)).layer(0);
    // Before qkv and up, after output and down (arXiv 2205.05198, section 4.2.2).
    CHECK(bytes_of(part, Pass::forward, group, Kind::all_gather) == Approx(2 * sbh));
    CHECK(bytes_of(part, Pass::forward, group, Kind::reduce_scatter) == Approx(2 * sbh));
    CHECK(bytes_of(part, Pass::input_gradient, group, Kind::all_gather) == Approx(2 * sbh));
    CHECK(bytes_of(part, Pass::input_gradient, group, Kind::reduce_scatter) == Approx(2 * sbh));
    // Inputs of qkv and up are kept cut and gathered again.
    CHECK(bytes_of(part, Pass::weight_gradient, group, Kind::all_gather) == Approx(2 * sbh));

    const PartWork plain = Lowering(job_of(a, {.tensor = 8})).layer(0);
    CHECK(bytes_of(plain, Pass::forward, group, Kind::all_reduce) == Approx(2 * sbh));
    CHECK(bytes_of(plain, Pass::input_gradient, group, Kind::all_reduce) == Approx(2 * sbh));
    CHECK(bytes_of(plain, Pass::forward, group) == Approx(2 * sbh));
    CHECK(bytes_of(plain, Pass::weight_gradient, group) == 0);
  }
}

TEST_CASE("overlapped tensor transfers send the same in pieces", "[split]") {
  const Architecture a = llama();
  const double sbh = 2.0 * kLength * static_cast<double>(a.hidden);
  const PartWork part =
      Lowering(job_of(a, {.tensor = 8, .sequence_parallel = true, .tensor_overlap = true}))
          .layer(0);
  // Every rank sends 7 of 8 pieces on, four times.
  CHECK(bytes_of(part, Pass::forward, Transfer::Group::tensor, Transfer::Kind::send) ==
        Approx(4 * sbh * 7 / 8));
  // Gradients of the outputs of output and down projections come the same way; qkv's and up's sums
  // run beside weight gradients as a whole.
  CHECK(bytes_of(part, Pass::input_gradient, Transfer::Group::tensor, Transfer::Kind::send) ==
        Approx(2 * sbh * 7 / 8));
  CHECK(bytes_of(part, Pass::input_gradient, Transfer::Group::tensor, Transfer::Kind::all_gather) ==
        0);
  // What eight ranks sent of a rank's rows is added at the end.
  int reductions = 0;
  each_step(part, [&](const Step& step) {
    if (!step.work() || !step.work()->name.ends_with("sum reduction")) return;
    const auto& sum = std::get<Stream>(step.work()->op);
    CHECK(sum.fan == 8);
    CHECK(sum.rows * sum.columns == kLength * a.hidden / 8);
    ++reductions;
  });
  CHECK(reductions == 2);
}

TEST_CASE("overlapped, MXFP8 brings the copy for weight gradients apart", "[split]") {
  const Architecture a = llama();
  LoweringJob job = job_of(a, {.tensor = 8, .sequence_parallel = true, .tensor_overlap = true});
  job.precision = PrecisionRecipe::mxfp8();
  const PartWork part = Lowering(job).layer(0);
  const double copy = 33.0 / 32 * kLength * static_cast<double>(a.hidden);
  CHECK(bytes_of(part, Pass::input_gradient, Transfer::Group::tensor, Transfer::Kind::send) ==
        Approx(2 * copy * 7 / 8));
  // Inputs of qkv and up again, and both gradients' second copies.
  CHECK(bytes_of(part, Pass::weight_gradient, Transfer::Group::tensor,
                 Transfer::Kind::all_gather) == Approx(4 * copy));
}

TEST_CASE("FP8 gathers half the bytes of BF16", "[split]") {
  const Architecture a = llama();
  LoweringJob job = job_of(a, {.tensor = 8, .sequence_parallel = true});
  const auto gathered = [&] {
    return bytes_of(Lowering(job).layer(0), Pass::forward, Transfer::Group::tensor,
                    Transfer::Kind::all_gather);
  };
  const double bf16 = gathered();
  job.precision = PrecisionRecipe::fp8(TensorScaling::delayed);
  CHECK(gathered() == Approx(bf16 / 2));
  job.precision = PrecisionRecipe::mxfp8();
  CHECK(gathered() == Approx(bf16 / 2 * 33 / 32));  // a scale of one byte for 32 elements
}

/// 34sbh + 5as^2b and what becomes of it: arXiv 2205.05198, table 2; h and a as there.
struct Korthikanti {
  Architecture a = gpt();
  double s = kLength, b = 2, h = 6144, heads = 64;
  double sbh = s * b * h;
  double scores = 5 * heads * s * s * b;

  double saved(const ParallelSplit& split, const RecomputeChoice& recompute) const {
    LoweringJob job = job_of(a, split, 2);
    job.recompute = recompute;
    job.kernels = {.flash_attention = false, .dropout = true};
    return Lowering(job).layer(0).saved_bytes();
  }
};

TEST_CASE_METHOD(Korthikanti, "activation memory is the published formula", "[split]") {
  const ParallelSplit tensor{.tensor = 8};
  const ParallelSplit sequence{.tensor = 8, .sequence_parallel = true};
  const RecomputeChoice selective{.core_attention = true}, full{.full = true};
  CHECK(saved({}, {}) == Approx(34 * sbh + scores));
  CHECK(saved(tensor, {}) == Approx((10 + 24.0 / 8) * sbh + scores / 8));
  CHECK(saved(sequence, {}) == Approx((34 * sbh + scores) / 8));
  CHECK(saved(sequence, selective) == Approx(34 * sbh / 8));
  CHECK(saved({}, full) == Approx(2 * sbh));
}

TEST_CASE_METHOD(Korthikanti, "FlashAttention keeps a number a row of scores instead", "[split]") {
  LoweringJob job = job_of(a, {.tensor = 8, .sequence_parallel = true}, 2);
  // No dropout masks, and 4 bytes a head and token.
  CHECK(Lowering(job).layer(0).saved_bytes() == Approx((32 * sbh + 4 * heads * s * b) / 8));
}

TEST_CASE_METHOD(Korthikanti, "full recomputation runs the forward pass again", "[split]") {
  LoweringJob job = job_of(a, {}, 2);
  const PartWork kept = Lowering(job).layer(0);
  job.recompute.full = true;
  const PartWork again = Lowering(job).layer(0);
  CHECK(again.recomputes_forward);
  CHECK_FALSE(kept.recomputes_forward);
  CHECK(again.saved_bytes() + again.recomputed_bytes() == Approx(kept.saved_bytes()));
}

TEST_CASE("a ring balances causal work and passes keys and values on", "[split]") {
  const Architecture a = llama();
  const PartWork part = Lowering(job_of(a, {.context = 4})).layer(0);
  std::vector<Attention> products;
  each_step(part, [&](const Step& step) {
    const Work* work = step.work();
    if (work && work->pass == Pass::forward && std::holds_alternative<Attention>(work->op))
      products.push_back(std::get<Attention>(work->op));
  });
  REQUIRE(products.size() == 4);
  // 512 tokens a rank: its own causally, then half of the pairs of every other rank's.
  CHECK(products[0].causal);
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK_FALSE(products[i].causal);
    CHECK(products[i].q_length * products[i].kv_length == 512 * 256);
  }
  // 512 tokens of 8 heads of 128 + 128 in BF16, three times; backward gradients travel as well.
  const double block = 512.0 * 8 * 256 * 2;
  CHECK(bytes_of(part, Pass::forward, Transfer::Group::context) == Approx(3 * block));
  CHECK(bytes_of(part, Pass::input_gradient, Transfer::Group::context) == Approx(6 * block));
}

TEST_CASE("heads and tokens change places in all-to-all context parallelism", "[split]") {
  const Architecture a = llama();
  const PartWork part =
      Lowering(job_of(a, {.context = 4, .context_kind = ContextKind::all_to_all})).layer(0);
  each_step(part, [&](const Step& step) {
    const auto* attention = step.work() ? std::get_if<Attention>(&step.work()->op) : nullptr;
    if (!attention) return;
    CHECK(attention->heads == 8);
    CHECK(attention->kv_heads == 2);
    CHECK(attention->q_length == kLength);
  });
  // 512 tokens: queries, keys and values out, outputs back.
  const double all = 512.0 * 128 * (32 + 8 + 8 + 32) * 2;
  CHECK(bytes_of(part, Pass::forward, Transfer::Group::context) == Approx(all));
  CHECK(bytes_of(part, Pass::input_gradient, Transfer::Group::context) == Approx(all));
}

TEST_CASE("head and loss are split by words", "[split]") {
  const Architecture a = llama();
  const PartWork whole = Lowering(job_of(a, {})).head();
  const PartWork part = Lowering(job_of(a, {.tensor = 8, .sequence_parallel = true})).head();
  const auto group = Transfer::Group::tensor;
  CHECK(8 * flops_of(part, Pass::forward, false) == Approx(flops_of(whole, Pass::forward, false)));
  const double sbh = 2.0 * kLength * static_cast<double>(a.hidden);
  CHECK(bytes_of(part, Pass::forward, group, Transfer::Kind::all_gather) == Approx(sbh));
  // Maximum, sum and logit of every token in FP32.
  CHECK(bytes_of(part, Pass::forward, group, Transfer::Kind::all_reduce) ==
        Approx(3 * 4.0 * kLength));
}

TEST_CASE("splits that do not divide the model are refused", "[split]") {
  const auto refused = [](const Architecture& a, const ParallelSplit& split) {
    LoweringJob job{.architecture = a, .split = split};
    job.sequence_length = kLength;
    CHECK_THROWS_AS(Lowering(job), core::Refusal);
  };
  refused(llama(), {.tensor = 3, .sequence_parallel = true});
  refused(llama(), {.context = 3});
  refused(qwen(), {.tensor = 2});  // every rank must send its own tokens
  refused(llama(), {.context = 64, .context_kind = ContextKind::all_to_all});
  Architecture window = llama();
  std::get<GroupedQueryAttention>(window.attention).window = 128;
  refused(window, {.context = 2});
}

}  // namespace
}  // namespace tessera::workload
