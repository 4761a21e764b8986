#include "calibrate/module_kernels.hpp"

#include <utility>

namespace tessera::calibrate {

using core::DataType;
using workload::AbsorbedAttention;
using workload::Attention;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

DataType cache_type(const MeasuredRow& row, const device::DeviceSpec& device) {
  const DataType cache = row.type("kv_dtype");
  return device.sm.tensor_flops.contains(cache) ? cache : row.type("dtype");
}

Stream rotate_and_append(const LatentWidths& widths, std::int64_t tokens, std::int64_t heads,
                         std::int64_t columns, DataType cache) {
  return {.kind = StreamKind::rotary,
          .rows = tokens,
          .columns = heads * columns + widths.latent + widths.rotary,
          .output = cache};
}

Attention expanded_attention(const LatentWidths& widths, std::int64_t batch, std::int64_t queries,
                             std::int64_t tokens, std::int64_t heads, DataType type) {
  Attention attention{.batch = batch, .q_length = queries, .kv_length = tokens};
  attention.heads = attention.kv_heads = heads;
  attention.qk_dim = widths.content + widths.rotary;
  attention.v_dim = widths.value;
  attention.type = attention.cache_type = type;
  return attention;
}

Stream expanded_cast(const LatentWidths& widths, std::int64_t tokens, std::int64_t heads) {
  return {.kind = StreamKind::quantize,
          .rows = tokens,
          .columns = heads * (2 * (widths.content + widths.rotary) + widths.value),
          .output = DataType::fp8};
}

ModuleKernels::ModuleKernels(DataType projections, std::int64_t weights, std::string block_gemm,
                             const device::DeviceSpec& device)
    : projections_(projections), block_gemm_(std::move(block_gemm)) {
  context_ = replayed(bytes_of(weights, 1, core::weight_bits(projections)), device);
  context_.warm_activations = true;
}

void ModuleKernels::add(workload::Operator op, const std::string& implementation) {
  call.kernels.push_back({std::move(op), context_, implementation});
}

void ModuleKernels::project(std::int64_t tokens, std::int64_t n, std::int64_t k) {
  if (projections_ != DataType::bf16)
    add(Stream{.kind = StreamKind::quantize, .rows = tokens, .columns = k, .output = projections_});
  multiply(tokens, n, k, projections_);
}

void ModuleKernels::multiply(std::int64_t tokens, std::int64_t n, std::int64_t k, DataType type) {
  add(Gemm{.m = tokens, .n = n, .k = k, .type = type},
      type == DataType::fp8_block ? block_gemm_ : std::string{});
}

void ModuleKernels::norm(std::int64_t tokens, std::int64_t columns) {
  add(Stream{.kind = StreamKind::rms_norm, .rows = tokens, .columns = columns});
}

void ModuleKernels::absorb(std::int64_t heads, std::int64_t tokens, std::int64_t n,
                           std::int64_t k) {
  add(Gemm{.m = tokens, .n = n, .k = k, .batch = heads});
}

void compress(ModuleKernels& module, const LatentWidths& widths, std::int64_t tokens,
              std::int64_t heads) {
  module.project(tokens, widths.query_rank + widths.latent + widths.rotary, widths.hidden);
  module.norm(tokens, widths.query_rank);
  module.norm(tokens, widths.latent);
  module.project(tokens, heads * (widths.content + widths.rotary), widths.query_rank);
}

void attend_expanded(ModuleKernels& module, const LatentWidths& widths, const ExpandedCall& how) {
  const std::int64_t queries = how.batch * how.queries;
  module.project(how.batch * how.tokens, how.heads * (widths.content + widths.value),
                 widths.latent);
  module.add(rotate_and_append(widths, queries, how.heads, widths.rotary, how.cache));
  if (how.multiplied == DataType::fp8) module.add(expanded_cast(widths, queries, how.heads));
  if (how.assembles_keys)
    module.add(Stream{.kind = StreamKind::copy,
                      .rows = how.batch * how.tokens,
                      .columns = how.heads * (widths.content + widths.rotary)});
  module.add(
      expanded_attention(widths, how.batch, how.queries, how.tokens, how.heads, how.multiplied),
      how.attention);
}

void attend_absorbed(ModuleKernels& module, const LatentWidths& widths,
                     const AbsorbedAttention& attention, DataType cache,
                     const std::string& implementation) {
  const std::int64_t tokens = attention.batch * attention.q_length;
  module.absorb(attention.heads, tokens, widths.latent, widths.content);
  // A query that is multiplied in FP8 is cast whole.
  const bool fp8 = attention.type == DataType::fp8;
  module.add(rotate_and_append(widths, tokens, attention.heads,
                               fp8 ? widths.latent + widths.rotary : widths.rotary, cache));
  module.add(attention, implementation);
  module.absorb(attention.heads, tokens, widths.value, widths.latent);
}

std::int64_t module_weights(const LatentWidths& widths, std::int64_t heads) {
  const std::int64_t of_heads =
      heads * (widths.query_rank * (widths.content + widths.rotary) +
               widths.latent * (widths.content + widths.value) + widths.hidden * widths.value);
  return widths.hidden * (widths.query_rank + widths.latent + widths.rotary) + of_heads;
}

}  // namespace tessera::calibrate
