#include "models/workload/lowering.hpp"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "models/workload/parameters.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using std::int64_t;

[[noreturn]] void outside(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::outside_model, reason);
}
[[noreturn]] void illegal(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::illegal_combination, reason);
}

void check_recipe(const PrecisionRecipe& p) {
  switch (p.linear) {
    case DataType::bf16:
    case DataType::fp8:
    case DataType::fp8_block:
    case DataType::mxfp8:
    case DataType::nvfp4:
      break;
    default:
      outside(fmt::format(
          "training in {} is not modelled; recipes are bf16, fp8, fp8_block, mxfp8 and nvfp4",
          core::to_string(p.linear)));
  }
  if (p.attention != DataType::bf16)
    outside(fmt::format("training attention in {} is not modelled; bf16 is",
                        core::to_string(p.attention)));
  const bool block_dispatch = p.dispatch == DataType::fp8_block;
  if ((p.dispatch != DataType::bf16 && !block_dispatch) || p.combine != DataType::bf16)
    outside("expert exchanges are modelled with bf16 or fp8_block dispatch and bf16 combine");
  if (block_dispatch && p.linear != DataType::fp8_block)
    outside(fmt::format("fp8_block dispatch into {} experts is not modelled",
                        core::to_string(p.linear)));
  if (block_dispatch && p.bf16_first_layers + p.bf16_last_layers > 0)
    outside("fp8_block dispatch into layers that stay in bf16 is not modelled");
}

void check_architecture(const Architecture& a) {
  if (a.vision) outside(fmt::format("training the vision encoder of {} is not modelled", a.name));
  for (int64_t n = 0; n < a.layers; ++n) {
    const AttentionKind attention = a.layer(n).attention;
    const auto* latent = std::get_if<LatentAttention>(&attention);
    if (latent && latent->sparse)
      outside(
          fmt::format("training with the sparse latent attention of {} is not modelled", a.name));
    if (latent && latent->query_rank == 0)
      outside(fmt::format("latent attention without a query latent ({}) is not modelled", a.name));
  }
}

/// Requires: every degree >= 1.
void check_heads(const LoweringJob& job, int64_t heads, int64_t kv_heads) {
  const ParallelSplit& s = job.split;
  if (heads % s.tensor != 0)
    illegal(fmt::format("{} attention heads do not divide over {} tensor ranks", heads, s.tensor));
  if (kv_heads % s.tensor != 0 && s.tensor % kv_heads != 0)
    illegal(fmt::format("{} key heads neither divide over {} tensor ranks nor repeat evenly",
                        kv_heads, s.tensor));
  const bool exchanged = s.context > 1 && s.context_kind == ContextKind::all_to_all;
  if (exchanged && (heads / s.tensor) % s.context != 0)
    illegal(fmt::format("{} attention heads a tensor rank do not divide over {} context ranks",
                        heads / s.tensor, s.context));
}

void check_core(const LoweringJob& job, const AttentionKind& attention) {
  const auto* grouped = std::get_if<GroupedQueryAttention>(&attention);
  const bool ring = job.split.context > 1 && job.split.context_kind == ContextKind::ring;
  const bool window = grouped && grouped->window > 0 && grouped->window < job.sequence_length;
  if (ring && window)
    outside("ring context parallelism over attention windows is not modelled; all_to_all is");
  if (job.kernels.flash_attention) return;
  if (!grouped || window || grouped->heads != grouped->kv_heads || job.split.context > 1)
    outside(
        "attention without FlashAttention is modelled for as many key heads as query heads, no "
        "window and one context rank");
  if (grouped->qk_dim != grouped->v_dim)
    outside("attention without FlashAttention is modelled for equal query and value heads");
}

