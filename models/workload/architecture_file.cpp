#include "models/workload/architecture_file.hpp"

#include <fmt/format.h>

#include <utility>

namespace tessera::workload {
namespace {

constexpr std::int64_t kMaxWidth = 1 << 20;   // elements; far above any published layer
constexpr std::int64_t kMaxLayers = 1 << 12;  // likewise

LatentAttention read_attention(const core::ConfigNode& node) {
  static_cast<void>(node.choice<int>("kind", {{"mla", 0}}));
  return {.heads = node.integer("heads", 1, kMaxWidth),
          .query_rank = node.integer("query_rank", 1, kMaxWidth),
          .key_value_rank = node.integer("key_value_rank", 1, kMaxWidth),
          .nope_dim = node.integer("nope_dim", 1, kMaxWidth),
          .rope_dim = node.integer("rope_dim", 1, kMaxWidth),
          .value_dim = node.integer("value_dim", 1, kMaxWidth)};
}

MixtureOfExperts read_experts(const core::ConfigNode& node) {
  MixtureOfExperts moe{.experts = node.integer("routed", 1, kMaxWidth),
                       .shared_experts = node.integer("shared", 0, kMaxWidth),
                       .top_k = node.integer("top_k", 1, kMaxWidth),
                       .intermediate = node.integer("intermediate", 1, kMaxWidth),
                       .groups = node.integer("groups", 1, kMaxWidth),
                       .group_limit = node.integer("group_limit", 1, kMaxWidth),
                       .scoring = node.choice<Scoring>("scoring", {{"sigmoid", Scoring::sigmoid},
                                                                   {"softmax", Scoring::softmax}})};
  if (!node.sound()) return moe;
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
  return moe;
}

}  // namespace

Architecture read_architecture(const core::ConfigNode& node, std::string name) {
  Architecture a{.name = std::move(name),
                 .hidden = node.integer("hidden", 1, kMaxWidth),
                 .layers = node.integer("layers", 1, kMaxLayers),
                 .dense_layers = node.integer("dense_layers", 0, kMaxLayers),
                 .dense_intermediate = node.integer("dense_intermediate", 1, kMaxWidth),
                 .vocabulary = node.integer("vocabulary", 1, 1 << 24),
                 .mtp_modules = node.integer("mtp_modules", 0, kMaxLayers),
                 .attention = read_attention(node.object("attention")),
                 .moe = read_experts(node.object("experts"))};
  if (node.sound() && a.dense_layers > a.layers) {
    node.at("dense_layers")
        .fail_against(node.at("layers"), fmt::format("found {}; expected at most the {} layers",
                                                     a.dense_layers, a.layers));
  }
  return a;
}

Architecture load_architecture(const std::string& path_or_name, core::LoadOptions options) {
  options.kind = "architecture";
  options.folder = kArchitectureFolder;
  const core::ConfigDocument document = core::ConfigDocument::load(path_or_name, options);
  Architecture architecture = read_architecture(document.root(), document.name());
  document.finish();
  return architecture;
}

}  // namespace tessera::workload
