#include <algorithm>

#include "calibrate/measured_families.hpp"

namespace tessera::calibrate {

using core::DataType;
using workload::AbsorbedAttention;
using workload::Attention;
using workload::Gemm;
using workload::Stream;
using workload::StreamKind;

namespace {

// DeepSeek-V3 (config.json of deepseek-ai/DeepSeek-V3), the only model of the file.
constexpr std::int64_t kHidden = 7168;
constexpr std::int64_t kQueryRank = 1536;  ///< Of the compressed queries.
constexpr std::int64_t kLatent = 512;
constexpr std::int64_t kContent = 128;  ///< Of a head's query and key without position.
constexpr std::int64_t kRotary = 64;
constexpr std::int64_t kValue = 128;

/// Collects the kernels of one module, each of which finds in L2 what the one before wrote.
class Module {
 public:
  Module(const MeasuredRow& row, const device::DeviceSpec& device, const MeasuredAs& as)
      : as_(as), heads_(row.size("num_heads")), projections_(row.type("gemm_type")) {
    cache_ = row.type("kv_dtype");
    if (!device.sm.tensor_flops.contains(cache_)) cache_ = row.type("dtype");
    context_ = replayed(weight_bytes(), device);
    context_.warm_activations = true;
  }

  [[nodiscard]] std::int64_t heads() const { return heads_; }
  [[nodiscard]] DataType cache() const { return cache_; }
  [[nodiscard]] const MeasuredAs& as() const { return as_; }

  void add(workload::Operator op, const std::string& implementation = {}) {
    call.kernels.push_back({std::move(op), context_, implementation});
  }
  /// y[tokens,n] = x[tokens,k] w[k,n], after the cast of x where the product is narrower.
  void project(std::int64_t tokens, std::int64_t n, std::int64_t k) {
    if (projections_ != DataType::bf16)
      add(Stream{
          .kind = StreamKind::quantize, .rows = tokens, .columns = k, .output = projections_});
    add(Gemm{.m = tokens, .n = n, .k = k, .type = projections_},
        projections_ == DataType::fp8_block ? as_.implementation : std::string{});
  }
  /// Down to the ranks of queries and of the cache in one product, and their norms.
  void compress(std::int64_t tokens) {
    project(tokens, kQueryRank + kLatent + kRotary, kHidden);
    add(Stream{.kind = StreamKind::rms_norm, .rows = tokens, .columns = kQueryRank});
    add(Stream{.kind = StreamKind::rms_norm, .rows = tokens, .columns = kLatent});
    project(tokens, heads_ * (kContent + kRotary), kQueryRank);
  }
  void rotate(std::int64_t tokens, std::int64_t columns) {
    add(Stream{.kind = StreamKind::rotary,
               .rows = tokens,
               .columns = heads_ * columns + kLatent + kRotary,
               .output = cache_});
  }
  void project_output(std::int64_t tokens) { project(tokens, kHidden, heads_ * kValue); }

  MeasuredCall call;

 private:
  [[nodiscard]] double weight_bytes() const {
    const std::int64_t of_heads = heads_ * (kQueryRank * (kContent + kRotary) +
                                            kLatent * (kContent + kValue) + kHidden * kValue);
    return bytes_of(kHidden * (kQueryRank + kLatent + kRotary) + of_heads, 1,
                    core::weight_bits(projections_));
  }

  const MeasuredAs& as_;
  std::int64_t heads_;
  DataType projections_;
  DataType cache_ = DataType::bf16;
  gpu::ExecutionContext context_;
};

void prefill(Module& module, std::int64_t batch, std::int64_t length, std::int64_t cached) {
  const std::int64_t tokens = batch * length;
  module.compress(tokens);
  module.project(batch * (length + cached), module.heads() * (kContent + kValue), kLatent);
  module.rotate(tokens, kRotary);
  Attention attention{.batch = batch, .q_length = length, .kv_length = length + cached};
  attention.heads = attention.kv_heads = module.heads();
  attention.qk_dim = kContent + kRotary;
  attention.v_dim = kValue;
  attention.type = attention.cache_type = module.cache();
  if (attention.type == DataType::fp8)
    module.add(Stream{.kind = StreamKind::quantize,
                      .rows = tokens,
                      .columns = module.heads() * (2 * attention.qk_dim + attention.v_dim),
                      .output = DataType::fp8});
  module.add(attention, module.as().attention);
  module.project_output(tokens);
}

/// Queries take the keys' up-projection in, outputs the values'; the products stay in BF16.
void decode(Module& module, std::int64_t batch, std::int64_t length, std::int64_t cached) {
  const std::int64_t tokens = batch * length;
  module.compress(tokens);
  const auto absorb = [&](std::int64_t n, std::int64_t k) {
    module.add(Gemm{.m = tokens, .n = n, .k = k, .batch = module.heads()});
  };
  absorb(kLatent, kContent);
  const bool fp8 = module.cache() == DataType::fp8;
  module.rotate(tokens, fp8 ? kLatent + kRotary : kRotary);
  AbsorbedAttention attention{.batch = batch, .q_length = length, .kv_length = length + cached};
  attention.heads = module.heads();
  attention.type = attention.cache_type = module.cache();
  module.add(attention);
  absorb(kValue, kLatent);
  module.project_output(tokens);
}

}  // namespace

MeasuredCall mla_module_call(const MeasuredRow& row, const device::DeviceSpec& device,
                             const MeasuredAs& as) {
  if (row.text("model") != "DeepseekV3ForCausalLM")
    refuse_row("an MLA module of another model than DeepSeek-V3");
  Module module{row, device, as};
  const std::int64_t batch = row.size("batch");
  const std::int64_t length = row.size("isl");
  const std::int64_t cached = row.size("step");
  if (row.text("op") == "mla_ctx_module") {
    prefill(module, batch, length, cached);
  } else if (row.text("op") == "mla_gen_module") {
    decode(module, batch, length, cached);
  } else {
    refuse_row("an unknown module of MLA");
  }
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
