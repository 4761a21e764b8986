#include <algorithm>
#include <bit>
#include <vector>

#include "calibrate/measured_families.hpp"
#include "models/kernels/tile_kernel.hpp"

namespace tessera::calibrate {

using workload::Attention;
using workload::Stream;
using workload::StreamKind;

namespace {

/// Query heads of a key head that TensorRT-LLM's kernels for grouped queries take
/// (xqaDispatcher.cpp, trtllm-gen's limit of query heads in a CTA).
constexpr std::int64_t kMostGroupedHeads = 32;

/// FlashInfer's decode on tensor cores takes so many query heads of a key head at least
/// (should_use_tensor_core of sglang's flashinfer_backend.py).
constexpr std::int64_t kFewestOnTensorCores = 4;
/// XQA is left to the masked kernel where its CTAs, each of at least so many keys, would fill less
/// than this part of the SMs (mayHavePerfGain of decoderXQARunner.cpp).
constexpr std::int64_t kKeysOfPart = 128;
constexpr std::int64_t kFewestPartOfSms = 4;

/// Models with heads of so many elements (gpt-oss) stretch their rotation (YaRN), which XQA leaves
/// to the kernel before (applyRoPEInXqaKernel of decoderXQAImplJIT.cpp). // assumed of these rows
constexpr std::int64_t kStretchedHead = 64;

/// Decode kernels multiply wider heads in BF16, whatever the cache holds. // assumed: rows with
/// heads of 512 take as long
constexpr std::int64_t kWidestNarrowHead = 256;

/// trtllm-gen has kernels for heads of a multiple of so many elements; others go to fmha_v2.
/// // assumed: heads of 72 take five times as long as those of 80
constexpr std::int64_t kHeadGranule = 16;

/// What all attention rows say. `queries` and `keys` are per sequence.
Attention attention_of(const MeasuredRow& row, std::int64_t queries, std::int64_t keys) {
  Attention attention{.batch = row.size("batch"), .q_length = queries, .kv_length = keys};
  attention.heads = attention.kv_heads = row.size("num_heads");
  attention.qk_dim = attention.v_dim = row.size("head_dim");
  attention.type = attention.cache_type = row.type("dtype");
  return attention;
}

/// The same with the columns that encoders do not have.
Attention causal_attention_of(const MeasuredRow& row, std::int64_t queries, std::int64_t keys) {
  Attention attention = attention_of(row, queries, keys);
  attention.kv_heads = row.size("num_kv_heads");
  attention.window = row.size("win");
  attention.cache_type = row.type("kv_dtype");
  if (attention.kv_heads < 1 || attention.heads % attention.kv_heads != 0)
    refuse_row("key heads that do not divide the query heads");
  return attention;
}

/// Bytes of queries, outputs and of the keys and values that are read.
double touched_bytes(const Attention& a) {
  const std::int64_t keys =
      a.window > 0 ? std::min(a.kv_length, a.window + a.q_length - 1) : a.kv_length;
  return bytes_of(a.batch * a.q_length, a.heads * (a.qk_dim + a.v_dim),
                  core::activation_bits(a.type)) +
         bytes_of(a.batch * keys, a.kv_heads * (a.qk_dim + a.v_dim),
                  core::activation_bits(a.cache_type));
}

/// The new tokens' keys and values, written to the cache: in one copy, narrowed on the way.
Stream append(const Attention& a) {
  return {.kind = StreamKind::copy,
          .rows = a.batch * a.q_length,
          .columns = a.kv_heads * (a.qk_dim + a.v_dim),
          .output = a.cache_type};
}

/// The kernel that TensorRT-LLM runs before: it rotates queries and keys, head by head, and
/// appends.
Stream rotate_and_append(const Attention& a) {
  return {.kind = StreamKind::rotary,
          .rows = a.batch * a.q_length * (a.heads + 2 * a.kv_heads),
          .columns = a.qk_dim,
          .output = a.type};
}

/// That kernel where there is neither a rotation nor a cache: it reads queries, keys and values,
/// and writes the first two back as they were (applyBiasRopeUpdateKVCache with STORE_QKV, which
/// attentionOp.cpp calls whatever the embedding): as many bytes as rotating five sixths.
Stream write_back(const Attention& a) {
  return {.kind = StreamKind::rotary,
          .rows = a.batch * a.q_length * kernels::divide_up(5 * a.heads, 2),
          .columns = a.qk_dim,
          .output = a.type};
}

/// A kernel before attention, and what runs it; the default where that is empty.
struct Preparation {
  Stream stream;
  std::string implementation = {};
};

/// The kernels that do so in sglang: one, or, for heads whose width its own kernel has no variant
/// of, a conversion of the places and an indexed copy for keys and for values. // assumed: rows
/// with heads of 192 take as much longer, whatever kernel attends
std::vector<Preparation> sglang_append(const Attention& a) {
  if (std::has_single_bit(static_cast<std::uint64_t>(a.qk_dim))) return {{append(a)}};
  Stream half = append(a);
  half.columns /= 2;
  const Stream places{.kind = StreamKind::copy,
                      .rows = half.rows,
                      .columns = 1,
                      .input = core::DataType::fp32,
                      .output = core::DataType::fp32};
  const Preparation copied{half, "torch_index_put"};
  return {{places}, copied, {places}, copied};
}

/// A plain cast of `heads` heads of the new tokens to the cache's type, in a kernel of its own.
Stream cast(const Attention& a, std::int64_t heads) {
  return {.kind = StreamKind::copy,
          .rows = a.batch * a.q_length,
          .columns = heads * a.qk_dim,
          .output = a.cache_type};
}

/// On Blackwell sglang casts keys and values and appends them to an FP8 cache in one kernel, in
/// which up to so many heads of a token's keys, or of its values, are a CTA (sglang,
/// trtllm_fp8_kv_kernel.py).
constexpr std::int64_t kAppendedHeads = 8;
bool fuses_append(const Attention& a, std::string_view kernel) {
  return kernel == "trtllm_mha" && a.cache_type == core::DataType::fp8 &&
         a.type == core::DataType::fp8;
}
double appending_ctas(const Attention& a) {
  return static_cast<double>(2 * a.batch * a.q_length *
                             kernels::divide_up(a.kv_heads, kAppendedHeads));
}

/// All kernels before attention in sglang: casts of keys and values to a cache in FP8, the append,
/// and a cast of queries where attention multiplies in the cache's type. What FlashAttention-3 gets
/// is in FP8 already: its FP8 rows take no longer than others, where kernels of Blackwell take 6
/// us.
std::vector<Preparation> sglang_prepare(const Attention& a, std::string_view kernel) {
  if (kernel == "fa3") return sglang_append(a);
  const bool narrow = a.cache_type == core::DataType::fp8;
  if (fuses_append(a, kernel)) return {{append(a)}, {cast(a, a.heads)}};
  std::vector<Preparation> before;
  if (narrow) before = {{cast(a, a.kv_heads)}, {cast(a, a.kv_heads)}};
  for (Preparation& appending : sglang_append(a)) {
    if (narrow) appending.stream.input = a.cache_type;
    before.push_back(appending);
  }
  if (narrow && a.type == a.cache_type) before.push_back({cast(a, a.heads)});
  return before;
}

/// Whether the kernel for grouped queries leaves a row to that for ungrouped ones.
bool left_to_ungrouped(const Attention& a, const device::DeviceSpec& device, const MeasuredAs& as) {
  if (as.ungrouped.empty()) return false;
  const std::int64_t group = a.heads / a.kv_heads;
  if (group > kMostGroupedHeads) return true;
  if (as.groups_only && group == 1) return true;
  const std::int64_t parts = std::max<std::int64_t>(1, a.kv_length / kKeysOfPart);
  return as.fills_sms && a.batch * a.kv_heads * parts * kFewestPartOfSms < device.sm.count;
}

}  // namespace

/// Prefill attention. Both collections also write keys and values to the cache in the same call
/// (sglang by the layer's save_kv_cache, trtllm in the kernel before attention), and quantise for
/// it; what the cache holds already, sglang reads from its pages.
MeasuredCall attention_context_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                    const MeasuredAs& as) {
  const std::int64_t length = row.size("isl");
  Attention attention = causal_attention_of(row, length, length);
  const bool narrow = attention.cache_type != attention.type;
  if (as.multiplies_as_cached) attention.type = attention.cache_type;
  const gpu::ExecutionContext context =
      replayed(row.operand_sets() * touched_bytes(attention), device);
  MeasuredCall call;
  if (row.text("framework") == "sglang" && !row.probed()) {
    for (const auto& [stream, implementation] : sglang_prepare(attention, row.text("kernel")))
      call.kernels.push_back({stream, context, implementation});
    if (fuses_append(attention, row.text("kernel"))) call.prepared_rows = appending_ctas(attention);
  }
  if (row.text("framework") == "trtllm" && !row.probed())
    call.kernels.push_back({rotate_and_append(attention), context, as.rotation});
  call.type = narrow ? "narrow_cache" : "";
  // Without a prefix, attention reads keys as they came, not the cache.
  attention.cache_type = attention.type;
  call.kernels.push_back({attention, context, as.implementation});
  return call;
}

