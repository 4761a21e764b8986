#include "models/workload/hf_families.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace tessera::workload {
namespace {

using std::int64_t;

/// Writes down what says a value.
void note(HfImport& import, const std::string& key, const std::string& source) {
  import.sources[key] = source;
}
/// A field of the configuration.
void by_field(HfImport& import, const std::string& key, const std::string& field) {
  note(import, key, "HF " + field);
}
/// What the class does without a field for it.
void by_class(HfImport& import, const std::string& key) {
  note(import, key, fmt::format("transformers, modeling_{}.py", import.model_type));
}

void read_widths(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  a.hidden = f.count("hidden_size");
  constexpr int64_t kMaxLayers = 1 << 12;  // far above any published model
  a.layers = f.use("num_hidden_layers").integer(1, kMaxLayers);
  a.vocabulary = f.count("vocab_size");
  a.tied_embeddings = f.flag_or("tie_word_embeddings", false);
  by_field(import, "hidden", "hidden_size");
  by_field(import, "layers", "num_hidden_layers");
  by_field(import, "vocabulary", "vocab_size");
  by_field(import, "tied_embeddings", "tie_word_embeddings");
  by_field(import, "norm", "rms_norm_eps");
  by_class(import, "positions");
  by_field(import, "activation", "hidden_act");
  f.expect("hidden_act", std::string("silu"), "MLPs are SwiGLU");
  if (f.has("attention_dropout") && f.use("attention_dropout").number(0, 1) != 0)
    f.fail("attention_dropout", "expected 0: dropout is not modelled");
}

/// Part of a head that is rotated.
int64_t rotated(HfFields& f, HfImport& import, int64_t head_dim) {
  const auto part = [&](const core::ConfigNode& node) {
    by_field(import, "attention.rotary_dim", "partial_rotary_factor");
    return static_cast<int64_t>(node.number(0, 1) * static_cast<double>(head_dim));
  };
  if (f.has("rope_parameters")) {
    HfFields rope(f.use("rope_parameters").object(), f.model_type());
    for (const char* field :
         {"rope_type", "factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow",
          "mscale", "mscale_all_dim", "truncate", "original_max_position_embeddings"})
      rope.ignore(field, "a factor in a kernel, whatever its value");
    const int64_t dim =
        rope.has("partial_rotary_factor") ? part(rope.use("partial_rotary_factor")) : head_dim;
    rope.finish();
    return dim;
  }
  if (f.has("partial_rotary_factor")) return part(f.use("partial_rotary_factor"));
  by_field(import, "attention.rotary_dim", "rotary_dim");
  return f.count_or("rotary_dim", 0, head_dim);
}

GroupedQueryAttention read_grouped(HfFields& f, HfImport& import) {
  GroupedQueryAttention g{.heads = f.count("num_attention_heads")};
  g.kv_heads = f.count_or("num_key_value_heads", 1, g.heads);
  g.qk_dim = f.count_or("head_dim", 1, import.architecture.hidden / std::max<int64_t>(1, g.heads));
  g.v_dim = g.qk_dim;
  g.rotary_dim = rotated(f, import, g.qk_dim);
  by_field(import, "attention.kind", "num_key_value_heads");
  by_field(import, "attention.heads", "num_attention_heads");
  by_field(import, "attention.kv_heads", "num_key_value_heads");
  by_field(import, "attention.head_dim",
           f.has("head_dim") ? "head_dim" : "hidden_size / num_attention_heads");
  by_field(import, "attention.qkv_bias", "attention_bias");
  by_field(import, "attention.output_bias", "attention_bias");
  return g;
}

/// Shortest list that, repeated, gives `list`.
std::vector<Reach> shortest_period(const std::vector<Reach>& list) {
  for (std::size_t period = 1; period <= list.size(); ++period) {
    bool repeats = true;
    for (std::size_t i = period; i < list.size(); ++i) repeats &= list[i] == list[i - period];
    if (repeats) return {list.begin(), list.begin() + static_cast<std::ptrdiff_t>(period)};
  }
  return list;
}

/// Sliding windows: of all layers, or of those that layer_types names.
void read_window(HfFields& f, HfImport& import, GroupedQueryAttention& g) {
  Architecture& a = import.architecture;
  f.expect("use_sliding_window", false, "windows of the last layers only are not described");
  if (f.node().has("use_sliding_window")) {
    f.ignore("max_window_layers", "use_sliding_window is false");
    f.ignore("sliding_window", "use_sliding_window is false");
  }
  if (f.has("sliding_window") && !f.node().has("use_sliding_window")) {
    g.window = f.count("sliding_window");
    by_field(import, "attention.window", "sliding_window");
  }
  if (!f.has("layer_types")) return;
  std::vector<Reach> reach;
  for (const core::ConfigNode& item : f.use("layer_types").list())
    reach.push_back(item.choice<Reach>(
        {{"full_attention", Reach::full}, {"sliding_attention", Reach::window}}));
  by_field(import, "attention.reach", "layer_types");
  if (static_cast<int64_t>(reach.size()) != a.layers)
    return f.fail("layer_types", fmt::format("found {} entries; expected {}, one a layer",
                                             reach.size(), a.layers));
  const bool windows = std::find(reach.begin(), reach.end(), Reach::window) != reach.end();
  if (windows && g.window == 0)
    return f.fail("layer_types", "found sliding_attention; expected a sliding_window beside it");
  if (!windows) g.window = 0;
  if (windows) a.reach = shortest_period(reach);
  if (a.reach.size() == 1) a.reach.clear();
}

void read_dense(HfFields& f, HfImport& import, const char* field) {
  import.architecture.dense.intermediate = f.count(field);
  by_field(import, "dense_intermediate", field);
}

/// Width of dense layers where some are; otherwise the field says nothing.
void read_dense_among_experts(HfFields& f, HfImport& import, const char* field) {
  if (import.architecture.has_dense_layers())
    read_dense(f, import, field);
  else
    f.ignore(field, "the width of MLPs without experts, which no layer has");
}

Scoring read_scoring(HfFields& f, HfImport& import, const char* field, Scoring standard) {
  by_field(import, "experts.scoring", field);
  if (!f.has(field)) return standard;
  return f.use(field).choice<Scoring>(
      {{"sigmoid", Scoring::sigmoid}, {"softmax", Scoring::softmax}});
}

/// The fields that all mixtures have, under the family's names for them.
MixtureOfExperts read_experts(HfFields& f, HfImport& import, const char* experts,
                              const char* intermediate) {
  by_field(import, "experts.routed", experts);
  by_field(import, "experts.top_k", "num_experts_per_tok");
  by_field(import, "experts.intermediate", intermediate);
  by_class(import, "experts.shared");
  by_class(import, "experts.scoring");
  return {.experts = f.count(experts),
          .shared_experts = 0,
          .top_k = f.count("num_experts_per_tok"),
          .intermediate = f.count(intermediate),
          .scoring = Scoring::softmax};
}

/// Groups, shared experts and the correction bias, as DeepSeek's gate has them.
void read_deepseek_gate(HfFields& f, HfImport& import, MixtureOfExperts& moe) {
  moe.shared_experts = f.count_or("n_shared_experts", 0, 0);
  moe.groups = f.count_or("n_group", 1, 1);
  moe.group_limit = f.count_or("topk_group", 1, 1);
  by_field(import, "experts.shared", "n_shared_experts");
  by_field(import, "experts.groups", "n_group");
  by_field(import, "experts.group_limit", "topk_group");
  f.expect("moe_layer_freq", int64_t{1}, "experts in each layer after the dense ones");
  import.architecture.dense_layers = f.count_or("first_k_dense_replace", 0, 0);
  by_field(import, "dense_layers", "first_k_dense_replace");
}

/// The correction bias of `topk_method`.
bool read_gate_bias(HfFields& f, HfImport& import) {
  by_field(import, "experts.gate_bias", "topk_method");
  if (!f.has("topk_method")) return false;
  return f.use("topk_method")
      .choice<bool>({{"noaux_tc", true}, {"group_limited_greedy", false}, {"greedy", false}});
}

void read_mtp(HfFields& f, HfImport& import, const char* field) {
  import.architecture.mtp_modules = f.count_or(field, 0, 0);
  by_field(import, "mtp_modules", field);
}

LatentAttention read_latent(HfFields& f, HfImport& import) {
  LatentAttention m{.heads = f.count("num_attention_heads"),
                    .query_rank = f.count("q_lora_rank"),
                    .key_value_rank = f.count("kv_lora_rank"),
                    .nope_dim = f.count("qk_nope_head_dim"),
                    .rope_dim = f.count("qk_rope_head_dim"),
                    .value_dim = f.count("v_head_dim")};
  by_field(import, "attention.kind", "kv_lora_rank");
  by_field(import, "attention.heads", "num_attention_heads");
  by_field(import, "attention.query_rank", "q_lora_rank");
  by_field(import, "attention.key_value_rank", "kv_lora_rank");
  by_field(import, "attention.nope_dim", "qk_nope_head_dim");
  by_field(import, "attention.rope_dim", "qk_rope_head_dim");
  by_field(import, "attention.value_dim", "v_head_dim");
  f.expect("num_key_value_heads", m.heads, "latent attention has keys and values a query head");
  f.expect("qk_head_dim", m.qk_dim(), "the sum of qk_nope_head_dim and qk_rope_head_dim");
  f.ignore("head_dim", "heads are as qk_nope_head_dim, qk_rope_head_dim and v_head_dim say");
  f.expect("attention_bias", false, "biases of latent attention are not described");
  return m;
}

/// Layers that compute their own index, where others share it.
void read_shared_indexes(HfFields& f, HfImport& import) {
  if (!f.has("indexer_types")) return;
  Architecture& a = import.architecture;
  std::vector<int64_t> indexed;
  int64_t layer = 0;
  for (const core::ConfigNode& item : f.use("indexer_types").list()) {
    if (item.choice<bool>({{"full", true}, {"shared", false}})) indexed.push_back(layer);
    ++layer;
  }
  if (layer != a.layers)
    f.fail("indexer_types",
           fmt::format("found {} entries; expected {}, one a layer", layer, a.layers));
  if (static_cast<int64_t>(indexed.size()) != a.layers) a.indexed = std::move(indexed);
  for (const char* field : {"index_topk_freq", "index_skip_topk_offset", "index_topk_pattern"})
    f.ignore(field, "indexer_types says the same");
  f.ignore("index_share_for_mtp_iteration", "each MTP module runs once a token in training");
}

void read_indexer(HfFields& f, HfImport& import, LatentAttention& m) {
  if (!f.has("index_topk")) return;
  m.sparse = m.indexes = true;
  m.indexer = {.heads = f.count("index_n_heads"),
               .dim = f.count("index_head_dim"),
               .top_k = f.count("index_topk")};
  by_field(import, "attention.indexer", "index_n_heads, index_head_dim, index_topk");
  read_shared_indexes(f, import);
  if (!import.architecture.indexed.empty())
    by_field(import, "attention.indexer",
             "index_n_heads, index_head_dim, index_topk, indexer_types");
}

/// A list of the kinds of MLP must say what first_k_dense_replace says.
void check_mlp_types(HfFields& f, const Architecture& a) {
  if (!f.has("mlp_layer_types")) return;
  int64_t layer = 0;
  for (const core::ConfigNode& item : f.use("mlp_layer_types").list()) {
    const bool dense = item.choice<bool>({{"dense", true}, {"sparse", false}});
    if (dense != (layer++ < a.dense_layers))
      return item.fail("expected dense in the first_k_dense_replace layers, sparse in the others");
  }
}

}  // namespace

