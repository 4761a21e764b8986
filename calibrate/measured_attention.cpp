#include "calibrate/measured_families.hpp"

namespace tessera::calibrate {

using workload::Stream;
using workload::StreamKind;

/// Prefill attention; the trtllm collection appends keys and values to the cache in the same call.
MeasuredCall attention_context_call(const MeasuredRow& row, const device::DeviceSpec& device,
                                    const MeasuredAs& as) {
  workload::Attention attention{.batch = row.size("batch")};
  attention.q_length = attention.kv_length = row.size("isl");
  attention.heads = row.size("num_heads");
  attention.kv_heads = row.size("num_kv_heads");
  attention.qk_dim = attention.v_dim = row.size("head_dim");
  attention.window = row.size("win");
  attention.type = row.type("dtype");
  attention.cache_type = row.type("kv_dtype");
  const std::int64_t tokens = attention.batch * attention.q_length;
  const std::int64_t columns = (2 * attention.heads + 2 * attention.kv_heads) * attention.qk_dim;
  const gpu::ExecutionContext context =
      replayed(bytes_of(tokens, columns, core::activation_bits(attention.type)), device);
  MeasuredCall call;
  if (row.text("framework") == "trtllm")
    call.kernels.push_back({Stream{.kind = StreamKind::copy,
                                   .rows = tokens,
                                   .columns = 2 * attention.kv_heads * attention.qk_dim,
                                   .output = attention.cache_type},
                            context,
                            {}});
  call.kernels.push_back({attention, context, as.implementation});
  return call;
}

}  // namespace tessera::calibrate
