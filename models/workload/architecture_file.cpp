#include "models/workload/architecture_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/workload/video_transformer.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using core::ConfigNode;

constexpr std::int64_t kMaxWidth = 1 << 20;        // elements; far above any published layer
constexpr std::int64_t kMaxLayers = 1 << 12;       // likewise
constexpr std::int64_t kMaxVocabulary = 1 << 24;   // likewise
constexpr std::int64_t kMaxPositions = 1LL << 32;  // tokens; likewise

void check_heads(const ConfigNode& node, const GroupedQueryAttention& g) {
  if (g.heads % g.kv_heads != 0)
    node.at("kv_heads")
        .fail_against(node.at("heads"), fmt::format("found {}; expected a divisor of the {} heads",
                                                    g.kv_heads, g.heads));
  if (g.rotary_dim > g.qk_dim)
    node.at("rotary_dim")
        .fail_against(node.at("head_dim"),
                      fmt::format("found {}; expected at most the {} elements of a head",
                                  g.rotary_dim, g.qk_dim));
}

GroupedQueryAttention read_grouped(const ConfigNode& node, Positions positions) {
  GroupedQueryAttention g{.heads = node.integer("heads", 1, kMaxWidth),
                          .kv_heads = node.integer("kv_heads", 1, kMaxWidth),
                          .qk_dim = node.integer("head_dim", 1, kMaxWidth)};
  g.v_dim = node.integer_or("value_dim", 1, kMaxWidth, g.qk_dim);
  g.rotary_dim =
      node.integer_or("rotary_dim", 0, kMaxWidth, positions == Positions::rotary ? g.qk_dim : 0);
  g.window = node.integer_or("window", 1, kMaxPositions, 0);
  g.chunked = node.boolean_or("chunked", false);
  g.qkv_bias = node.boolean_or("qkv_bias", false);
  g.output_bias = node.boolean_or("output_bias", false);
  g.sinks = node.boolean_or("sinks", false);
  g.qk_norm = node.choice_or<QkNorm>("qk_norm",
                                     {{"none", QkNorm::none},
                                      {"head", QkNorm::head},
                                      {"layer", QkNorm::layer},
                                      {"unweighted", QkNorm::unweighted}},
                                     QkNorm::none);
  if (!node.sound()) return g;
  check_heads(node, g);
  if (g.chunked && g.window == 0) node.fail("chunked", "expected a window beside it");
  return g;
}

LatentAttention read_latent(const ConfigNode& node) {
  LatentAttention m{.heads = node.integer("heads", 1, kMaxWidth),
                    .query_rank = node.integer("query_rank", 1, kMaxWidth),
                    .key_value_rank = node.integer("key_value_rank", 1, kMaxWidth),
                    .nope_dim = node.integer("nope_dim", 1, kMaxWidth),
                    .rope_dim = node.integer("rope_dim", 1, kMaxWidth),
                    .value_dim = node.integer("value_dim", 1, kMaxWidth)};
  const ConfigNode indexer = node.optional_object("indexer");
  if (!node.has("indexer")) return m;
  m.sparse = m.indexes = true;
  m.indexer = {.heads = indexer.integer("heads", 1, kMaxWidth),
               .dim = indexer.integer("dim", 1, kMaxWidth),
               .top_k = indexer.integer("top_k", 1, kMaxPositions)};
  return m;
}

/// Layers with an indexer of their own; empty: all of them.
std::vector<std::int64_t> read_indexed(const ConfigNode& attention, std::int64_t layers) {
  const ConfigNode indexer = attention.optional_object("indexer");
  if (!indexer.has("layers")) return {};
  const ConfigNode node = indexer.at("layers");
  std::vector<std::int64_t> indexed = node.integers(0, kMaxLayers);
  if (!node.sound()) return indexed;
  if (indexed.empty() || indexed.front() != 0)
    node.fail("expected 0 first: a layer without an indexer takes its tokens from one before it");
  if (!indexed.empty() && indexed.back() >= layers)
    node.fail(fmt::format("found {}; expected layers in [0, {}]", indexed.back(), layers - 1));
  if (!std::is_sorted(indexed.begin(), indexed.end())) node.fail("expected ascending layers");
  return indexed;
}

