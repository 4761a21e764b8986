#include "models/workload/parameters.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

namespace tessera::workload {
namespace {

using std::int64_t;
using Weights = std::vector<Weight>;

void append(Weights& to, Weights from) {
  std::move(from.begin(), from.end(), std::back_inserter(to));
}

Weight vector_of(std::string name, int64_t elements, Split split = Split::none, int64_t parts = 0) {
  return {.name = std::move(name),
          .kind = WeightKind::vector,
          .outputs = elements,
          .split = split,
          .parts = parts};
}

Weight linear(std::string name, int64_t outputs, int64_t inputs, Split split, int64_t parts = 0) {
  return {.name = std::move(name),
          .kind = WeightKind::linear,
          .outputs = outputs,
          .inputs = inputs,
          .split = split,
          .parts = parts};
}

void add_norm(Weights& list, const std::string& name, int64_t elements, bool bias) {
  list.push_back(vector_of(name, elements));
  if (bias) list.push_back(vector_of(name + " bias", elements));
}

/// Weights of `qk_norm` for queries or keys.
int64_t qk_norm_elements(QkNorm norm, int64_t heads, int64_t dim) {
  switch (norm) {
    case QkNorm::none:
    case QkNorm::unweighted:
      return 0;
    case QkNorm::head:
      return dim;
    case QkNorm::layer:
      return heads * dim;
  }
  return 0;
}

Weights grouped_query_weights(int64_t hidden, const GroupedQueryAttention& g) {
  Weights list{
      linear("query", g.heads * g.qk_dim, hidden, Split::outputs, g.heads),
      linear("key", g.kv_heads * g.qk_dim, hidden, Split::outputs, g.kv_heads),
      linear("value", g.kv_heads * g.v_dim, hidden, Split::outputs, g.kv_heads),
  };
  if (g.qkv_bias) {
    for (int i = 0; i < 3; ++i) {
      const Weight& w = list[static_cast<std::size_t>(i)];
      list.push_back(vector_of(w.name + " bias", w.outputs, Split::outputs, w.parts));
    }
  }
  // A norm over all heads is split with them; one that all heads share is not.
  const Split split = g.qk_norm == QkNorm::layer ? Split::outputs : Split::none;
  if (const int64_t n = qk_norm_elements(g.qk_norm, g.heads, g.qk_dim); n > 0)
    list.push_back(vector_of("query norm", n, split, g.heads));
  if (const int64_t n = qk_norm_elements(g.qk_norm, g.kv_heads, g.qk_dim); n > 0)
    list.push_back(vector_of("key norm", n, split, g.kv_heads));
  if (g.sinks) list.push_back(vector_of("sinks", g.heads, Split::outputs, g.heads));
  list.push_back(linear("o", hidden, g.heads * g.v_dim, Split::inputs, g.heads));
  if (g.output_bias) list.push_back(vector_of("o bias", hidden));
  return list;
}

/// Source: DeepSeek-V3.2-Exp's inference code: queries from the query latent, one key and the
/// heads' weights from the layer's input, a LayerNorm on the key.
Weights indexer_weights(int64_t hidden, int64_t query_rank, const Indexer& i) {
  return {
      linear("index query", i.heads * i.dim, query_rank, Split::none),
      linear("index key", i.dim, hidden, Split::none),
      vector_of("index key norm", 2 * i.dim),
      {.name = "index weights", .kind = WeightKind::gate, .outputs = i.heads, .inputs = hidden}};
}

Weights latent_weights(int64_t hidden, const LatentAttention& m) {
  Weights list{linear("q_down", m.query_rank, hidden, Split::none),
               vector_of("q_norm", m.query_rank),
               linear("kv_down", m.key_value_rank + m.rope_dim, hidden, Split::none),
               vector_of("kv_norm", m.key_value_rank),
               linear("q_up", m.heads * m.qk_dim(), m.query_rank, Split::outputs, m.heads),
               linear("kv_up", m.heads * (m.nope_dim + m.value_dim), m.key_value_rank,
                      Split::outputs, m.heads)};
  if (m.sparse && m.indexes) append(list, indexer_weights(hidden, m.query_rank, m.indexer));
  list.push_back(linear("o", hidden, m.heads * m.value_dim, Split::inputs, m.heads));
  return list;
}

/// First and second product of an MLP with `copies` copies.
Weights mlp(const std::string& name, WeightKind kind, int64_t hidden, int64_t up_columns,
            int64_t intermediate, int64_t copies, bool bias) {
  Weight up{.name = name + "_up",
            .kind = kind,
            .outputs = up_columns,
            .inputs = hidden,
            .copies = copies,
            .split = Split::outputs};
  Weight down{.name = name + "_down",
              .kind = kind,
              .outputs = hidden,
              .inputs = intermediate,
              .copies = copies,
              .split = Split::inputs};
  if (!bias) return {up, down};
  const auto bias_of = [&](const Weight& w, Split split) {
    return Weight{.name = w.name + " bias",
                  .kind = kind == WeightKind::expert ? WeightKind::expert : WeightKind::vector,
                  .outputs = w.outputs,
                  .copies = copies,
                  .split = split};
  };
  return {up, bias_of(up, Split::outputs), down, bias_of(down, Split::none)};
}

Weights moe_weights(int64_t hidden, const MixtureOfExperts& e) {
  Weights list{{.name = "gate", .kind = WeightKind::gate, .outputs = e.experts, .inputs = hidden}};
  if (e.gate_bias) list.push_back(vector_of("gate bias", e.experts));
  append(list, mlp("expert", WeightKind::expert, hidden, e.up_columns(), e.intermediate, e.experts,
                   e.bias));
  if (e.shared_experts > 0)
    append(list, mlp("shared", WeightKind::linear, hidden, e.shared_experts * e.up_columns(),
                     e.shared_experts * e.intermediate, 1, e.bias));
  return list;
}

/// Multiply-adds of one token in the products of `list`; experts are used by `expert_share` of
/// tokens.
double products(const Weights& list, double expert_share) {
  return std::accumulate(list.begin(), list.end(), 0.0, [&](double sum, const Weight& w) {
    if (w.inputs == 1) return sum;
    return sum + w.elements() * (w.kind == WeightKind::expert ? expert_share : 1.0);
  });
}

double expert_share(const Architecture& a) {
  return a.has_experts() ? static_cast<double>(a.moe.top_k) / static_cast<double>(a.moe.experts)
                         : 0.0;
}

/// Tokens that a query sees, a mean over `length` queries of a sequence; a full triangle counts
/// half of its square, so that `causal` halves exactly.
double seen_tokens(double length, double window, bool chunked) {
  if (window <= 0 || window >= length) return length / 2;
  if (!chunked) return window - window * window / (2 * length);
  const double whole = std::floor(length / window);
  const double rest = length - whole * window;
  return (whole * window * window + rest * rest) / (2 * length);
}

}  // namespace

double Weight::share(int64_t tensor) const {
  if (split == Split::none) return 1;
  return 1.0 / static_cast<double>(parts > 0 ? std::min(parts, tensor) : tensor);
}

ParameterCount& ParameterCount::operator+=(const ParameterCount& other) {
  low_precision += other.low_precision;
  routed += other.routed;
  high_precision += other.high_precision;
  return *this;
}

Weights attention_weights(const Architecture& a, const AttentionKind& attention) {
  Weights list;
  add_norm(list, "attention_norm", a.hidden, a.norm_bias);
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&attention))
    append(list, grouped_query_weights(a.hidden, *grouped));
  else
    append(list, latent_weights(a.hidden, std::get<LatentAttention>(attention)));
  return list;
}

