#include <algorithm>

#include "models/workload/part_builder.hpp"

/// Attention of one layer: projections, norms of heads, positions, the core, and their gradients.
namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

Heads PartBuilder::heads_of(const AttentionKind& attention) const {
  if (const auto* g = std::get_if<GroupedQueryAttention>(&attention)) {
    // Ranks beyond the key heads hold one of them each, repeated.
    return {.queries = g->heads / split_.tensor,
            .keys = std::max<int64_t>(1, g->kv_heads / split_.tensor),
            .qk_dim = g->qk_dim,
            .v_dim = g->v_dim,
            .window = g->window < job_.sequence_length ? g->window : 0,
            .chunked = g->chunked};
  }
  const auto& m = std::get<LatentAttention>(attention);
  return {.queries = m.heads / split_.tensor,
          .keys = m.heads / split_.tensor,
          .qk_dim = m.qk_dim(),
          .v_dim = m.value_dim};
}

Linear PartBuilder::qkv(const GroupedQueryAttention& attention) const {
  const Heads heads = heads_of(attention);
  return {.name = "qkv",
          .input = "attention_norm",
          .n = heads.query_columns() + heads.key_value_columns(),
          .k = a_.hidden,
          .cut = Linear::Cut::columns,
          .bias = attention.qkv_bias,
          .type = linear_};
}

Linear PartBuilder::output(const AttentionKind& attention) const {
  const auto* grouped = std::get_if<GroupedQueryAttention>(&attention);
  return {.name = "o",
          .input = "attention_output",
          .n = a_.hidden,
          .k = heads_of(attention).output_columns(),
          .cut = Linear::Cut::rows,
          .bias = grouped && grouped->output_bias,
          .type = linear_};
}

void PartBuilder::attention_forward(const AttentionKind& attention) {
  save("layer input", shard_rows(), a_.hidden, DataType::bf16);
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&attention))
    grouped_query_forward(*grouped);
  else
    latent_forward(std::get<LatentAttention>(attention));
  output_forward(output(attention));
  save("attention residual", shard_rows(), a_.hidden, DataType::bf16);
}

void PartBuilder::output_forward(const Linear& o) {
  Steps& list = part_.before_dispatch;
  cast_input(list, Pass::forward, o, Producer::attention);
  multiply(list, Pass::forward, o);
  if (job_.kernels.dropout) save("attention dropout mask", shard_rows(), a_.hidden, 1.0, kMask);
  add(list, Pass::forward, "attention_residual");
}

void PartBuilder::output_gradient(Gradients g, const Linear& o) {
  enter_gradient(g.inputs, o, "o gradient");
  multiply_gradients(g, o, Producer::attention);
}

/// Norms of query and key heads; the gradient's read what was kept before them.
void PartBuilder::qk_norms(Steps& list, Pass pass, const GroupedQueryAttention& attention,
                           bool gradient) {
  if (attention.qk_norm == QkNorm::none) return;
  const Heads heads = heads_of(attention);
  const bool layer = attention.qk_norm == QkNorm::layer;
  if (layer) {  // sums of squares over heads of all tensor ranks, of queries and keys
    transfer(list, pass, gradient ? "qk_norm gradient sum" : "qk_norm sum", Kind::all_reduce,
             Group::tensor, 2.0 * static_cast<double>(tokens_) * activation_bytes(DataType::fp32));
  }
  const auto one = [&](const std::string& name, int64_t count) {
    const int64_t rows = layer ? tokens_ : tokens_ * count;
    const int64_t columns = layer ? count * heads.qk_dim : heads.qk_dim;
    if (gradient)
      norm_gradient(list, name, rows, columns);
    else
      norm(list, pass, name, rows, columns, DataType::bf16);
    enter_module(list);
  };
  one("q_norm", heads.queries);
  one("k_norm", heads.keys);
}

/// In pieces: x cos, halves that swap places, one of them negated, that times sin, the sum, and a
/// concatenation with what is not rotated; the gradient's as many.
void PartBuilder::rotary(Steps& list, Pass pass, const std::string& name, int64_t columns) {
  if (columns == 0) return;
  const auto write = [&](const char* piece, StreamKind kind) {
    stream(list, pass, name + piece, kind, tokens_, columns, DataType::bf16, DataType::bf16);
  };
  if (job_.kernels.fused_rotary) return write("", StreamKind::rotary);
  write(" cosine product", StreamKind::copy);
  write(" halves", StreamKind::copy);
  write(" sine product", StreamKind::copy);
  write(" sum", StreamKind::add);
  write(" concatenation", StreamKind::copy);
}

