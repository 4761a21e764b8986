#include "calibrate/served_engine.hpp"

#include <fmt/format.h>

#include <utility>

#include "calibrate/measured_row.hpp"

namespace tessera::calibrate {

namespace {

using core::DataType;
using workload::AbsorbedAttention;
using workload::Attention;
using workload::Step;
using workload::Steps;
using workload::Stream;
using workload::Work;

/// A type as measured files name it.
std::string file_name(DataType type) {
  return type == DataType::bf16 ? "bfloat16" : std::string{core::to_string(type)};
}

/// The steps of a measured call. Their state in L2 is the iteration's, not the benchmark's.
Steps steps_of(std::vector<KernelQuery> kernels, const std::string& part) {
  Steps steps;
  int products = 0;
  for (KernelQuery& query : kernels) {
    Work work{.name = part, .op = std::move(query.op)};
    work.implementation = std::move(query.implementation);
    if (const auto* stream = std::get_if<Stream>(&work.op))
      work.name = fmt::format("{} {}", part, workload::to_string(stream->kind));
    else if (std::holds_alternative<workload::GroupedGemm>(work.op))
      work.name = products++ == 0 ? "expert_gate_up" : "expert_down";
    steps.push_back(Step{std::move(work)});
  }
  return steps;
}

/// Calls that end with an attention core were measured with as many cached tokens as new ones, or
/// with one new token a sequence; this one has others.
template <class Core>
std::vector<KernelQuery> with_lengths(MeasuredCall call, const Core& wanted) {
  auto& core = std::get<Core>(call.kernels.back().op);
  core.batch = wanted.batch;
  core.q_length = wanted.q_length;
  core.kv_length = wanted.kv_length;
  return std::move(call.kernels);
}

/// What kernels of latent attention are made for, and were measured with.
[[noreturn]] void refuse_widths() {
  refuse_row("engines' kernels of latent attention are known for DeepSeek-V3's widths only");
}

}  // namespace

std::shared_ptr<const ServedMaps> ServedMaps::load() {
  return std::make_shared<const ServedMaps>(ServedMaps{ServedMap::load(), MeasurementMap::load()});
}

ServedEngine::ServedEngine(ServerKernels kernels, const device::DeviceSpec& device,
                           std::shared_ptr<const ServedMaps> maps)
    : kernels_(std::move(kernels)), device_(device), maps_(std::move(maps)) {}

Work ServedEngine::product(std::string name, const workload::Gemm& gemm) const {
  const NamedKernel named = maps_->served.gemm(kernels_.framework, device_.generation, gemm.type);
  const CsvTable row = CsvTable::parse(
      fmt::format("gpu,framework,op,dtype,kernel,M,N,K\n{},{},gemm,{},{},{},{},{}\n", device_.name,
                  named.framework, file_name(gemm.type), named.kernel, gemm.m, gemm.n, gemm.k),
      "gemm");
  KernelQuery query = maps_->measured.call("gemm", row, 0, device_).kernels.back();
  Work work{.name = std::move(name), .op = std::move(query.op)};
  work.implementation = std::move(query.implementation);
  return work;
}

Steps ServedEngine::decode_attention(const Attention& a) const {
  const CsvTable row = CsvTable::parse(
      fmt::format("gpu,framework,dtype,kernel,batch,kv_len,num_heads,num_kv_heads,head_dim,win,"
                  "kv_dtype\n{},{},bfloat16,{},{},{},{},{},{},{},{}\n",
                  device_.name, kernels_.attention.framework, kernels_.attention.kernel, a.batch,
                  a.kv_length, a.heads, a.kv_heads, a.qk_dim, a.window, file_name(a.cache_type)),
      "attention_generation");
  return steps_of(with_lengths(maps_->measured.call("attention_generation", row, 0, device_), a),
                  "attention");
}

Steps ServedEngine::decode_attention(const AbsorbedAttention& a) const {
  const AbsorbedAttention measured;
  if (a.latent != measured.latent || a.rotary != measured.rotary) refuse_widths();
  const CsvTable row =
      CsvTable::parse(fmt::format("gpu,framework,dtype,kernel,batch,kv_len,num_heads,kv_dtype\n"
                                  "{},{},bfloat16,{},{},{},{},{}\n",
                                  device_.name, kernels_.latent_attention.framework,
                                  kernels_.latent_attention.kernel, a.batch * a.q_length,
                                  a.kv_length, a.heads, file_name(a.cache_type)),
                      "mla_generation");
  return steps_of(with_lengths(maps_->measured.call("mla_generation", row, 0, device_), a),
                  "attention");
}

Steps ServedEngine::prefill_attention(const Attention& a, bool latent) const {
  if (!latent) {
    const CsvTable row = CsvTable::parse(
        fmt::format("gpu,framework,dtype,kernel,batch,isl,num_heads,num_kv_heads,head_dim,win,"
                    "kv_dtype\n{},{},bfloat16,{},{},{},{},{},{},{},{}\n",
                    device_.name, kernels_.attention.framework, kernels_.attention.kernel, a.batch,
                    a.q_length, a.heads, a.kv_heads, a.qk_dim, a.window, file_name(a.cache_type)),
        "attention_context");
    return steps_of(with_lengths(maps_->measured.call("attention_context", row, 0, device_), a),
                    "attention");
  }
  if (a.qk_dim != 192 || a.v_dim != 128) refuse_widths();
  const CsvTable row = CsvTable::parse(
      fmt::format("gpu,framework,dtype,kernel,batch,isl,num_heads,kv_dtype\n"
                  "{},{},bfloat16,{},{},{},{},{}\n",
                  device_.name, kernels_.latent_prefill.framework, kernels_.latent_prefill.kernel,
                  a.batch, a.q_length, a.heads, file_name(a.cache_type)),
      "mla_context");
  return steps_of(with_lengths(maps_->measured.call("mla_context", row, 0, device_), a),
                  "attention");
}

Steps ServedEngine::routed_experts(const workload::RoutedExperts& e) const {
  const CsvTable row = CsvTable::parse(
      fmt::format("gpu,framework,op,dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep\n"
                  "{},{},moe,{},{},{},{},{},{},{},{},{}\n",
                  device_.name, kernels_.experts.framework, file_name(e.type),
                  kernels_.experts.kernel, e.tokens, e.hidden, e.intermediate, e.top_k, e.experts,
                  e.expert_tensor, e.expert_ranks),
      "moe");
  return steps_of(maps_->measured.experts(row, 0, device_, e.rows).kernels, "experts");
}

}  // namespace tessera::calibrate