Weights feed_forward_weights(const Architecture& a, const FeedForwardKind& feed_forward) {
  Weights list;
  add_norm(list, "mlp_norm", a.hidden, a.norm_bias);
  if (const auto* dense = std::get_if<DenseFeedForward>(&feed_forward))
    append(list, mlp("mlp", WeightKind::linear, a.hidden, dense->up_columns(), dense->intermediate,
                     1, dense->bias));
  else
    append(list, moe_weights(a.hidden, std::get<MixtureOfExperts>(feed_forward)));
  return list;
}

Weights layer_weights(const Architecture& a, const LayerSpec& layer) {
  Weights list = attention_weights(a, layer.attention);
  append(list, feed_forward_weights(a, layer.feed_forward));
  return list;
}

Weights embedding_weights(const Architecture& a) {
  Weights list{{.name = "embedding",
                .kind = WeightKind::table,
                .outputs = a.vocabulary,
                .inputs = a.hidden,
                .split = Split::outputs}};
  if (a.positions == Positions::learned)
    list.push_back({.name = "positions",
                    .kind = WeightKind::table,
                    .outputs = a.learned_positions,
                    .inputs = a.hidden});
  return list;
}

Weights head_weights(const Architecture& a) {
  Weights list;
  add_norm(list, "final_norm", a.hidden, a.norm_bias);
  list.push_back({.name = "head",
                  .kind = WeightKind::table,
                  .outputs = a.vocabulary,
                  .inputs = a.hidden,
                  .split = Split::outputs});
  return list;
}

