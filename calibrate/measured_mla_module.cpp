#include <algorithm>

#include "calibrate/measured_families.hpp"
#include "calibrate/module_kernels.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::AbsorbedAttention;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

MeasuredCall mla_module_call(const MeasuredRow& row, const device::DeviceSpec& device,
                             const MeasuredAs& as) {
  if (row.text("model") != "DeepseekV3ForCausalLM")
    refuse_row("an MLA module of another model than DeepSeek-V3");
  const LatentWidths widths = kDeepSeekV3;
  const std::int64_t batch = row.size("batch"), length = row.size("isl");
  const std::int64_t kv_length = length + row.size("step"), heads = row.size("num_heads");
  const DataType cache = cache_type(row, device);
  ModuleKernels module{row.type("gemm_type"), module_weights(widths, heads), as.implementation,
                       device};
  compress(module, widths, batch * length, heads);
  if (row.text("op") == "mla_ctx_module") {
    attend_expanded(module, widths,
                    {.batch = batch,
                     .queries = length,
                     .tokens = kv_length,
                     .heads = heads,
                     .cache = cache,
                     .multiplied = cache,
                     .attention = as.attention});
  } else if (row.text("op") == "mla_gen_module") {
    AbsorbedAttention attention{.batch = batch, .q_length = length, .kv_length = kv_length};
    attention.heads = heads;
    attention.type = attention.cache_type = cache;
    attend_absorbed(module, widths, attention, cache, {});
  } else {
    refuse_row("an unknown module of MLA");
  }
  module.project(batch * length, widths.hidden, heads * widths.value);
  module.call.type = row.text("op");
  return module.call;
}

/// Before a layer: scores of the streams by a product with a narrow weight, then their weighted
/// sum. After it: every stream anew from all of them and the layer's output. `num_sites` of them
/// follow each other.
MeasuredCall mhc_call(const MeasuredRow& row, const device::DeviceSpec& device, const MeasuredAs&) {
  const std::int64_t tokens = row.size("tokens");
  const std::int64_t streams = row.size("hc_mult");
  const std::int64_t hidden = row.size("hidden");
  const std::int64_t sites = std::max<std::int64_t>(1, row.size("num_sites"));
  const bool before = row.text("part") == "pre";
  if (!before && row.text("part") != "post") refuse_row("an unknown part of a hyper-connection");
  const gpu::ExecutionContext context =
      replayed(bytes_of(tokens, (2 * streams + 1) * hidden, 16), device);
  MeasuredCall call;
  for (std::int64_t site = 0; site < sites; ++site) {
    if (before) {
      // Of each stream one weight into the layer, one out of it, one to every other stream.
      const std::int64_t weights = streams * (2 + streams);
      call.kernels.push_back(
          {Gemm{.m = tokens, .n = weights, .k = streams * hidden, .output = DataType::fp32},
           context,
           {}});
      call.kernels.push_back({Stream{.kind = StreamKind::unpermute,
                                     .rows = tokens,
                                     .columns = hidden,
                                     .fan = static_cast<int>(streams)},
                              context,
                              {}});
    } else {
      // All streams and the layer's output in, all streams out: as many bytes as a copy of half of
      // them.
      call.kernels.push_back(
          {Stream{
               .kind = StreamKind::copy, .rows = tokens * (2 * streams + 1), .columns = hidden / 2},
           context,
           {}});
    }
  }
  call.type = row.text("part");
  return call;
}

}  // namespace tessera::calibrate
