#include "models/workload/architecture_yaml.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace tessera::workload {
namespace {

/// Writes lines "key: value  # source", nested by one section at most.
class Writer {
 public:
  explicit Writer(const std::map<std::string, std::string>& sources) : sources_(sources) {}

  void open(const std::string& section) {
    text_ += section + ":\n";
    section_ = section + ".";
  }
  void close() { section_.clear(); }

  void line(const std::string& key, const std::string& value) {
    const auto source = sources_.find(section_ + key);
    text_ += fmt::format("{}{}: {}{}\n", section_.empty() ? "" : "  ", key, value,
                         source == sources_.end() ? "" : "  # " + source->second);
  }
  void line(const std::string& key, std::int64_t value) { line(key, std::to_string(value)); }
  void unless(const std::string& key, std::int64_t value, std::int64_t standard) {
    if (value != standard) line(key, value);
  }
  void flag(const std::string& key, bool value) {
    if (value) line(key, "true");
  }
  template <class T>
  void list(const std::string& key, const std::vector<T>& values) {
    if (!values.empty()) line(key, fmt::format("[{}]", fmt::join(values, ", ")));
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  const std::map<std::string, std::string>& sources_;
  std::string section_;
  std::string text_;
};

const char* name_of(Positions positions) {
  switch (positions) {
    case Positions::rotary:
      return "rotary";
    case Positions::learned:
      return "learned";
    case Positions::alibi:
      return "alibi";
  }
  return "rotary";
}

const char* name_of(Reach reach) {
  switch (reach) {
    case Reach::full:
      return "full";
    case Reach::window:
      return "window";
    case Reach::full_no_rope:
      return "full_no_rope";
  }
  return "full";
}

const char* name_of(QkNorm norm) {
  switch (norm) {
    case QkNorm::none:
      return "none";
    case QkNorm::head:
      return "head";
    case QkNorm::layer:
      return "layer";
    case QkNorm::unweighted:
      return "unweighted";
  }
  return "none";
}

const char* activation_name(const DenseFeedForward& dense) {
  if (dense.gated) return dense.activation == Activation::gelu ? "geglu" : "swiglu";
  return dense.activation == Activation::relu ? "relu" : "gelu";
}

void write(Writer& out, const Architecture& a, const GroupedQueryAttention& g) {
  out.line("kind", "gqa");
  out.line("heads", g.heads);
  out.line("kv_heads", g.kv_heads);
  out.line("head_dim", g.qk_dim);
  out.unless("value_dim", g.v_dim, g.qk_dim);
  out.unless("rotary_dim", g.rotary_dim, a.positions == Positions::rotary ? g.qk_dim : 0);
  out.unless("window", g.window, 0);
  out.flag("chunked", g.chunked);
  std::vector<std::string> reach;
  for (const Reach entry : a.reach) reach.emplace_back(name_of(entry));
  out.list("reach", reach);
  out.flag("qkv_bias", g.qkv_bias);
  out.flag("output_bias", g.output_bias);
  out.flag("sinks", g.sinks);
  if (g.qk_norm != QkNorm::none) out.line("qk_norm", name_of(g.qk_norm));
}

void write(Writer& out, const Architecture& a, const LatentAttention& m) {
  out.line("kind", "mla");
  out.line("heads", m.heads);
  out.line("query_rank", m.query_rank);
  out.line("key_value_rank", m.key_value_rank);
  out.line("nope_dim", m.nope_dim);
  out.line("rope_dim", m.rope_dim);
  out.line("value_dim", m.value_dim);
  if (!m.sparse) return;
  const std::string layers =
      a.indexed.empty() ? "" : fmt::format(", layers: [{}]", fmt::join(a.indexed, ", "));
  out.line("indexer", fmt::format("{{heads: {}, dim: {}, top_k: {}{}}}", m.indexer.heads,
                                  m.indexer.dim, m.indexer.top_k, layers));
}

void write(Writer& out, const Architecture& a, const MixtureOfExperts& e) {
  out.line("routed", e.experts);
  out.line("shared", e.shared_experts);
  out.line("top_k", e.top_k);
  out.line("intermediate", e.intermediate);
  out.unless("groups", e.groups, 1);
  out.unless("group_limit", e.group_limit, 1);
  out.line("scoring", e.scoring == Scoring::sigmoid ? "sigmoid" : "softmax");
  out.unless("step", a.moe_step, 1);
  out.flag("bias", e.bias);
  out.flag("gate_bias", e.gate_bias);
  out.flag("clamped", e.clamped);
}

void write(Writer& out, const VisionEncoder& v) {
  out.line("layers", v.layers);
  out.line("hidden", v.hidden);
  out.line("heads", v.heads);
  out.line("intermediate", v.intermediate);
  out.line("channels", v.channels);
  out.line("patch", v.patch);
  out.line("temporal_patch", v.temporal_patch);
  out.line("merge", v.merge);
  out.line("positions", v.positions);
  out.line("output", v.output);
  out.line("taps", v.taps);
}

}  // namespace

std::string architecture_yaml(const Architecture& a,
                              const std::map<std::string, std::string>& sources) {
  Writer out(sources);
  out.line("hidden", a.hidden);
  out.line("layers", a.layers);
  out.line("vocabulary", a.vocabulary);
  out.flag("tied_embeddings", a.tied_embeddings);
  out.line("norm", a.norm == NormKind::rms ? "rms" : "layer");
  out.flag("norm_bias", a.norm_bias);
  out.line("positions", name_of(a.positions));
  if (a.positions == Positions::learned) out.line("learned_positions", a.learned_positions);
  out.line("activation", activation_name(a.dense));
  out.unless("dense_intermediate", a.dense.intermediate, 0);
  out.flag("dense_bias", a.dense.bias);
  out.unless("dense_layers", a.dense_layers, 0);
  out.list("dense_among", a.dense_among);
  out.unless("mtp_modules", a.mtp_modules, 0);
  out.open("attention");
  std::visit([&](const auto& kind) { write(out, a, kind); }, a.attention);
  out.close();
  if (a.has_experts()) {
    out.open("experts");
    write(out, a, a.moe);
    out.close();
  }
  if (a.vision) {
    out.open("vision");
    write(out, *a.vision);
    out.close();
  }
  return out.take();
}

}  // namespace tessera::workload
