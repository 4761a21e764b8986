#include <algorithm>
#include <functional>
#include <map>

#include "calibrate/measured_families.hpp"
#include "calibrate/module_kernels.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::AbsorbedAttention;
using workload::Gemm;
using workload::IndexScores;
using workload::SelectTopK;
using workload::Stream;
using workload::StreamKind;

namespace {

/// A model's indexer.
struct IndexerWidths {
  std::int64_t heads = 64;
  std::int64_t dim = 128;
  std::int64_t selected = 2048;
};
constexpr IndexerWidths kIndexerV32{};              ///< config.json of deepseek-ai/DeepSeek-V3.2
constexpr IndexerWidths kIndexerGlm5{.heads = 32};  ///< config.json of zai-org/GLM-5

/// DeepSeek-V4's attention: one 512-wide key that is its own value, queries and outputs of low
/// rank. Source: config.json of deepseek-ai/DeepSeek-V4-Flash and -Pro.
struct CompressedWidths {
  std::int64_t hidden = 4096;
  std::int64_t heads = 64;  ///< Of the whole model: kernels pad a rank's to all of them.
  std::int64_t query_rank = 1024;
  std::int64_t head = 512;
  std::int64_t output_groups = 8;
  std::int64_t output_rank = 1024;  ///< Of a group.
  std::int64_t window = 128;        ///< Tokens that are attended to uncompressed.
  IndexerWidths indexer{.selected = 512};
};
constexpr CompressedWidths kV4Flash{};
constexpr CompressedWidths kV4Pro{.hidden = 7168,
                                  .heads = 128,
                                  .query_rank = 1536,
                                  .output_groups = 16,
                                  .indexer = {.selected = 1024}};

/// The sizes that every row has.
struct Sizes {
  explicit Sizes(const MeasuredRow& row)
      : batch(row.size("batch")), queries(row.size("isl")), tokens(queries + row.size("step")) {}
  [[nodiscard]] std::int64_t rows() const { return batch * queries; }
  std::int64_t batch, queries, tokens;
};

IndexScores index_scores(const Sizes& sizes, const IndexerWidths& indexer,
                         std::int64_t compression) {
  IndexScores scores{.batch = sizes.batch, .q_length = sizes.queries, .kv_length = sizes.tokens};
  scores.heads = indexer.heads;
  scores.dim = indexer.dim;
  scores.compression = compression;
  return scores;
}

/// One kernel of its own, of operands that replays leave in L2 where they fit.
MeasuredCall alone(workload::Operator op, double touched_bytes, const device::DeviceSpec& device,
                   const MeasuredAs& as) {
  MeasuredCall call;
  call.kernels.push_back({std::move(op), replayed(touched_bytes, device), as.implementation});
  return call;
}

constexpr double kLogitBits = 32;
constexpr double kIndexBits = 8;

MeasuredCall scored_alone(const Sizes& sizes, const IndexScores& scores,
                          const device::DeviceSpec& device, const MeasuredAs& as) {
  const double operands =
      bytes_of(sizes.batch * sizes.tokens / scores.compression + sizes.rows() * scores.heads,
               scores.dim, kIndexBits);
  return alone(scores, operands + workload::index_pairs(scores) * kLogitBits / 8, device, as);
}

/// Keys of all sequences end to end.
MeasuredCall ragged_scores(const MeasuredRow& row, const device::DeviceSpec& device,
                           const MeasuredAs& as) {
  const Sizes sizes{row};
  return scored_alone(sizes, index_scores(sizes, kIndexerGlm5, 1), device, as);
}

/// A paged cache of compressed keys.
MeasuredCall paged_scores(const MeasuredRow& row, const device::DeviceSpec& device,
                          const MeasuredAs& as) {
  const Sizes sizes{row};
  return scored_alone(sizes, index_scores(sizes, kV4Flash.indexer, row.size("compress_ratio")),
                      device, as);
}

/// Logits all equal, or those of the last places high and clearly apart.
MeasuredCall selection(const MeasuredRow& row, const device::DeviceSpec& device,
                       const MeasuredAs& as) {
  const Sizes sizes{row};
  SelectTopK select{.rows = sizes.rows(), .columns = sizes.tokens};
  select.selected = kIndexerGlm5.selected;
  if (row.text("variant").ends_with(":flat")) select.contested = 1;
  MeasuredCall call = alone(
      select, bytes_of(select.rows, select.columns + select.selected, kLogitBits), device, as);
  call.type = select.contested > 0 ? "flat" : "apart";
  return call;
}

/// All queries choose the same tokens, the first of their sequence.
MeasuredCall chosen_attention(const MeasuredRow& row, const device::DeviceSpec& device,
                              const MeasuredAs& as) {
  const Sizes sizes{row};
  AbsorbedAttention attention{.batch = sizes.batch, .q_length = sizes.queries};
  attention.heads = row.size("num_heads");
  attention.selected = kIndexerGlm5.selected;
  attention.kv_length = std::max(sizes.queries, std::min(sizes.tokens, attention.selected));
  const std::int64_t width = attention.latent + attention.rotary;
  return alone(attention,
               bytes_of(sizes.batch * attention.kv_length + sizes.rows() * 2 * attention.heads,
                        width, core::activation_bits(attention.type)),
               device, as);
}

/// A window of the last tokens and, of the rest, one key for `ratio` tokens, every one of them or
/// `most`. Values are the keys, of 448 FP8 and 64 BF16 elements (584 bytes, which the 512 + 16
/// of the model stand for).
AbsorbedAttention compressed_attention(const Sizes& sizes, const CompressedWidths& widths,
                                       std::int64_t ratio, std::int64_t most) {
  constexpr std::int64_t kPlaces = 64;  // a list of places is filled up to whole blocks
  AbsorbedAttention attention{.batch = sizes.batch, .q_length = sizes.queries};
  attention.heads = widths.heads;
  attention.latent = widths.head;
  attention.rotary = 0;
  const std::int64_t compressed = sizes.tokens / ratio;
  attention.kv_length =
      std::max(sizes.queries, std::min(sizes.tokens, sizes.queries + widths.window) + compressed);
  const std::int64_t chosen =
      std::min(widths.window, sizes.tokens) + (most > 0 ? std::min(most, compressed) : compressed);
  attention.selected = (chosen + kPlaces - 1) / kPlaces * kPlaces;
  attention.cache_type = DataType::fp8;
  return attention;
}

MeasuredCall window_attention(const MeasuredRow& row, const device::DeviceSpec& device,
                              const MeasuredAs& as) {
  const Sizes sizes{row};
  const AbsorbedAttention attention =
      compressed_attention(sizes, kV4Flash, row.size("compress_ratio"), 0);
  return alone(attention,
               bytes_of(sizes.batch * attention.kv_length, attention.latent, kIndexBits) +
                   bytes_of(sizes.rows() * 2 * attention.heads, attention.latent, 16),
               device, as);
}

/// Queries and keys of the indexer, their norm, rotation and cast, the logits of all keys and the
/// choice among them.
void choose_tokens(ModuleKernels& module, std::int64_t hidden, std::int64_t query_rank,
                   const Sizes& sizes, const IndexScores& scores, std::int64_t selected,
                   const MeasuredAs& as) {
  const std::int64_t rows = sizes.rows();
  module.project(rows, scores.heads * scores.dim, query_rank);
  if (scores.compression == 1) module.project(rows, scores.dim, hidden);
  module.multiply(rows, scores.heads, hidden, DataType::bf16);  // weights of the heads
  if (scores.compression == 1) module.norm(rows, scores.dim);
  module.add(
      Stream{.kind = StreamKind::rotary, .rows = rows, .columns = scores.heads * scores.dim});
  module.add(Stream{.kind = StreamKind::quantize,
                    .rows = rows,
                    .columns = (scores.heads + 1) * scores.dim,
                    .output = DataType::fp8_block});
  // A prefill's own keys lie end to end; a decode's, and compressed ones, in pages.
  module.add(scores, scores.q_length == 1 || scores.compression > 1 ? as.indexer : std::string{});
  module.add(SelectTopK{.rows = rows,
                        .columns = std::max<std::int64_t>(1, sizes.tokens / scores.compression),
                        .selected = selected});
}

/// Below the number of selected tokens SGLang expands keys and values as in a dense prefill.
MeasuredCall dsa_module(const MeasuredRow& row, const device::DeviceSpec& device,
                        const MeasuredAs& as) {
  const bool glm = row.text("arch") == "GlmMoeDsaForCausalLM";
  if (!glm && row.text("arch") != "DeepseekV32ForCausalLM")
    refuse_row("a sparse module of another model than DeepSeek-V3.2 and GLM-5");
  const LatentWidths widths = glm ? kGlm5 : kDeepSeekV3;
  const IndexerWidths indexer = glm ? kIndexerGlm5 : kIndexerV32;
  const Sizes sizes{row};
  const std::int64_t heads = row.size("num_heads");
  const DataType cache = cache_type(row, device);
  ModuleKernels module{row.type("gemm_type"), module_weights(widths, heads), as.implementation,
                       device};
  compress(module, widths, sizes.rows(), heads);
  if (as.expands) {
    attend_expanded(module, widths,
                    {.batch = sizes.batch,
                     .queries = sizes.queries,
                     .tokens = sizes.tokens,
                     .heads = heads,
                     .cache = cache,
                     .attention = as.attention,
                     .assembles_keys = true});
  } else {
    const bool indexes = row.text("variant").find("skip_indexer") == std::string_view::npos;
    // Index keys of the cached prefix are gathered from their pages, a CTA a token.
    if (indexes && sizes.tokens > sizes.queries && sizes.queries > 1)
      module.call.prepared_rows = static_cast<double>(sizes.batch * sizes.tokens);
    if (indexes)
      choose_tokens(module, widths.hidden, widths.query_rank, sizes,
                    index_scores(sizes, indexer, 1), indexer.selected, as);
    AbsorbedAttention attention{.batch = sizes.batch, .q_length = sizes.queries};
    // Without an indexer all queries are given the same places.
    attention.kv_length =
        indexes ? sizes.tokens : std::max(sizes.queries, std::min(sizes.tokens, indexer.selected));
    attention.heads = heads;
    attention.selected = indexer.selected;
    attention.cache_type = cache;
    if (as.multiplies_as_cached) attention.type = cache;
    attend_absorbed(module, widths, attention, cache, as.attention);
  }
  module.project(sizes.rows(), widths.hidden, heads * widths.value);
  return module.call;
}

/// Tokens of a sequence into keys: their entries and the gates that weigh them, from the hidden
/// state, then the weighted sum; over windows that overlap where `overlaps`.
void compress_tokens(ModuleKernels& module, std::int64_t rows, std::int64_t hidden,
                     std::int64_t width, bool overlaps) {
  const std::int64_t columns = (overlaps ? 2 : 1) * 2 * width;
  module.multiply(rows, columns, hidden, DataType::bf16);
  module.add(Stream{.kind = StreamKind::swiglu, .rows = rows, .columns = columns / 2});
}

/// DeepSeek-V4: queries of low rank, one key and value for all heads, compressed by `ratio` beside
/// a window (HCA: all compressed keys; CSA: those that an indexer chooses), grouped output of low
/// rank.
MeasuredCall compressed_module(const MeasuredRow& row, const device::DeviceSpec& device,
                               const MeasuredAs& as) {
  if (device.generation == device::Generation::blackwell_client)
    refuse_row(
        "FlashMLA has no kernel for client Blackwell: the rows time a fallback of PyTorch "
        "operations");
  const std::int64_t heads = row.size("num_heads"), ranks = row.size("tp_size");
  const CompressedWidths widths = heads * ranks > kV4Flash.heads ? kV4Pro : kV4Flash;
  const Sizes sizes{row};
  const std::int64_t rows = sizes.rows(), ratio = row.size("compress_ratio");
  const bool chooses = row.text("op").find("_csa_") != std::string_view::npos;
  const std::int64_t groups = std::max<std::int64_t>(1, widths.output_groups / ranks);
  const std::int64_t weights = widths.hidden * (widths.query_rank + widths.head) +
                               heads * widths.head * (widths.query_rank + widths.output_rank) +
                               groups * widths.output_rank * widths.hidden;
  ModuleKernels module{row.type("gemm_type"), weights, as.implementation, device};
  module.project(rows, widths.query_rank + widths.head, widths.hidden);
  module.norm(rows, widths.query_rank);
  module.norm(rows, widths.head);
  module.project(rows, heads * widths.head, widths.query_rank);
  module.norm(rows * heads, widths.head);
  module.add(Stream{.kind = StreamKind::rotary,
                    .rows = rows,
                    .columns = (heads + 1) * widths.head,
                    .output = DataType::bf16});
  compress_tokens(module, rows, widths.hidden, widths.head, chooses);
  if (chooses) {
    compress_tokens(module, rows, widths.hidden, widths.indexer.dim, true);
    choose_tokens(module, widths.hidden, widths.query_rank, sizes,
                  index_scores(sizes, widths.indexer, ratio), widths.indexer.selected, as);
  }
  module.add(compressed_attention(sizes, widths, ratio, chooses ? widths.indexer.selected : 0),
             as.attention);
  module.add(Stream{.kind = StreamKind::rotary, .rows = rows, .columns = heads * widths.head});
  module.absorb(groups, rows, widths.output_rank, heads * widths.head / groups);
  module.project(rows, widths.hidden, groups * widths.output_rank);
  return module.call;
}

}  // namespace