Weights mtp_weights(const Architecture& a) {
  Weights list;
  for (const char* norm : {"mtp_hidden_norm", "mtp_embedding_norm", "mtp_final_norm"})
    add_norm(list, norm, a.hidden, a.norm_bias);
  list.push_back(linear("mtp_projection", a.hidden, 2 * a.hidden, Split::none));
  append(list, layer_weights(a, a.mtp_layer()));
  return list;
}

/// Source: transformers, models/qwen3_vl_moe: blocks of LayerNorm, attention with biases,
/// LayerNorm and an MLP with biases; a merger is a LayerNorm and two linear layers over the
/// merge x merge patches of a token.
Weights vision_weights(const VisionEncoder& v) {
  const int64_t pixels = v.channels * v.temporal_patch * v.patch * v.patch;
  const int64_t merged = v.hidden * v.merge * v.merge;
  Weights list{linear("patch embedding", v.hidden, pixels, Split::none),
               vector_of("patch embedding bias", v.hidden),
               {.name = "vision positions",
                .kind = WeightKind::table,
                .outputs = v.positions,
                .inputs = v.hidden}};
  const auto repeat = [&](Weight w, int64_t copies) {
    w.copies = copies;
    list.push_back(std::move(w));
  };
  const auto biased = [&](const std::string& name, int64_t outputs, int64_t inputs, Split split,
                          int64_t copies) {
    repeat(linear(name, outputs, inputs, split), copies);
    repeat(vector_of(name + " bias", outputs, split == Split::outputs ? split : Split::none),
           copies);
  };
  repeat(vector_of("vision norms", 4 * v.hidden), v.layers);  // two, with biases
  biased("vision qkv", 3 * v.hidden, v.hidden, Split::outputs, v.layers);
  biased("vision o", v.hidden, v.hidden, Split::inputs, v.layers);
  biased("vision up", v.intermediate, v.hidden, Split::outputs, v.layers);
  biased("vision down", v.hidden, v.intermediate, Split::inputs, v.layers);
  repeat(vector_of("merger norm", 2 * v.hidden), 1);
  // Those of tapped blocks normalise what they merged.
  if (v.taps > 0) repeat(vector_of("tap norm", 2 * merged), v.taps);
  biased("merger up", merged, merged, Split::outputs, 1 + v.taps);
  biased("merger down", v.output, merged, Split::inputs, 1 + v.taps);
  return list;
}

ParameterCount count(const Weights& weights, int64_t tensor) {
  ParameterCount sum;
  for (const Weight& w : weights) {
    if (w.kind == WeightKind::expert)
      sum.routed += w.elements();
    else if (w.kind == WeightKind::linear)
      sum.low_precision += w.elements() * w.share(tensor);
    else
      sum.high_precision += w.elements() * w.share(tensor);
  }
  return sum;
}