std::vector<Reach> read_reach(const ConfigNode& attention, const AttentionKind& kind) {
  std::vector<Reach> reach;
  if (!attention.has("reach")) return reach;
  for (const ConfigNode& item : attention.list("reach"))
    reach.push_back(item.choice<Reach>(
        {{"full", Reach::full}, {"window", Reach::window}, {"full_no_rope", Reach::full_no_rope}}));
  if (!attention.sound()) return reach;
  if (std::get<GroupedQueryAttention>(kind).window == 0)
    attention.fail("reach", "expected a window beside it");
  return reach;
}

/// E::unknown when the kind is wrong; then nothing is said about the other keys.
template <class E>
E read_kind(const ConfigNode& node) {
  const std::vector<std::pair<std::string, E>> kinds{{"gqa", E::gqa}, {"mla", E::mla}};
  const bool known = node.has("kind") &&
                     std::any_of(kinds.begin(), kinds.end(),
                                 [&](const auto& kind) { return kind.first == node.text("kind"); });
  const E found = node.choice<E>("kind", kinds);
  if (known) return found;
  for (const std::string& key : node.keys()) node.ignore(key);
  return E::unknown;
}

void read_attention(const ConfigNode& node, Architecture& a) {
  enum class Kind { gqa, mla, unknown };
  const Kind kind = read_kind<Kind>(node);
  if (kind == Kind::unknown) return;
  if (kind == Kind::gqa) {
    a.attention = read_grouped(node, a.positions);
    a.reach = read_reach(node, a.attention);
    return;
  }
  a.attention = read_latent(node);
  a.indexed = read_indexed(node, a.layers);
  if (node.sound() && a.positions != Positions::rotary)
    node.fail("kind", "expected gqa: mla has rotary positions");
}

struct NamedActivation {
  bool gated;
  Activation activation;
};

NamedActivation read_activation(const ConfigNode& node) {
  const NamedActivation swiglu{.gated = true, .activation = Activation::silu};
  return node.choice_or<NamedActivation>(
      "activation",
      {{"swiglu", swiglu},
       {"geglu", {.gated = true, .activation = Activation::gelu}},
       {"gelu", {.gated = false, .activation = Activation::gelu}},
       {"relu", {.gated = false, .activation = Activation::relu}}},
      swiglu);
}

void check_experts(const ConfigNode& node, const MixtureOfExperts& moe) {
  if (moe.top_k > moe.experts) {
    node.at("top_k").fail_against(
        node.at("routed"),
        fmt::format("found {}; expected at most the {} routed experts", moe.top_k, moe.experts));
  }
  if (moe.experts % moe.groups != 0) {
    node.at("groups").fail_against(
        node.at("routed"), fmt::format("found {}; expected a divisor of the {} routed experts",
                                       moe.groups, moe.experts));
  }
  if (moe.group_limit > moe.groups) {
    node.at("group_limit")
        .fail_against(node.at("groups"), fmt::format("found {}; expected at most the {} groups",
                                                     moe.group_limit, moe.groups));
  }
}

MixtureOfExperts read_experts(const ConfigNode& node, NamedActivation activation) {
  MixtureOfExperts moe{.experts = node.integer("routed", 1, kMaxWidth),
                       .shared_experts = node.integer("shared", 0, kMaxWidth),
                       .top_k = node.integer("top_k", 1, kMaxWidth),
                       .intermediate = node.integer("intermediate", 1, kMaxWidth),
                       .groups = node.integer_or("groups", 1, kMaxWidth, 1),
                       .group_limit = node.integer_or("group_limit", 1, kMaxWidth, 1),
                       .scoring = node.choice<Scoring>("scoring", {{"sigmoid", Scoring::sigmoid},
                                                                   {"softmax", Scoring::softmax}}),
                       .gated = activation.gated,
                       .activation = activation.activation,
                       .bias = node.boolean_or("bias", false),
                       .gate_bias = node.boolean_or("gate_bias", false),
                       .clamped = node.boolean_or("clamped", false)};
  if (node.sound()) check_experts(node, moe);
  return moe;
}