void PartBuilder::grouped_query_forward(const GroupedQueryAttention& attention) {
  constexpr Pass kPass = Pass::forward;
  Steps& list = part_.before_dispatch;
  const Heads heads = heads_of(attention);
  const Linear projection = qkv(attention);
  norm(list, kPass, "attention_norm", shard_rows(), a_.hidden, norm_output());
  cast_input(list, kPass, projection, Producer::norm);
  multiply(list, kPass, projection);
  qk_norms(list, kPass, attention, false);
  rotary(list, kPass, "rotary", (heads.queries + heads.keys) * attention.rotary_dim);
  core_forward(list, kPass, heads, "");

  if (!recompute_.rms_norm) save_input(projection);
  save("queries, keys, values", tokens_, heads.query_columns() + heads.key_value_columns(),
       DataType::bf16);
  if (attention.qk_norm != QkNorm::none)
    save("queries, keys before norm", tokens_, (heads.queries + heads.keys) * heads.qk_dim,
         DataType::bf16);
  core_saved(heads);
}

void PartBuilder::grouped_query_gradient(const GroupedQueryAttention& attention) {
  const Gradients g = finish();
  const Heads heads = heads_of(attention);
  const Linear projection = qkv(attention);
  core_gradient(g.inputs, heads);
  rotary(g.inputs, Pass::input_gradient, "rotary gradient",
         (heads.queries + heads.keys) * attention.rotary_dim);
  qk_norms(g.inputs, Pass::input_gradient, attention, true);
  // Gradients of what was split are put together by a copy (PyTorch's SplitBackward; Transformer
  // Engine's _SplitAlongDim, unless they lie in one tensor already).
  stream(g.inputs, Pass::input_gradient, "qkv gradient assembly", StreamKind::copy, tokens_,
         projection.n, DataType::bf16, DataType::bf16);
  enter_gradient(g.inputs, projection, "qkv gradient");
  if (recompute_.rms_norm)
    weight_norm(g, "attention_norm recompute", shard_rows(), a_.hidden, norm_output());
  multiply_gradients(g, projection, Producer::norm);
}

void PartBuilder::attention_gradient(const AttentionKind& attention) {
  const Gradients g = finish();
  output_gradient(g, output(attention));
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&attention))
    grouped_query_gradient(*grouped);
  else
    latent_gradient(std::get<LatentAttention>(attention));
  norm_gradient(g.inputs, "attention_norm", shard_rows(), a_.hidden);
  add(g.inputs, Pass::input_gradient, "attention_residual gradient");
}

namespace {

/// Down projections are whole on every tensor rank, up projections cut by heads (Megatron-Core,
/// multi_latent_attention.py).
struct LatentProjections {
  Linear down, q_up, kv_up;
};

LatentProjections projections(const LatentAttention& m, int64_t hidden, int64_t heads,
                              DataType type) {
  return {.down = {.name = "qkv_down",
                   .input = "attention_norm",
                   .n = m.query_rank + m.key_value_rank + m.rope_dim,
                   .k = hidden,
                   .type = type},
          .q_up = {.name = "q_up",
                   .input = "q_latent",
                   .n = heads * m.qk_dim(),
                   .k = m.query_rank,
                   .cut = Linear::Cut::columns,
                   .type = type},
          .kv_up = {.name = "kv_up",
                    .input = "kv_latent",
                    .n = heads * (m.nope_dim + m.value_dim),
                    .k = m.key_value_rank,
                    .cut = Linear::Cut::columns,
                    .type = type}};
}

}  // namespace

void PartBuilder::latent_norms(Steps& list, Pass pass, const LatentAttention& m,
                               const std::string& suffix) {
  norm(list, pass, "q_norm" + suffix, shard_rows(), m.query_rank, norm_output());
  norm(list, pass, "kv_norm" + suffix, shard_rows(), m.key_value_rank, norm_output());
}

