#include "calibrate/served_iteration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "calibrate/measured_row.hpp"

namespace tessera::calibrate {

namespace {

using core::DataType;
using workload::Gemm;
using workload::GroupedGemm;
using workload::GroupedQueryAttention;
using workload::LatentAttention;
using workload::Stream;
using workload::StreamKind;

/// A type as measured files name it.
std::string file_name(DataType type) {
  return type == DataType::bf16 ? "bfloat16" : std::string{core::to_string(type)};
}

double stored_bytes(std::int64_t n, std::int64_t k, DataType type) {
  return static_cast<double>(n) * static_cast<double>(k) *
         (core::weight_bits(type) / 8.0 + core::weight_scale_bytes(type));
}

/// What made the input of a product: it may have written the product's type.
enum class Made { by_norm, by_activation, by_attention };

bool contains(const std::vector<DataType>& types, DataType type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

/// Writes the kernels of one iteration.
class Iteration {
 public:
  Iteration(const workload::Architecture& architecture, const ServedAs& as,
            const ServedLayout& layout, const ServedPass& pass, const device::DeviceSpec& device,
            const ServedMap& served, const MeasurementMap& map)
      : a_(architecture),
        as_(as),
        layout_(layout),
        pass_(pass),
        device_(device),
        served_(served),
        map_(map) {}

  ServedIteration run() {
    stream("embedding", StreamKind::embedding, pass_.rows(), a_.hidden);
    for (std::int64_t layer = 0; layer < a_.layers; ++layer)
      if (a_.first_like(layer) == layer) {
        count_ = 0;
        for (std::int64_t other = layer; other < a_.layers; ++other)
          if (a_.first_like(other) == layer) ++count_;
        add_layer(a_.layer(layer));
      }
    count_ = 1;
    head();
    return std::move(iteration_);
  }

 private:
  // Sizes.
  [[nodiscard]] std::int64_t cut(std::int64_t size) const {
    return std::max<std::int64_t>(1, size / layout_.tensor);
  }
  [[nodiscard]] std::int64_t rows() const { return pass_.rows(); }

  // Kernels.
  void push(const std::string& name, KernelQuery query, bool beside) {
    iteration_.kernels.push_back({name, std::move(query), count_, beside});
  }
  /// Between two layers' uses of a weight or a cache the whole model passes through L2; what the
  /// kernel before wrote is still there.
  static gpu::ExecutionContext fresh() {
    gpu::ExecutionContext context;
    context.warm_activations = true;
    return context;
  }
  void stream(const std::string& name, StreamKind kind, std::int64_t rows, std::int64_t columns,
              DataType output = DataType::bf16) {
    push(name,
         {Stream{.kind = kind, .rows = rows, .columns = columns, .output = output}, fresh(), {}},
         beside_);
  }
  void product(const std::string& name, std::int64_t m, std::int64_t n, std::int64_t k,
               DataType type, Made made) {
    const bool narrow = core::activation_bits(type) < 16;
    const bool written =
        (made == Made::by_norm && contains(as_.habits.norm_quantises, type)) ||
        (made == Made::by_activation && contains(as_.habits.activation_quantises, type));
    if (narrow && !written) stream(name + " cast", StreamKind::quantize, m, k, type);
    const NamedKernel named = served_.gemm(as_.framework, device_.generation, type);
    const CsvTable row = CsvTable::parse(
        fmt::format("gpu,framework,op,dtype,kernel,M,N,K\n{},{},gemm,{},{},{},{},{}\n",
                    device_.name, named.framework, file_name(type), named.kernel, m, n, k),
        "gemm");
    KernelQuery query = map_.call("gemm", row, 0, device_).kernels.back();
    query.context = fresh();
    push(name, std::move(query), beside_);
    iteration_.weight_bytes += count_ * stored_bytes(n, k, type);
  }
  void batched(const std::string& name, std::int64_t batch, std::int64_t n, std::int64_t k) {
    push(name, {Gemm{.m = rows(), .n = n, .k = k, .batch = batch}, fresh(), {}}, false);
    iteration_.weight_bytes +=
        count_ * static_cast<double>(batch) * stored_bytes(n, k, DataType::bf16);
  }
  /// Kernels of a call that a measured file has, caches and weights read from HBM.
  void call(const std::string& name, const std::string& file, const CsvTable& row) {
    for (KernelQuery& query : map_.call(file, row, 0, device_).kernels) {
      const bool attends = std::holds_alternative<workload::Attention>(query.op) ||
                           std::holds_alternative<workload::AbsorbedAttention>(query.op);
      query.context = attends ? gpu::ExecutionContext{} : fresh();
      if (const auto* grouped = std::get_if<GroupedGemm>(&query.op)) {
        const auto hit = std::count_if(grouped->sizes.begin(), grouped->sizes.end(),
                                       [](std::int64_t size) { return size > 0; });
        iteration_.weight_bytes += count_ * static_cast<double>(hit) *
                                   stored_bytes(grouped->n, grouped->fixed, grouped->type);
      }
      push(name, std::move(query), false);
    }
  }
  void transfer(const std::string& name, ServedTransfer::Kind kind, double bytes, int ranks) {
    if (ranks > 1) iteration_.transfers.push_back({name, kind, bytes, ranks, count_});
  }

  // Parts of a layer.
  void norm(const std::string& name, bool after_reduce, DataType next) {
    if (after_reduce && layout_.tensor > 1 && as_.habits.reduces_with_norm) return;
    const bool writes = contains(as_.habits.norm_quantises, next);
    stream(name, StreamKind::rms_norm, rows(), a_.hidden, writes ? next : DataType::bf16);
  }
  void reduce(const std::string& name) {
    transfer(name, ServedTransfer::Kind::all_reduce, static_cast<double>(rows() * a_.hidden) * 2,
             layout_.tensor);
  }
  void add_layer(const workload::LayerSpec& layer) {
    norm("attention norm", true, as_.precision.query_key_value);
    if (const auto* latent = std::get_if<LatentAttention>(&layer.attention))
      latent_attention(*latent);
    else
      grouped_query(std::get<GroupedQueryAttention>(layer.attention));
    reduce("attention all-reduce");
    if (const auto* dense = std::get_if<workload::DenseFeedForward>(&layer.feed_forward)) {
      norm("mlp norm", true, as_.precision.gemm);
      mlp("mlp", cut(dense->intermediate), dense->gated);
    } else {
      norm("mlp norm", true, DataType::bf16);  // the gate reads BF16
      experts(std::get<workload::MixtureOfExperts>(layer.feed_forward));
    }
    if (layout_.attention_ranks == 1) reduce("mlp all-reduce");
  }

  void grouped_query(const GroupedQueryAttention& g) {
    const std::int64_t heads = cut(g.heads), keys = cut(g.kv_heads);
    product("qkv", rows(), heads * g.qk_dim + keys * (g.qk_dim + g.v_dim), a_.hidden,
            as_.precision.query_key_value, Made::by_norm);
    if (g.qk_norm == workload::QkNorm::layer) {
      // Cut over GPUs, the norm waits for everybody's sum: a pass before it and one after.
      if (layout_.tensor > 1) {
        stream("q squares", StreamKind::compute_scale, rows(), heads * g.qk_dim);
        stream("k squares", StreamKind::compute_scale, rows(), keys * g.qk_dim);
      }
      stream("q norm", StreamKind::rms_norm, rows(), heads * g.qk_dim);
      stream("k norm", StreamKind::rms_norm, rows(), keys * g.qk_dim);
      // Sums of squares of all heads meet; two floats a token.
      transfer("qk norm all-reduce", ServedTransfer::Kind::all_reduce,
               static_cast<double>(rows()) * 8, layout_.tensor);
    } else if (g.qk_norm != workload::QkNorm::none) {
      stream("qk norm", StreamKind::rms_norm, rows() * (heads + keys), g.qk_dim);
    }
    if (as_.habits.rotation_apart)
      stream("rotation", StreamKind::rotary, rows() * (heads + keys), g.qk_dim);
    const std::string shape =
        fmt::format("{},{},bfloat16,{},{},{},{},{},{},{},{}", device_.name, as_.attention.framework,
                    as_.attention.kernel, pass_.sequences, pass_.context, heads, keys, g.qk_dim,
                    g.window, file_name(as_.precision.cache));
    const std::string file = pass_.decodes() ? "attention_generation" : "attention_context";
    call("attention", file,
         CsvTable::parse(
             fmt::format("gpu,framework,dtype,kernel,batch,{},num_heads,num_kv_heads,head_dim,win,"
                         "kv_dtype\n{}\n",
                         pass_.decodes() ? "kv_len" : "isl", shape),
             file));
    product("output", rows(), a_.hidden, heads * g.v_dim, as_.precision.output, Made::by_attention);
  }

  void latent_attention(const LatentAttention& l) {
    if (l.sparse) return sparse_attention(l);
    const std::int64_t heads = cut(l.heads);
    const DataType type = as_.precision.query_key_value;
    product("q and kv down", rows(), l.query_rank + l.key_value_rank + l.rope_dim, a_.hidden, type,
            Made::by_norm);
    stream("q norm", StreamKind::rms_norm, rows(), l.query_rank);
    stream("kv norm", StreamKind::rms_norm, rows(), l.key_value_rank);
    product("q up", rows(), heads * l.qk_dim(), l.query_rank, type, Made::by_norm);
    if (as_.habits.rotation_apart)
      stream("rotation", StreamKind::rotary, rows() * (heads + 1), l.rope_dim);
    const std::string file = pass_.decodes() ? "mla_generation" : "mla_context";
    const NamedKernel& named = pass_.decodes() ? as_.latent_attention : as_.latent_prefill;
    const CsvTable row = CsvTable::parse(
        fmt::format("gpu,framework,dtype,kernel,batch,{},num_heads,kv_dtype\n"
                    "{},{},bfloat16,{},{},{},{},{}\n",
                    pass_.decodes() ? "kv_len" : "isl", device_.name, named.framework, named.kernel,
                    pass_.sequences, pass_.context, heads, file_name(as_.precision.cache)),
        file);
    if (pass_.decodes()) batched("absorb queries", heads, l.key_value_rank, l.nope_dim);
    if (!pass_.decodes())
      product("kv up", rows(), heads * (l.nope_dim + l.value_dim), l.key_value_rank, type,
              Made::by_norm);
    call("attention", file, row);
    if (pass_.decodes()) batched("expand values", heads, l.value_dim, l.key_value_rank);
    product("output", rows(), a_.hidden, heads * l.value_dim, as_.precision.output,
            Made::by_attention);
  }
  void sparse_attention(const LatentAttention&) {
    refuse_row(fmt::format(
        "{}: served iterations of sparse latent attention with an indexer are not modelled",
        a_.name));
  }

  void mlp(const std::string& name, std::int64_t width, bool gated) {
    const DataType type = as_.precision.gemm;
    product(name + " up", rows(), (gated ? 2 : 1) * width, a_.hidden, type, Made::by_norm);
    const bool writes = contains(as_.habits.activation_quantises, type);
    stream(name + " activation", StreamKind::swiglu, rows(), width, writes ? type : DataType::bf16);
    product(name + " down", rows(), a_.hidden, width, type, Made::by_activation);
  }

  void experts(const workload::MixtureOfExperts& moe) {
    product("gate", rows(), moe.experts, a_.hidden, DataType::bf16, Made::by_norm);
    const std::int64_t all = rows() * layout_.attention_ranks;
    const double bytes = static_cast<double>(all * a_.hidden) * 2;
    if (layout_.attention_ranks > 1)
      transfer("dispatch", ServedTransfer::Kind::all_gather, bytes, layout_.gpus());
    const CsvTable row = CsvTable::parse(
        fmt::format("gpu,framework,op,dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep,routing\n"
                    "{},{},moe,{},{},{},{},{},{},{},{},{},uniform_draw\n",
                    device_.name, as_.experts.framework, file_name(as_.precision.experts),
                    as_.experts.kernel, all, a_.hidden, moe.intermediate, moe.top_k, moe.experts,
                    layout_.expert_tensor, layout_.expert),
        "moe");
    call("experts", "moe", row);
    if (moe.shared_experts > 0) {
      beside_ = as_.habits.shared_beside && pass_.decodes();
      mlp("shared", cut(moe.shared_experts * moe.intermediate), moe.gated);
      beside_ = false;
    }
    if (layout_.attention_ranks > 1)
      transfer("combine", ServedTransfer::Kind::reduce_scatter, bytes, layout_.gpus());
  }

  void head() {
    norm("final norm", true, DataType::bf16);
    product("head", pass_.sequences, cut(a_.vocabulary), a_.hidden, DataType::bf16, Made::by_norm);
    transfer("logits", ServedTransfer::Kind::all_gather,
             static_cast<double>(pass_.sequences * a_.vocabulary) * 2, layout_.tensor);
  }

  const workload::Architecture& a_;
  const ServedAs& as_;
  const ServedLayout& layout_;
  const ServedPass& pass_;
  const device::DeviceSpec& device_;
  const ServedMap& served_;
  const MeasurementMap& map_;
  double count_ = 1;     ///< Layers that are like the one being written.
  bool beside_ = false;  ///< What is written runs on a stream of its own.
  ServedIteration iteration_;
};

}  // namespace

ServedIteration served_iteration(const workload::Architecture& architecture, const ServedAs& as,
                                 const ServedLayout& layout, const ServedPass& pass,
                                 const device::DeviceSpec& device, const ServedMap& served,
                                 const MeasurementMap& map) {
  return Iteration{architecture, as, layout, pass, device, served, map}.run();
}

}  // namespace tessera::calibrate