/// Which layers have experts, and what the others have.
void read_feed_forward(const ConfigNode& node, Architecture& a) {
  const NamedActivation activation = read_activation(node);
  a.dense = {.intermediate = node.integer_or("dense_intermediate", 1, kMaxWidth, 0),
             .gated = activation.gated,
             .activation = activation.activation,
             .bias = node.boolean_or("dense_bias", false)};
  if (node.has("experts")) {
    a.moe = read_experts(node.object("experts"), activation);
    a.dense_layers = node.integer_or("dense_layers", 0, kMaxLayers, 0);
    a.moe_step = node.object("experts").integer_or("step", 1, kMaxLayers, 1);
    if (node.has("dense_among")) a.dense_among = node.integers("dense_among", 0, kMaxLayers);
  }
  if (!node.sound()) return;
  if (a.dense_layers > a.layers) {
    node.at("dense_layers")
        .fail_against(node.at("layers"), fmt::format("found {}; expected at most the {} layers",
                                                     a.dense_layers, a.layers));
  }
  for (std::int64_t layer = 0; layer < a.layers && a.dense.intermediate == 0; ++layer) {
    if (a.kind(layer) == LayerKind::moe) continue;
    return node.fail("dense_intermediate",
                     fmt::format("is missing; layer {} has no experts", layer));
  }
}

void read_positions(const ConfigNode& node, Architecture& a) {
  a.positions = node.choice_or<Positions>(
      "positions",
      {{"rotary", Positions::rotary}, {"learned", Positions::learned}, {"alibi", Positions::alibi}},
      Positions::rotary);
  if (a.positions == Positions::learned)
    a.learned_positions = node.integer("learned_positions", 1, kMaxPositions);
}

VisionEncoder read_vision(const ConfigNode& node) {
  VisionEncoder v{.layers = node.integer("layers", 1, kMaxLayers),
                  .hidden = node.integer("hidden", 1, kMaxWidth),
                  .heads = node.integer("heads", 1, kMaxWidth),
                  .intermediate = node.integer("intermediate", 1, kMaxWidth),
                  .channels = node.integer("channels", 1, kMaxWidth),
                  .patch = node.integer("patch", 1, kMaxWidth),
                  .temporal_patch = node.integer("temporal_patch", 1, kMaxWidth),
                  .merge = node.integer("merge", 1, kMaxWidth),
                  .positions = node.integer("positions", 1, kMaxPositions),
                  .output = node.integer("output", 1, kMaxWidth),
                  .taps = node.integer("taps", 0, kMaxLayers)};
  if (!node.sound()) return v;
  if (v.hidden % v.heads != 0)
    node.at("heads").fail_against(
        node.at("hidden"),
        fmt::format("found {}; expected a divisor of the {} hidden elements", v.heads, v.hidden));
  if (v.taps > v.layers)
    node.at("taps").fail_against(
        node.at("layers"),
        fmt::format("found {}; expected at most the {} layers", v.taps, v.layers));
  return v;
}

}  // namespace

Architecture read_architecture(const ConfigNode& node, std::string name) {
  Architecture a;
  a.name = std::move(name);
  a.hidden = node.integer("hidden", 1, kMaxWidth);
  a.layers = node.integer("layers", 1, kMaxLayers);
  a.vocabulary = node.integer("vocabulary", 1, kMaxVocabulary);
  a.tied_embeddings = node.boolean_or("tied_embeddings", false);
  a.norm = node.choice_or<NormKind>("norm", {{"rms", NormKind::rms}, {"layer", NormKind::layer}},
                                    NormKind::rms);
  a.norm_bias = node.boolean_or("norm_bias", false);
  read_positions(node, a);
  read_attention(node.object("attention"), a);
  read_feed_forward(node, a);
  a.mtp_modules = node.integer_or("mtp_modules", 0, kMaxLayers, 0);
  if (node.has("vision")) a.vision = read_vision(node.object("vision"));
  return a;
}

Architecture load_architecture(const std::string& path_or_name, core::LoadOptions options) {
  options.kind = "architecture";
  options.folder = kArchitectureFolder;
  const core::ConfigDocument document = core::ConfigDocument::load(path_or_name, options);
  if (is_video_transformer(document.root())) {
    static_cast<void>(read_video_transformer(document.root(), document.name()));
    document.finish();
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("{} is a video diffusion transformer, which is described but "
                                    "not simulated; decoders of text are",
                                    document.name()));
  }
  Architecture architecture = read_architecture(document.root(), document.name());
  document.finish();
  return architecture;
}

}  // namespace tessera::workload
