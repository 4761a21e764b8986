#include "models/workload/kv_cache.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>

#include "sim/core/diagnostics.hpp"

namespace tessera::workload {
namespace {

using std::int64_t;

constexpr std::array<std::string_view, 3> kFormatNames{"bf16", "fp8", "fp8_flashmla"};
constexpr double kBf16Bytes = 2;
constexpr double kFp8Bytes = 1;
constexpr double kScaleBytes = 4;         // FP32
constexpr int64_t kFlashMlaScaled = 128;  // elements under one scale; FlashMLA's README
/// Indexer keys are FP8 with an FP32 scale each whatever the cache's format (DeepSeek-V3.2-Exp's
/// inference code, DeepGEMM's fp8_paged_mqa_logits).
double index_key_bytes(int64_t dim) { return static_cast<double>(dim) * kFp8Bytes + kScaleBytes; }

double element_bytes(CacheFormat format) {
  return format == CacheFormat::bf16 ? kBf16Bytes : kFp8Bytes;
}

[[noreturn]] void refuse(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::illegal_combination, reason);
}

/// Heads of keys and values on one of `tensor` ranks.
int64_t held_heads(const GroupedQueryAttention& g, int64_t tensor) {
  if (g.kv_heads % tensor == 0) return g.kv_heads / tensor;
  if (tensor % g.kv_heads == 0) return 1;
  refuse(
      fmt::format("tensor parallelism {} neither divides the model's {} heads of keys and "
                  "values nor is a multiple of them",
                  tensor, g.kv_heads));
}

double latent_bytes(const LatentAttention& m, CacheFormat format) {
  const auto rank = static_cast<double>(m.key_value_rank), rope = static_cast<double>(m.rope_dim);
  if (format != CacheFormat::fp8_flashmla) return (rank + rope) * element_bytes(format);
  if (m.key_value_rank % kFlashMlaScaled != 0)
    refuse(
        fmt::format("cache format fp8_flashmla has a scale every {} elements, which do not "
                    "divide the latent's {}",
                    kFlashMlaScaled, m.key_value_rank));
  const double scales = rank / static_cast<double>(kFlashMlaScaled);
  return rank * kFp8Bytes + scales * kScaleBytes + rope * kBf16Bytes;
}

CacheLayers grouped_layers(const GroupedQueryAttention& g, const CacheChoice& choice) {
  if (choice.format == CacheFormat::fp8_flashmla)
    refuse("cache format fp8_flashmla belongs to latent attention, which this model does not have");
  const auto values = static_cast<double>(held_heads(g, choice.tensor) * (g.qk_dim + g.v_dim));
  const std::string name = g.window == 0 ? "keys and values"
                           : g.chunked   ? "keys and values of a chunk"
                                         : "keys and values in a window";
  return {.name = name,
          .layers = 1,
          .values = values,
          .bytes = values * element_bytes(choice.format),
          .window = g.window};
}

int64_t heads_of(const AttentionKind& attention) {
  return std::visit([](const auto& kind) { return kind.heads; }, attention);
}

}  // namespace

std::string_view to_string(CacheFormat format) {
  return kFormatNames[static_cast<std::size_t>(format)];
}

std::optional<CacheFormat> parse_cache_format(std::string_view name) {
  const auto* found = std::find(kFormatNames.begin(), kFormatNames.end(), name);
  if (found == kFormatNames.end()) return std::nullopt;
  return static_cast<CacheFormat>(found - kFormatNames.begin());
}

std::vector<std::string> cache_format_names() { return {kFormatNames.begin(), kFormatNames.end()}; }

double CacheLayers::kept(double tokens) const {
  return window > 0 ? std::min(tokens, static_cast<double>(window)) : tokens;
}

LayerRange stage_layers(int64_t layers, int64_t pipeline, int64_t stage) {
  assert(stage >= 0 && stage < pipeline && "stages are numbered from 0");
  const int64_t each = layers / pipeline, longer = layers % pipeline;
  const int64_t first = stage * each + std::min(stage, longer);
  return {first, first + each + (stage < longer ? 1 : 0)};
}

KvCache::KvCache(const Architecture& architecture, const CacheChoice& choice)
    : block_(static_cast<double>(choice.block)) {
  assert(choice.block > 0 && choice.tensor > 0 && "descriptions are checked where they are read");
  if (const int64_t heads = architecture.heads(); heads % choice.tensor != 0)
    refuse(fmt::format("tensor parallelism {} does not divide the model's {} heads", choice.tensor,
                       heads));
  const auto [first, end] = stage_layers(architecture.layers, choice.pipeline, choice.stage);
  for (int64_t layer = first; layer < end; ++layer)
    add_attention(architecture.layer(layer).attention, choice, "");
  if (!choice.mtp || choice.stage + 1 != choice.pipeline) return;
  for (int64_t module = 0; module < architecture.mtp_modules; ++module)
    add_attention(architecture.mtp_layer().attention, choice, " of MTP");
}

void KvCache::add(CacheLayers layers) {
  for (CacheLayers& known : layers_) {
    if (known.name != layers.name || known.bytes != layers.bytes || known.window != layers.window)
      continue;
    known.layers += layers.layers;
    return;
  }
  layers_.push_back(std::move(layers));
}

void KvCache::add_attention(const AttentionKind& attention, const CacheChoice& choice,
                            const std::string& where) {
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&attention)) {
    CacheLayers layer = grouped_layers(*grouped, choice);
    layer.name += where;
    add(std::move(layer));
    return;
  }
  const auto& latent = std::get<LatentAttention>(attention);
  add({.name = "latents" + where,
       .layers = 1,
       .values = static_cast<double>(latent.key_value_rank + latent.rope_dim),
       .bytes = latent_bytes(latent, choice.format)});
  if (!latent.indexes) return;
  add({.name = "indexer keys" + where,
       .layers = 1,
       .values = static_cast<double>(latent.indexer.dim),
       .bytes = index_key_bytes(latent.indexer.dim)});
}

double KvCache::bytes_per_token() const {
  double sum = 0;
  for (const CacheLayers& l : layers_) sum += static_cast<double>(l.layers) * l.bytes;
  return sum;
}

double KvCache::lasting_bytes_per_token() const {
  double sum = 0;
  for (const CacheLayers& l : layers_) {
    if (l.window == 0) sum += static_cast<double>(l.layers) * l.bytes;
  }
  return sum;
}

double KvCache::bytes(double tokens) const {
  double sum = 0;
  for (const CacheLayers& l : layers_)
    sum += static_cast<double>(l.layers) * l.bytes * l.kept(tokens);
  return sum;
}

double KvCache::paged_bytes(double tokens) const {
  double sum = 0;
  for (const CacheLayers& l : layers_) {
    const bool full = l.window > 0 && tokens >= static_cast<double>(l.window);
    const double unused = (block_ - 1) / (full ? 1 : 2);
    sum += static_cast<double>(l.layers) * l.bytes * (l.kept(tokens) + unused);
  }
  return sum;
}

CacheComparison against_multi_head(const Architecture& architecture) {
  const AttentionKind& attention = architecture.attention;
  const auto heads = static_cast<double>(heads_of(attention));
  if (const auto* g = std::get_if<GroupedQueryAttention>(&attention)) {
    const auto head = static_cast<double>(g->qk_dim + g->v_dim);
    return {static_cast<double>(g->kv_heads) * head, heads * head};
  }
  const auto& m = std::get<LatentAttention>(attention);
  return {static_cast<double>(m.key_value_rank + m.rope_dim),
          heads * static_cast<double>(m.qk_dim() + m.value_dim)};
}

}  // namespace tessera::workload