void read_hf_llama(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  read_widths(f, import);
  GroupedQueryAttention g = read_grouped(f, import);
  const bool bias = f.flag_or("attention_bias", false);
  g.qkv_bias = bias || import.model_type == "qwen2";
  g.output_bias = bias;
  if (import.model_type == "qwen2") by_class(import, "attention.qkv_bias");
  if (import.model_type == "qwen3") g.qk_norm = QkNorm::head;
  by_class(import, "attention.qk_norm");
  read_window(f, import, g);
  a.attention = g;
  read_dense(f, import, "intermediate_size");
  a.dense.bias = f.flag_or("mlp_bias", false);
  by_field(import, "dense_bias", "mlp_bias");
}

void read_hf_mixtral(HfFields& f, HfImport& import) {
  read_widths(f, import);
  GroupedQueryAttention g = read_grouped(f, import);
  read_window(f, import, g);
  import.architecture.attention = g;
  import.architecture.moe = read_experts(f, import, "num_local_experts", "intermediate_size");
}

void read_hf_qwen3_moe(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  read_widths(f, import);
  GroupedQueryAttention g = read_grouped(f, import);
  g.qkv_bias = g.output_bias = f.flag_or("attention_bias", false);
  g.qk_norm = QkNorm::head;
  by_class(import, "attention.qk_norm");
  read_window(f, import, g);
  a.attention = g;
  a.moe = read_experts(f, import, "num_experts", "moe_intermediate_size");
  a.moe_step = f.count_or("decoder_sparse_step", 1, 1);
  by_field(import, "experts.step", "decoder_sparse_step");
  if (f.has("mlp_only_layers")) a.dense_among = f.use("mlp_only_layers").integers(0, a.layers - 1);
  by_field(import, "dense_among", "mlp_only_layers");
  read_dense_among_experts(f, import, "intermediate_size");
}