/// Decode attention of one token a sequence against a cache that holds it. sglang: the layer
/// appends, after casts of keys and values to a narrower cache and before one of the queries;
/// trtllm: rotation and append are one kernel, or part of attention where that is the kernel of
/// ungrouped queries.
MeasuredCall attention_generation_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                       const MeasuredAs& as) {
  const Attention attention =
      causal_attention_of(row, 1, std::max<std::int64_t>(2, row.size("kv_len")));
  const gpu::ExecutionContext context =
      replayed(row.operand_sets() * touched_bytes(attention), device);
  const bool narrow = attention.cache_type != attention.type;
  const std::int64_t group = attention.heads / attention.kv_heads;
  const bool ungrouped = left_to_ungrouped(attention, device, as);
  const bool rotated = as.appends_itself && attention.qk_dim != kStretchedHead;
  const bool fused = ungrouped || rotated;
  std::string implementation = ungrouped ? as.ungrouped : as.implementation;
  if (!as.few_heads.empty() && group < kFewestOnTensorCores) implementation = as.few_heads;
  MeasuredCall call;
  const auto before = [&](const Stream& stream, const std::string& name = {}) {
    call.kernels.push_back({stream, context, name});
  };
  const bool sglang = row.text("framework") == "sglang";
  if (sglang) {
    for (const auto& [stream, name] : sglang_append(attention)) before(stream, name);
  } else if (!row.probed() && !fused) {
    before(rotate_and_append(attention));
  }
  if (narrow && sglang) {
    before(cast(attention, attention.kv_heads));
    before(cast(attention, attention.kv_heads));
    if (!as.keeps_queries) before(cast(attention, attention.heads));
  }
  if (as.schedules_on_gpu)
    before({.kind = StreamKind::copy, .rows = attention.batch, .columns = 2});
  call.type = narrow && !sglang ? "narrow_cache" : "";
  Attention core = attention;
  if (as.multiplies_as_cached && !ungrouped && core.qk_dim <= kWidestNarrowHead)
    core.type = core.cache_type;
  call.kernels.push_back({core, context, implementation});
  return call;
}

/// Bidirectional attention without a cache. trtllm: after the kernel that would rotate and append.
MeasuredCall encoder_attention_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                    const MeasuredAs& as) {
  const std::int64_t length = row.size("isl");
  Attention attention = attention_of(row, length, length);
  attention.causal = false;
  const bool odd = !as.odd_heads.empty() && attention.qk_dim % kHeadGranule != 0;
  const gpu::ExecutionContext context =
      replayed(row.operand_sets() * touched_bytes(attention), device);
  MeasuredCall call;
  if (row.text("framework") == "trtllm" && !row.probed())
    call.kernels.push_back({write_back(attention), context, as.rotation});
  call.kernels.push_back({attention, context, odd ? as.odd_heads : as.implementation});
  return call;
}

}  // namespace tessera::calibrate