MeasuredCall sparse_attention_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                   const MeasuredAs& as) {
  using CallOfOp =
      MeasuredCall (*)(const MeasuredRow&, const device::DeviceSpec&, const MeasuredAs&);
  static const std::map<std::string_view, CallOfOp> kCalls = {
      {"glm5_mqa_logits_module", ragged_scores},
      {"dsv4_paged_mqa_logits_module", paged_scores},
      {"glm5_topk_module", selection},
      {"glm5_dsa_attn_module", chosen_attention},
      {"dsv4_hca_attn_module", window_attention},
      {"dsa_context_module", dsa_module},
      {"dsa_generation_module", dsa_module},
      {"dsv4_csa_context_module", compressed_module},
      {"dsv4_csa_generation_module", compressed_module},
      {"dsv4_hca_context_module", compressed_module},
      {"dsv4_hca_generation_module", compressed_module}};
  const auto found = kCalls.find(row.text("op"));
  if (found == kCalls.end()) refuse_row("an unknown call of sparse attention");
  MeasuredCall call = found->second(row, device, as);
  if (call.type.empty()) call.type = found->first;
  // Decodes are replayed from a graph.
  if (as.launches_eagerly && row.text("op") == "dsa_context_module") {
    call.eager = true;
    call.host_launches = static_cast<double>(call.kernels.size());
  }
  return call;
}

}  // namespace tessera::calibrate