void read_hf_llama4(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  read_widths(f, import);
  GroupedQueryAttention g = read_grouped(f, import);
  g.qkv_bias = g.output_bias = f.flag_or("attention_bias", false);
  if (f.flag_or("use_qk_norm", true)) g.qk_norm = QkNorm::unweighted;
  by_field(import, "attention.qk_norm", "use_qk_norm: L2 norms without weights");
  g.window = f.count("attention_chunk_size");
  g.chunked = true;
  by_field(import, "attention.window", "attention_chunk_size");
  by_field(import, "attention.chunked", "attention_chunk_size");
  // Every fourth layer sees everything, without rotation (no_rope_layer_interval's default).
  a.reach = {Reach::window, Reach::window, Reach::window, Reach::full_no_rope};
  by_class(import, "attention.reach");
  f.expect("no_rope_layer_interval", int64_t{4}, "three layers of chunks to one that sees all");
  a.attention = g;
  a.moe = read_experts(f, import, "num_local_experts", "intermediate_size");
  a.moe.shared_experts = 1;
  a.moe.scoring = Scoring::sigmoid;
  a.moe_step = f.count_or("interleave_moe_layer_step", 1, 1);
  by_field(import, "experts.step", "interleave_moe_layer_step");
  read_dense_among_experts(f, import, "intermediate_size_mlp");
}

