#include "calibrate/measured_families.hpp"
#include "calibrate/module_kernels.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::AbsorbedAttention;

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

}  // namespace tessera::calibrate