void check_layer(const LoweringJob& job, const LayerSpec& layer) {
  const ParallelSplit& s = job.split;
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&layer.attention)) {
    check_heads(job, grouped->heads, grouped->kv_heads);
  } else {
    const int64_t heads = std::get<LatentAttention>(layer.attention).heads;
    check_heads(job, heads, heads);
  }
  check_core(job, layer.attention);
  if (const auto* dense = std::get_if<DenseFeedForward>(&layer.feed_forward)) {
    if (dense->intermediate % s.tensor != 0)
      illegal(fmt::format("an MLP of {} does not divide over {} tensor ranks", dense->intermediate,
                          s.tensor));
    return;
  }
  const auto& moe = std::get<MixtureOfExperts>(layer.feed_forward);
  if (moe.intermediate % s.expert_tensor != 0)
    illegal(fmt::format("an expert of {} does not divide over {} expert-tensor ranks",
                        moe.intermediate, s.expert_tensor));
  if ((moe.shared_experts * moe.intermediate) % s.tensor != 0)
    illegal(fmt::format("shared experts of {} do not divide over {} tensor ranks",
                        moe.shared_experts * moe.intermediate, s.tensor));
  if (s.tensor > 1 && !s.sequence_parallel)
    illegal(
        "experts under tensor parallelism need sequence parallelism: every tensor rank sends "
        "its own tokens");
}

void check_tokens(const LoweringJob& job) {
  const ParallelSplit& s = job.split;
  const int64_t chunks = s.context_kind == ContextKind::ring ? 2 * s.context : s.context;
  if (s.context > 1 && job.sequence_length % chunks != 0)
    illegal(
        fmt::format("a sequence of {} tokens does not divide into {} parts for {} context "
                    "ranks",
                    job.sequence_length, chunks, s.context));
  const int64_t tokens = job.sequences * job.sequence_length / s.context;
  if (s.sequence_parallel && tokens % s.tensor != 0)
    illegal(
        fmt::format("{} tokens do not divide over {} sequence-parallel ranks", tokens, s.tensor));
}

}  // namespace

Lowering::Lowering(LoweringJob job) : job_(std::move(job)) {
  check_recipe(job_.precision);
  check_architecture(job_.architecture);
  check_tokens(job_);
  for (int64_t n = 0; n < job_.architecture.layers; ++n)
    check_layer(job_, job_.architecture.layer(n));
}

Lowering::Lowering(const Architecture& architecture, const PrecisionRecipe& precision,
                   const RecomputeChoice& recompute, int64_t sequences, int64_t sequence_length,
                   std::vector<int64_t> expert_rows, const ParallelSplit& split,
                   const KernelChoice& kernels)
    : Lowering(LoweringJob{architecture, precision, recompute, split, kernels, sequences,
                           sequence_length, std::move(expert_rows)}) {}

DataType Lowering::linear_type(int64_t layer) const {
  const PrecisionRecipe& p = job_.precision;
  const bool end =
      layer < p.bf16_first_layers || layer >= job_.architecture.layers - p.bf16_last_layers;
  return end ? DataType::bf16 : p.linear;
}

PartWork Lowering::layer(int64_t number) const {
  const LayerSpec spec = job_.architecture.layer(number);
  PartBuilder builder(job_, fmt::format("layer {}", number), linear_type(number));
  builder.attention_forward(spec.attention);
  builder.feed_forward(spec.feed_forward);
  builder.feed_forward_gradient(spec.feed_forward);
  builder.attention_gradient(spec.attention);
  builder.assemble_gradients(
      layer_parameters(job_.architecture, number, job_.split.tensor).total());
  if (job_.recompute.full) builder.recompute_all();
  return builder.take();
}

PartWork Lowering::embedding() const {
  PartBuilder builder(job_, "embedding", job_.precision.linear);
  builder.embedding();
  builder.assemble_gradients(embedding_parameters(job_.architecture, job_.split.tensor).total());
  return builder.take();
}

PartWork Lowering::head() const {
  PartBuilder builder(job_, "head", job_.precision.linear);
  builder.head_forward();
  builder.head_gradient();
  return builder.take();
}

PartWork Lowering::mtp(int64_t number) const {
  const LayerSpec spec = job_.architecture.mtp_layer();
  PartBuilder builder(job_, fmt::format("mtp {}", number), job_.precision.linear);
  builder.mtp_entry();
  builder.attention_forward(spec.attention);
  builder.feed_forward(spec.feed_forward);
  builder.head_forward();
  builder.head_gradient();
  builder.feed_forward_gradient(spec.feed_forward);
  builder.attention_gradient(spec.attention);
  builder.mtp_exit();
  if (job_.recompute.full) builder.recompute_all();
  return builder.take();
}

}  // namespace tessera::workload