void read_hf_gpt_oss(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  read_widths(f, import);
  GroupedQueryAttention g = read_grouped(f, import);
  g.qkv_bias = g.output_bias = f.flag_or("attention_bias", true);
  g.sinks = true;
  by_class(import, "attention.sinks");
  read_window(f, import, g);
  a.attention = g;
  a.moe = read_experts(f, import, "num_local_experts", "intermediate_size");
  a.moe.bias = a.moe.gate_bias = a.moe.clamped = true;
  by_class(import, "experts.bias");
  by_class(import, "experts.gate_bias");
  by_class(import, "experts.clamped");
  f.expect("experts_per_token", a.moe.top_k, "num_experts_per_tok says so");
}

void read_hf_minimax_m2(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  read_widths(f, import);
  GroupedQueryAttention g = read_grouped(f, import);
  if (f.flag_or("use_qk_norm", false)) {
    g.qk_norm = f.use("qk_norm_type")
                    .choice<QkNorm>({{"per_layer", QkNorm::layer}, {"per_head", QkNorm::head}});
    by_field(import, "attention.qk_norm", "use_qk_norm, qk_norm_type");
  }
  a.attention = g;
  a.moe = read_experts(f, import, "num_local_experts", "intermediate_size");
  a.moe.scoring = read_scoring(f, import, "scoring_func", Scoring::softmax);
  a.moe.gate_bias = f.flag_or("use_routing_bias", false);
  by_field(import, "experts.gate_bias", "use_routing_bias");
  f.expect("shared_intermediate_size", int64_t{0}, "shared experts are not described here");
  if (!f.flag_or("use_mtp", false)) {
    f.ignore("num_mtp_modules", "use_mtp is false");
    f.ignore("mtp_transformer_layers", "use_mtp is false");
    return;
  }
  read_mtp(f, import, "num_mtp_modules");
  f.expect("mtp_transformer_layers", int64_t{1}, "a module has one layer");
}

void read_hf_glm4_moe(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  read_widths(f, import);
  GroupedQueryAttention g = read_grouped(f, import);
  g.qkv_bias = f.flag_or("attention_bias", false);
  if (f.flag_or("use_qk_norm", false)) g.qk_norm = QkNorm::head;
  by_field(import, "attention.qk_norm", "use_qk_norm");
  a.attention = g;
  a.moe = read_experts(f, import, "n_routed_experts", "moe_intermediate_size");
  a.moe.scoring = Scoring::sigmoid;
  a.moe.gate_bias = true;
  by_class(import, "experts.gate_bias");
  read_deepseek_gate(f, import, a.moe);
  read_dense_among_experts(f, import, "intermediate_size");
  read_mtp(f, import, "num_nextn_predict_layers");
}

void read_hf_deepseek(HfFields& f, HfImport& import) {
  Architecture& a = import.architecture;
  read_widths(f, import);
  LatentAttention m = read_latent(f, import);
  read_indexer(f, import, m);
  a.attention = m;
  if (f.has("rope_parameters"))
    f.ignore("rope_parameters", "qk_rope_head_dim says what is rotated");
  a.moe = read_experts(f, import, "n_routed_experts", "moe_intermediate_size");
  a.moe.scoring = read_scoring(f, import, "scoring_func", Scoring::softmax);
  a.moe.gate_bias = read_gate_bias(f, import);
  read_deepseek_gate(f, import, a.moe);
  check_mlp_types(f, a);
  read_dense_among_experts(f, import, "intermediate_size");
  read_mtp(f, import, "num_nextn_predict_layers");
}

}  // namespace tessera::workload
