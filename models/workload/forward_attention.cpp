#include <algorithm>

#include "models/workload/forward_builder.hpp"
#include "models/workload/part_builder.hpp"

/// Attention of one layer in inference: projections, positions, the cache, the core.
namespace tessera::workload {

using std::int64_t;
using Kind = Transfer::Kind;
using Group = Transfer::Group;

/// Tokens that the queries of a pass see of one sequence, as kernels take them: a window's
/// beginning is passed on; of chunks that start anew, the mean over where the last token lies.
Attention ForwardBuilder::core(int64_t heads, int64_t kv_heads, int64_t qk_dim, int64_t v_dim,
                               int64_t window, bool chunked) const {
  const ForwardPass& pass = job_.pass;
  Attention attention{.batch = pass.sequences,
                      .q_length = pass.queries,
                      .kv_length = pass.context,
                      .heads = heads,
                      .kv_heads = kv_heads,
                      .qk_dim = qk_dim,
                      .v_dim = v_dim,
                      .window = window > 0 && window < pass.context ? window : 0,
                      .type = p_.attention,
                      .cache_type = p_.kv_cache};
  if (pass.absorbed && pass.queries > 1) {  // decode kernels pack drafted tokens as further heads
    attention.heads *= pass.queries;
    attention.q_length = 1;
  }
  if (attention.window == 0 || !chunked) return attention;
  attention.window = 0;
  if (pass.queries > window) {  // chunks are sequences of their own
    attention.batch = pass.sequences * ((pass.queries + window - 1) / window);
    attention.q_length = attention.kv_length = window;
    return attention;
  }
  attention.kv_length = std::max(attention.q_length, (window + 1) / 2);
  return attention;
}

void ForwardBuilder::attention(const AttentionKind& kind) {
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&kind))
    grouped_query(*grouped);
  else
    latent(std::get<LatentAttention>(kind));
}

void ForwardBuilder::output(int64_t columns) {
  linear(part_.attend, "o", tokens_, a_.hidden, columns, p_.out_of_attention());
  // Summed by the norm's side in feed_forward(), which knows whether tokens are scattered.
}

void ForwardBuilder::grouped_query(const GroupedQueryAttention& g) {
  const int64_t heads = g.heads / job_.split.tensor;
  const int64_t keys = std::max<int64_t>(1, g.kv_heads / job_.split.tensor);
  Steps& list = part_.project;
  const DataType type = p_.into_attention();
  add_norm(list, "attention_norm", tokens_, layers_end_summed(), type);
  linear(list, "qkv", tokens_, (heads + keys) * g.qk_dim + keys * g.v_dim, a_.hidden, type,
         casts_normed(type, layers_end_summed()));
  qk_norms(g, heads, keys);
  Attention whole = core(heads, keys, g.qk_dim, g.v_dim, g.window, g.chunked);
  if (engine_) {
    engine_core(job_.pass.absorbed ? engine_->decode_attention(whole)
                                   : engine_->prefill_attention(whole, false),
                heads + keys, g.qk_dim);
    return output(heads * g.v_dim);
  }
  // Queries are rotated in place; keys rotated, and with values written to the cache.
  stream(list, "rotary and append", StreamKind::rotary, tokens_,
         (heads + keys) * g.qk_dim + keys * g.v_dim, DataType::bf16, p_.kv_cache);
  // A fresh prompt's keys are read as they were made, not from the cache.
  if (!job_.pass.absorbed && job_.pass.queries == job_.pass.context) whole.cache_type = whole.type;
  kernel(part_.attend, "attention", whole);
  output(heads * g.v_dim);
}

/// Over all heads, each of which the tensor ranks cut: they sum their squares, two floats a token,
/// between a pass for them and one that normalises.
void ForwardBuilder::qk_norms(const GroupedQueryAttention& g, int64_t heads, int64_t keys) {
  if (g.qk_norm == QkNorm::none) return;
  Steps& list = part_.project;
  if (g.qk_norm != QkNorm::layer) {
    if (engine_ && engine_->fusions().joint_qk_norm)
      return norm(list, "qk_norm", tokens_ * (heads + keys), g.qk_dim);
    norm(list, "q_norm", tokens_ * heads, g.qk_dim);
    norm(list, "k_norm", tokens_ * keys, g.qk_dim);
    return;
  }
  if (job_.split.tensor > 1) {
    stream(list, "q_squares", StreamKind::compute_scale, tokens_, heads * g.qk_dim);
    stream(list, "k_squares", StreamKind::compute_scale, tokens_, keys * g.qk_dim);
  }
  constexpr double kTwoFloats = 8;
  transfer(list, "qk_norm sum", Kind::all_reduce, Group::tensor,
           kTwoFloats * static_cast<double>(tokens_));
  norm(list, "q_norm", tokens_, heads * g.qk_dim);
  norm(list, "k_norm", tokens_, keys * g.qk_dim);
}

void ForwardBuilder::engine_core(Steps kernels, int64_t heads, int64_t rotated) {
  if (engine_->fusions().rotation_apart)
    stream(part_.project, "rotary", StreamKind::rotary, tokens_ * heads, rotated);
  for (Step& step : kernels) part_.attend.push_back(std::move(step));
}

void ForwardBuilder::per_head(Steps& list, std::string name, int64_t heads, int64_t n,
                              int64_t k) const {
  kernel(list, std::move(name), Gemm{.m = tokens_, .n = n, .k = k, .batch = heads});
}