void PartBuilder::up_projections(Steps& list, Pass pass, const LatentAttention& m,
                                 const std::string& suffix) {
  const Heads heads = heads_of(m);
  const LatentProjections p = projections(m, a_.hidden, heads.queries, linear_);
  cast_input(list, pass, p.q_up, Producer::norm);
  multiply(list, pass, p.q_up, suffix);
  cast_input(list, pass, p.kv_up, Producer::norm);
  multiply(list, pass, p.kv_up, suffix);
  if (gathers())
    transfer(list, pass, "rotary key gather" + suffix, Kind::all_gather, Group::tensor,
             static_cast<double>(tokens_ * m.rope_dim) * activation_bytes(DataType::bf16));
  stream(list, pass, "rotary" + suffix, StreamKind::rotary, tokens_,
         (heads.queries + 1) * m.rope_dim, DataType::bf16, DataType::bf16);
  // Every head's keys end in the one rotary key of the token.
  stream(list, pass, "key assembly" + suffix, StreamKind::copy, tokens_, heads.query_columns(),
         DataType::bf16, DataType::bf16);
}

void PartBuilder::latent_forward(const LatentAttention& m) {
  Steps& list = part_.before_dispatch;
  const Heads heads = heads_of(m);
  const LatentProjections p = projections(m, a_.hidden, heads.queries, linear_);
  norm(list, Pass::forward, "attention_norm", shard_rows(), a_.hidden, norm_output());
  cast_input(list, Pass::forward, p.down, Producer::norm);
  multiply(list, Pass::forward, p.down);
  latent_norms(list, Pass::forward, m, "");
  up_projections(list, Pass::forward, m, "");
  core_forward(list, Pass::forward, heads, "");

  save("latents", shard_rows(), m.query_rank + m.key_value_rank + m.rope_dim, DataType::bf16);
  if (!recompute_.mla_up_projection)
    save("queries, keys, values", tokens_, heads.query_columns() + heads.key_value_columns(),
         DataType::bf16);
  if (!recompute_.rms_norm) {
    save_input(p.down);
    save_input(p.q_up);
    save_input(p.kv_up);
  }
  core_saved(heads);
}

void PartBuilder::latent_gradient(const LatentAttention& m) {
  constexpr Pass kPass = Pass::input_gradient;
  const Gradients g = finish();
  Steps& list = g.inputs;
  const Heads heads = heads_of(m);
  const LatentProjections p = projections(m, a_.hidden, heads.queries, linear_);
  if (recompute_.rms_norm) latent_norms(list, kPass, m, " recompute");
  if (recompute_.mla_up_projection) up_projections(list, kPass, m, " recompute");
  core_gradient(list, heads);
  stream(list, kPass, "rotary key gradient", StreamKind::unpermute, tokens_, m.rope_dim,
         DataType::bf16, DataType::bf16, static_cast<int>(heads.queries));
  stream(list, kPass, "rotary gradient", StreamKind::rotary, tokens_,
         (heads.queries + 1) * m.rope_dim, DataType::bf16, DataType::bf16);
  if (gathers())
    transfer(list, kPass, "rotary key gradient sum", Kind::reduce_scatter, Group::tensor,
             static_cast<double>(tokens_ * m.rope_dim) * activation_bytes(DataType::bf16));
  if (!block())  // DeepSeek's cast gathers dK and dV on its way
    stream(list, kPass, "kv_up gradient assembly", StreamKind::copy, tokens_, p.kv_up.n,
           DataType::bf16, DataType::bf16);
  enter_gradient(list, p.q_up, "q_up gradient");
  multiply_gradients(g, p.q_up, Producer::norm);
  enter_gradient(list, p.kv_up, "kv_up gradient");
  multiply_gradients(g, p.kv_up, Producer::norm);
  norm_gradient(list, "q_norm", shard_rows(), m.query_rank);
  norm_gradient(list, "kv_norm", shard_rows(), m.key_value_rank);
  enter_gradient(list, p.down, "qkv_down gradient");
  if (recompute_.rms_norm)
    weight_norm(g, "attention_norm recompute", shard_rows(), a_.hidden, norm_output());
  multiply_gradients(g, p.down, Producer::norm);
}

}  // namespace tessera::workload