ParameterCount layer_parameters(const Architecture& a, int64_t layer, int64_t tensor) {
  return count(layer_weights(a, a.layer(layer)), tensor);
}
ParameterCount embedding_parameters(const Architecture& a, int64_t tensor) {
  return count(embedding_weights(a), tensor);
}
ParameterCount head_parameters(const Architecture& a, int64_t tensor) {
  return count(head_weights(a), tensor);
}
ParameterCount mtp_parameters(const Architecture& a, int64_t tensor) {
  return count(mtp_weights(a), tensor);
}

ParameterCount main_parameters(const Architecture& a) {
  ParameterCount sum = embedding_parameters(a);
  sum += head_parameters(a);
  for (int64_t layer = 0; layer < a.layers; ++layer) sum += layer_parameters(a, layer);
  if (a.tied_embeddings) sum.high_precision -= head_products(a);
  return sum;
}

ParameterCount vision_parameters(const Architecture& a) {
  return a.vision ? count(vision_weights(*a.vision)) : ParameterCount{};
}

double weight_products(const Architecture& a, const LayerSpec& layer) {
  return products(layer_weights(a, layer), expert_share(a));
}
double head_products(const Architecture& a) {
  return static_cast<double>(a.vocabulary) * static_cast<double>(a.hidden);
}
double mtp_products(const Architecture& a) {
  return products(mtp_weights(a), expert_share(a)) + head_products(a);
}

double attention_products(const LayerSpec& layer, int64_t sequence_length, bool causal) {
  const auto length = static_cast<double>(sequence_length);
  const double sides = causal ? 1 : 2;
  if (const auto* g = std::get_if<GroupedQueryAttention>(&layer.attention)) {
    const double seen = seen_tokens(length, static_cast<double>(g->window), g->chunked);
    return sides * seen * static_cast<double>(g->heads * (g->qk_dim + g->v_dim));
  }
  const auto& m = std::get<LatentAttention>(layer.attention);
  const double chosen = m.sparse ? static_cast<double>(m.indexer.top_k) : 0;
  const double attended = seen_tokens(length, chosen, false) *
                          static_cast<double>(m.heads * (m.qk_dim() + m.value_dim));
  if (!m.indexes) return sides * attended;
  return sides * (attended + seen_tokens(length, 0, false) *
                                 static_cast<double>(m.indexer.heads * m.indexer.dim));
}

double active_matrix_parameters(const Architecture& a) {
  double sum = head_products(a);
  for (int64_t layer = 0; layer < a.layers; ++layer) sum += weight_products(a, a.layer(layer));
  return sum;
}

double active_parameters(const Architecture& a) {
  const ParameterCount all = main_parameters(a);
  return all.total() - all.routed * (1 - expert_share(a));
}

double training_flops_per_token(const Architecture& a, int64_t sequence_length, bool causal) {
  constexpr double kPasses = 3;  // forward, input gradient, weight gradient
  double products = active_matrix_parameters(a);
  for (int64_t layer = 0; layer < a.layers; ++layer)
    products += attention_products(a.layer(layer), sequence_length, causal);
  return kPasses * 2 * products;
}

CacheElements cache_elements(const Architecture& a) {
  CacheElements sum;
  for (int64_t layer = 0; layer < a.layers; ++layer) {
    const AttentionKind attention = a.layer(layer).attention;
    if (const auto* g = std::get_if<GroupedQueryAttention>(&attention)) {
      const auto elements = static_cast<double>(g->kv_heads * (g->qk_dim + g->v_dim));
      (g->window > 0 ? sum.in_window : sum.always) += elements;
      continue;
    }
    const auto& m = std::get<LatentAttention>(attention);
    sum.always += static_cast<double>(m.key_value_rank + m.rope_dim);
    if (m.indexes) sum.index += static_cast<double>(m.indexer.dim);
  }
  return sum;
}

}  // namespace tessera::workload
