#include "calibrate/served_engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "calibrate/fit_record.hpp"
#include "calibrate/measured_row.hpp"
#include "models/device/fit_file.hpp"
#include "models/gpu/gpu.hpp"
#include "models/kernels/implementation_library.hpp"
#include "sim/core/diagnostics.hpp"

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

/// The call with the ways that are fastest by the closed form and the fit that ships.
MeasuredCall settle_by_closed_form(const MeasuredCall& call, const device::DeviceSpec& device) {
  static std::map<std::string, gpu::Gpu> timers;  // by device
  auto found = timers.find(device.name);
  if (found == timers.end())
    found =
        timers
            .emplace(device.name,
                     gpu::Gpu{device, load_record_for(device, device::kFitFolder).record.fits,
                              kernels::ImplementationLibrary::load(), gpu::Fidelity::analytical})
            .first;
  std::vector<std::optional<gpu::KernelResult>> answers;
  for (const KernelQuery& query : call.kernels) {
    answers.emplace_back();
    if (query.way.choice == 0) continue;
    try {
      answers.back() = found->second.run(query.op, query.context, query.implementation);
    } catch (const core::Refusal&) {
      continue;  // a way that this call cannot take
    }
  }
  return call.settle(answers).call;
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

/// The measured call casts keys and values of new tokens; those of a cached prefix are expanded
/// anew too.
void cast_prefix(Steps& steps, const Attention& a) {
  const auto is_cast = [](const Step& step) {
    const auto* stream = std::get_if<Stream>(&step.work()->op);
    return stream != nullptr && stream->kind == workload::StreamKind::quantize;
  };
  const auto cast = std::find_if(steps.begin(), steps.end(), is_cast);
  if (cast == steps.end() || a.kv_length == a.q_length) return;
  Work prefix = *cast->work();
  auto& stream = std::get<Stream>(prefix.op);
  stream.rows = a.batch * (a.kv_length - a.q_length);
  stream.columns = a.heads * (a.qk_dim + a.v_dim);
  steps.insert(cast, Step{std::move(prefix)});
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

template <class Core>
Steps ServedEngine::attend(const char* file, const NamedKernel& kernel, const std::string& columns,
                           const std::string& values, const Core& wanted) const {
  const CsvTable row = CsvTable::parse(
      fmt::format("gpu,framework,dtype,kernel,kv_dtype,{}\n{},{},bfloat16,{},{},{}\n", columns,
                  device_.name, kernel.framework, kernel.kernel, file_name(wanted.cache_type),
                  values),
      file);
  return steps_of(with_lengths(maps_->measured.call(file, row, 0, device_), wanted), "attention");
}

Steps ServedEngine::attend_grouped(const char* file, const char* length, std::int64_t tokens,
                                   const Attention& a) const {
  return attend(
      file, kernels_.attention, fmt::format("batch,{},num_heads,num_kv_heads,head_dim,win", length),
      fmt::format("{},{},{},{},{},{}", a.batch, tokens, a.heads, a.kv_heads, a.qk_dim, a.window),
      a);
}

Steps ServedEngine::decode_attention(const Attention& a) const {
  return attend_grouped("attention_generation", "kv_len", a.kv_length, a);
}

Steps ServedEngine::decode_attention(const AbsorbedAttention& a) const {
  const AbsorbedAttention measured;
  if (a.latent != measured.latent || a.rotary != measured.rotary) refuse_widths();
  return attend("mla_generation", kernels_.latent_attention, "batch,kv_len,num_heads",
                fmt::format("{},{},{}", a.batch * a.q_length, a.kv_length, a.heads), a);
}

Steps ServedEngine::prefill_attention(const Attention& a, bool latent) const {
  if (!latent) return attend_grouped("attention_context", "isl", a.q_length, a);
  if (a.qk_dim != 192 || a.v_dim != 128) refuse_widths();
  Steps steps = attend("mla_context", kernels_.latent_prefill, "batch,isl,num_heads",
                       fmt::format("{},{},{}", a.batch, a.q_length, a.heads), a);
  cast_prefix(steps, a);
  return steps;
}

Steps ServedEngine::routed_experts(const workload::RoutedExperts& e) const {
  const CsvTable row = CsvTable::parse(
      fmt::format("gpu,framework,op,dtype,kernel,tokens,hidden,inter,topk,experts,tp,ep\n"
                  "{},{},moe,{},{},{},{},{},{},{},{},{}\n",
                  device_.name, kernels_.experts.framework, file_name(e.type),
                  kernels_.experts.kernel, e.tokens, e.hidden, e.intermediate, e.top_k, e.experts,
                  e.expert_tensor, e.expert_ranks),
      "moe");
  const MeasuredCall call = maps_->measured.experts(row, 0, device_, e.rows);
  return steps_of(settle_by_closed_form(call, device_).kernels, "experts");
}

}  // namespace tessera::calibrate
