#include "calibrate/measured_families.hpp"
#include "calibrate/module_kernels.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::AbsorbedAttention;
using workload::Attention;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

namespace {

/// Of DeepSeek-V2 and V3's attention, which all these files time (measurements README).
constexpr LatentWidths kWidths = kDeepSeekV3;

void add(MeasuredCall& call, workload::Operator op, const gpu::ExecutionContext& context,
         std::string implementation = {}) {
  call.kernels.push_back({std::move(op), context, std::move(implementation)});
}

}  // namespace

/// Rope and append, the cast of queries, keys and values when the cache is FP8 and the GPU
/// multiplies in FP8, then causal attention of 192-wide keys and 128-wide values.
MeasuredCall mla_context_call(const MeasuredRow& row, const device::DeviceSpec& device,
                              const MeasuredAs& as) {
  const std::int64_t batch = row.size("batch"), length = row.size("isl");
  const std::int64_t heads = row.size("num_heads");
  const bool fp8 = cache_type(row, device) == DataType::fp8;
  const Attention attention = expanded_attention(kWidths, batch, length, length, heads,
                                                 fp8 ? DataType::fp8 : row.type("dtype"));
  const std::int64_t tokens = batch * length;
  const std::int64_t columns = heads * 2 * (attention.qk_dim + attention.v_dim);
  gpu::ExecutionContext context =
      replayed(bytes_of(tokens, columns, core::activation_bits(row.type("dtype"))), device);
  MeasuredCall call;
  add(call, rotate_and_append(kWidths, tokens, heads, kWidths.rotary, row.type("kv_dtype")),
      context);
  if (fp8) add(call, expanded_cast(kWidths, tokens, heads), context);
  add(call, attention, context, as.implementation);
  return call;
}

/// Rotation and append (and the cast of queries to FP8), then absorbed attention; libraries that
/// schedule their parts on the GPU do so in a small kernel before it. Probes time the attention
/// alone.
MeasuredCall mla_generation_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                 const MeasuredAs& as) {
  AbsorbedAttention attention{.batch = row.size("batch"), .kv_length = row.size("kv_len")};
  attention.heads = row.size("num_heads");
  attention.type = row.type("dtype");
  if (cache_type(row, device) == DataType::fp8) attention.type = DataType::fp8;
  attention.cache_type = attention.type;
  const double cached =
      bytes_of(attention.batch * attention.kv_length, kWidths.latent + kWidths.rotary,
               core::activation_bits(attention.type));
  const gpu::ExecutionContext context = replayed(
      cached + bytes_of(attention.batch * attention.heads, 2 * kWidths.latent + kWidths.rotary, 16),
      device);
  MeasuredCall call;
  if (!row.probed()) {
    // An FP8 query is cast whole; else TensorRT-LLM rotates its rotary part, SGLang has done so
    // before.
    std::int64_t columns = row.text("framework") == "trtllm" ? kWidths.rotary : 0;
    if (attention.type == DataType::fp8) columns = kWidths.latent + kWidths.rotary;
    add(call, rotate_and_append(kWidths, attention.batch, attention.heads, columns, attention.type),
        context);
    if (as.schedules_on_gpu)
      add(call, Stream{.kind = StreamKind::copy, .rows = attention.batch, .columns = 2}, context);
  }
  add(call, attention, context, as.implementation);
  return call;
}

/// mla_gen_pre: [heads, tokens, 128] x [heads, 128, 512]; mla_gen_post: the reverse widths. FP8
/// rows cast the activation first.
MeasuredCall mla_bmm_call(const MeasuredRow& row, const device::DeviceSpec& device,
                          const MeasuredAs& as) {
  const bool before = row.text("bmm") == "mla_gen_pre";
  if (!before && row.text("bmm") != "mla_gen_post") refuse_row("an unknown product of MLA");
  Gemm gemm{.m = row.size("num_tokens"), .n = before ? kWidths.latent : kWidths.value};
  gemm.k = before ? kWidths.content : kWidths.latent;
  gemm.batch = row.size("num_heads");
  gemm.type = row.type("dtype");
  const bool trtllm = row.text("framework") == "trtllm";
  const bool dequantised = row.text("kernel") == "trtllm_bmm_out_dequant_bf16";
  if (dequantised) gemm.type = DataType::bf16;
  if (gemm.type == DataType::fp8 && trtllm) gemm.type = DataType::fp8_block;
  const gpu::ExecutionContext context =
      replayed(bytes_of(gemm.batch * gemm.m, gemm.k + gemm.n, 16) +
                   bytes_of(gemm.batch * gemm.n, gemm.k, core::weight_bits(gemm.type)),
               device);
  gpu::ExecutionContext product = context;
  MeasuredCall call;
  if (gemm.type != DataType::bf16) {
    const std::int64_t rows = gemm.batch * gemm.m;
    // Per tensor: the maximum in a kernel of its own.
    if (gemm.type == DataType::fp8)
      add(call, Stream{.kind = StreamKind::compute_scale, .rows = rows, .columns = gemm.k},
          context);
    add(call,
        Stream{.kind = StreamKind::quantize, .rows = rows, .columns = gemm.k, .output = gemm.type},
        context);
    product.warm_activations = true;  // just written
    // Small rows, each cast by a CTA of its own: starting CTAs takes longer than the bytes.
    call.prepared_rows = static_cast<double>(rows);
  }
  add(call, gemm, product, as.implementation);
  call.type = core::to_string(gemm.type);
  return call;
}

}  // namespace tessera::calibrate