void ForwardBuilder::latent(const LatentAttention& m) {
  const int64_t heads = m.heads / job_.split.tensor;
  Steps& list = part_.project;
  const DataType type = p_.into_attention();
  add_norm(list, "attention_norm", tokens_, layers_end_summed(), type);
  const bool latent_queries = m.query_rank > 0;
  const int64_t queries = latent_queries ? m.query_rank : heads * m.qk_dim();
  linear(list, "qkv_down", tokens_, queries + m.key_value_rank + m.rope_dim, a_.hidden, type,
         casts_normed(type, layers_end_summed()));
  // The norm of queries alone: the index reads it in BF16 too.
  const bool written =
      latent_queries && !m.sparse && needs_cast(type) && !casts_normed(type, false);
  if (latent_queries)
    stream(list, "q_norm", StreamKind::rms_norm, tokens_, m.query_rank, DataType::bf16,
           written ? type : DataType::bf16);
  norm(list, "kv_norm", tokens_, m.key_value_rank);
  if (latent_queries)
    linear(list, "q_up", tokens_, heads * m.qk_dim(), m.query_rank, type, !written);
  if (m.sparse && m.indexes) sparse_index(m);
  // Sparse attention chooses latents, so it never expands them.
  if (job_.pass.absorbed || m.sparse)
    absorbed_core(m, heads);
  else
    expanded_core(m, heads);
  output(heads * m.value_dim);
}

/// The indexer's queries come from the query latent, its key from the layer's input; both rotated
/// and cast to FP8 (DeepSeek-V3.2's inference code, Indexer).
void ForwardBuilder::sparse_index(const LatentAttention& m) {
  const Indexer& i = m.indexer;
  const ForwardPass& pass = job_.pass;
  Steps& list = part_.project;
  linear(list, "index_q", tokens_, i.heads * i.dim, m.query_rank, p_.into_attention(), false);
  linear(list, "index_k", tokens_, i.dim, a_.hidden, p_.into_attention(), false);
  kernel(list, "index_weights", Gemm{.m = tokens_, .n = i.heads, .k = a_.hidden});
  stream(list, "index rotary", StreamKind::rotary, tokens_, (i.heads + 1) * i.dim);
  cast(list, "index", tokens_, (i.heads + 1) * i.dim, DataType::fp8);
  kernel(list, "index_scores",
         IndexScores{.batch = pass.sequences,
                     .q_length = pass.queries,
                     .kv_length = pass.context,
                     .heads = i.heads,
                     .dim = i.dim});
  if (pass.context > i.top_k)
    kernel(list, "index_top_k",
           SelectTopK{.rows = tokens_, .columns = pass.context, .selected = i.top_k});
}

void ForwardBuilder::absorbed_core(const LatentAttention& m, int64_t heads) {
  const ForwardPass& pass = job_.pass;
  per_head(part_.project, "q_absorb", heads, m.key_value_rank, m.nope_dim);
  const AbsorbedAttention attention{
      .batch = pass.sequences,
      .q_length = pass.queries,
      .kv_length = pass.context,
      .heads = heads,
      .latent = m.key_value_rank,
      .rotary = m.rope_dim,
      .type = p_.attention,
      .cache_type = p_.kv_cache,
      .selected = m.sparse ? std::min(m.indexer.top_k, pass.context) : 0};
  if (engine_ && !m.sparse) {
    engine_core(engine_->decode_attention(attention), heads + 1, m.rope_dim);
    return per_head(part_.attend, "v_absorb", heads, m.value_dim, m.key_value_rank);
  }
  // A query that is multiplied in FP8 is cast whole.
  const bool fp8 = p_.attention == DataType::fp8;
  const int64_t cast_columns = fp8 ? m.key_value_rank + m.rope_dim : m.rope_dim;
  stream(part_.project, "rotary and append", StreamKind::rotary, tokens_,
         heads * cast_columns + m.key_value_rank + m.rope_dim, DataType::bf16,
         fp8 ? p_.attention : p_.kv_cache);
  kernel(part_.attend, "attention", attention);
  per_head(part_.attend, "v_absorb", heads, m.value_dim, m.key_value_rank);
}

/// Keys and values of the new tokens, and of a cached prefix again, are expanded from latents.
void ForwardBuilder::expanded_core(const LatentAttention& m, int64_t heads) {
  const ForwardPass& pass = job_.pass;
  const int64_t seen = pass.sequences * pass.context;
  Steps& list = part_.project;
  linear(list, "kv_up", seen, heads * (m.nope_dim + m.value_dim), m.key_value_rank,
         p_.into_attention());
  if (engine_)
    return engine_core(
        engine_->prefill_attention(core(heads, heads, m.qk_dim(), m.value_dim, 0, false), true),
        heads + 1, m.rope_dim);
  stream(list, "rotary and append", StreamKind::rotary, tokens_,
         heads * m.rope_dim + m.key_value_rank + m.rope_dim, DataType::bf16, p_.kv_cache);
  stream(list, "key assembly", StreamKind::copy, seen, heads * m.qk_dim());
  Attention whole = core(heads, heads, m.qk_dim(), m.value_dim, 0, false);
  whole.cache_type = whole.type;
  if (whole.type == DataType::fp8)
    cast(list, "attention", seen, heads * (m.qk_dim() + m.value_dim), DataType::fp8);
  kernel(part_.attend, "attention", whole);
}

}  // namespace tessera::workload
