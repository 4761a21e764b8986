#include "models/workload/architecture.hpp"

#include <algorithm>
#include <cassert>
#include <tuple>

namespace tessera::workload {
namespace {

bool contains(const std::vector<std::int64_t>& list, std::int64_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

LayerKind Architecture::kind(std::int64_t layer) const {
  const bool dense = !has_experts() || layer < dense_layers || (layer + 1) % moe_step != 0 ||
                     contains(dense_among, layer);
  return dense ? LayerKind::dense : LayerKind::moe;
}

bool Architecture::has_dense_layers() const {
  for (std::int64_t n = 0; n < layers; ++n) {
    if (kind(n) == LayerKind::dense) return true;
  }
  return false;
}

std::int64_t Architecture::heads() const {
  return std::visit([](const auto& kind) { return kind.heads; }, attention);
}

AttentionKind Architecture::attention_of(Reach reach_of_layer, bool indexes) const {
  AttentionKind kind = attention;
  if (auto* grouped = std::get_if<GroupedQueryAttention>(&kind)) {
    if (reach_of_layer != Reach::window) grouped->window = 0;
    if (reach_of_layer != Reach::window) grouped->chunked = false;
    if (reach_of_layer == Reach::full_no_rope) {
      grouped->rotary_dim = 0;
      // Llama 4 normalises what it rotates (transformers, Llama4TextAttention).
      if (grouped->qk_norm == QkNorm::unweighted) grouped->qk_norm = QkNorm::none;
    }
  } else {
    std::get<LatentAttention>(kind).indexes = indexes;
  }
  return kind;
}

LayerSpec Architecture::layer(std::int64_t number) const {
  assert(number >= 0 && number < layers && "the caller names a layer of the main model");
  const auto* grouped = std::get_if<GroupedQueryAttention>(&attention);
  Reach seen = grouped != nullptr && grouped->window > 0 ? Reach::window : Reach::full;
  if (!reach.empty()) seen = reach[static_cast<std::size_t>(number) % reach.size()];
  const auto* latent = std::get_if<LatentAttention>(&attention);
  const bool indexes =
      latent != nullptr && latent->sparse && (indexed.empty() || contains(indexed, number));
  LayerSpec spec{.attention = attention_of(seen, indexes), .feed_forward = dense};
  if (kind(number) == LayerKind::moe) spec.feed_forward = moe;
  return spec;
}

std::int64_t Architecture::first_like(std::int64_t number) const {
  const LayerSpec spec = layer(number);
  std::int64_t first = 0;
  while (layer(first) != spec) ++first;
  return first;
}

LayerSpec Architecture::mtp_layer() const {
  const auto* latent = std::get_if<LatentAttention>(&attention);
  LayerSpec spec{.attention = attention_of(Reach::full, latent != nullptr && latent->sparse),
                 .feed_forward = dense};
  if (has_experts()) spec.feed_forward = moe;
  return spec;
}

bool operator==(const Architecture& a, const Architecture& b) {
  const auto fields = [](const Architecture& x) {
    return std::tie(x.hidden, x.layers, x.vocabulary, x.tied_embeddings, x.norm, x.norm_bias,
                    x.positions, x.learned_positions, x.attention, x.reach, x.indexed, x.dense,
                    x.moe, x.dense_layers, x.moe_step, x.dense_among, x.mtp_modules, x.vision);
  };
  return fields(a) == fields(b);
}

}  // namespace tessera::workload
