#include "models/serving/memory.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>

#include "models/serving/iteration_memory.hpp"
#include "models/workload/parameters.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using core::DataType;
using std::int64_t;
using workload::ParameterCount;

constexpr double kBf16Bytes = 2;
/// What CUDA, libraries and the engine hold beside weights, cache and activations.
/// vllm-project/vllm pull request 10511: non_torch_memory of Llama 3 8B on one H100, 1.79 GiB.
constexpr double kContextBytes = 1.79 * 1024 * 1024 * 1024;
/// What communicators of a tensor-parallel group add. The same, with two GPUs: 3.58 GiB.
constexpr double kCollectiveBytes = 1.79 * 1024 * 1024 * 1024;

double payload_bytes(DataType type) { return core::weight_bits(type) / 8.0; }

[[noreturn]] void refuse(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::illegal_combination, reason);
}

void require_divisor(const char* key, int64_t found, const std::string& of, int64_t whole) {
  if (whole % found != 0)
    refuse(fmt::format("parallelism.{} {} does not divide the {} {}", key, found, whole, of));
}

void check_experts(const MemoryJob& job) {
  const workload::MixtureOfExperts& moe = job.architecture.moe;
  if (!job.architecture.has_experts()) {
    if (job.expert > 1 || job.expert_tensor > 1)
      refuse(fmt::format("parallelism.expert {}: the model has no experts",
                         job.expert * job.expert_tensor));
    if (job.redundant_experts > 0)
      refuse(fmt::format("routing.redundant_experts {}: the model has no experts",
                         job.redundant_experts));
    return;
  }
  require_divisor("expert", job.expert, "experts, redundant ones included",
                  moe.experts + job.redundant_experts);
  require_divisor("expert_tensor", job.expert_tensor, "columns of an expert", moe.intermediate);
}

/// What divides what. Heads are checked where the cache is laid out.
void check(const MemoryJob& job) {
  check_experts(job);
  if (job.architecture.has_dense_layers())
    require_divisor("tensor", job.tensor, "columns of the dense layers",
                    job.architecture.dense.intermediate);
  if (job.pipeline > job.architecture.layers)
    refuse(fmt::format("parallelism.pipeline {} exceeds the model's {} layers", job.pipeline,
                       job.architecture.layers));
  if (job.architecture.has_experts() && job.expert * job.expert_tensor % job.tensor != 0)
    refuse(fmt::format("parallelism.tensor {} does not divide the {} GPUs that share the experts",
                       job.tensor, job.expert * job.expert_tensor));
}

/// Elements of MLA's up projection of keys and values on one GPU.
double absorbed_elements(const MemoryJob& job, const workload::AttentionKind& attention) {
  const auto* latent = std::get_if<workload::LatentAttention>(&attention);
  if (latent == nullptr || job.query_key_value.value_or(job.linear) == DataType::bf16) return 0;
  return static_cast<double>(latent->heads * (latent->nope_dim + latent->value_dim) *
                             latent->key_value_rank) /
         static_cast<double>(job.tensor);
}

/// Elements of a layer's shared experts that a cut by tensor ranks leaves to other GPUs, but which
/// the job keeps on every one.
double uncut_elements(const MemoryJob& job, const workload::LayerSpec& layer) {
  const auto* moe = std::get_if<workload::MixtureOfExperts>(&layer.feed_forward);
  if (moe == nullptr || !job.whole_shared_experts) return 0;
  const auto whole = static_cast<double>(moe->shared_experts * job.architecture.hidden *
                                         (moe->up_columns() + moe->intermediate));
  return whole * (1 - 1 / static_cast<double>(job.tensor));
}

/// What one stage holds of the model.
struct StageParameters {
  ParameterCount count;
  double absorbed = 0;
  double into = 0, out = 0;  ///< Of count.low_precision: projections into and out of attention.

  void add_attention(const MemoryJob& job, const workload::AttentionKind& attention);
};

void StageParameters::add_attention(const MemoryJob& job,
                                    const workload::AttentionKind& attention) {
  absorbed += absorbed_elements(job, attention);
  for (const workload::Weight& weight : attention_weights(job.architecture, attention))
    if (weight.kind == workload::WeightKind::linear)
      (weight.name == "o" ? out : into) += weight.elements() * weight.share(job.tensor);
}

StageParameters stage_parameters(const MemoryJob& job, int64_t stage) {
  const workload::Architecture& a = job.architecture;
  const auto [first, end] = workload::stage_layers(a.layers, job.pipeline, stage);
  StageParameters sum;
  for (int64_t layer = first; layer < end; ++layer) {
    sum.count += workload::layer_parameters(a, layer, job.tensor);
    sum.count.low_precision += uncut_elements(job, a.layer(layer));
    sum.add_attention(job, a.layer(layer).attention);
  }
  const bool last = stage + 1 == job.pipeline;
  if (stage == 0) {
    sum.count += workload::embedding_parameters(a, job.tensor);
    if (a.vision) sum.count += workload::count(workload::vision_weights(*a.vision), job.tensor);
  }
  // A tied head is the embedding's own table where both lie on one stage.
  if (last) {
    sum.count += workload::head_parameters(a, job.tensor);
    if (a.tied_embeddings && stage == 0)
      sum.count.high_precision -= workload::head_products(a) / static_cast<double>(job.tensor);
  }
  if (last && job.mtp && a.mtp_modules > 0) {
    ParameterCount mtp = workload::mtp_parameters(a, job.tensor);
    // With stages, the last one embeds what it drafts by a table of its own.
    if (stage > 0) mtp += workload::embedding_parameters(a, job.tensor);
    for (int64_t module = 0; module < a.mtp_modules; ++module) {
      sum.count += mtp;
      sum.count.low_precision += uncut_elements(job, a.mtp_layer());
      sum.add_attention(job, a.mtp_layer().attention);
    }
  }
  return sum;
}

std::vector<MemoryKind> resident_kinds(const MemoryJob& job, int64_t stage) {
  const StageParameters held = stage_parameters(job, stage);
  const double shared_experts =
      held.count.routed / static_cast<double>(job.expert * job.expert_tensor);
  const double copies = job.architecture.has_experts()
                            ? static_cast<double>(job.redundant_experts) /
                                  static_cast<double>(job.architecture.moe.experts)
                            : 0;
  const bool collective =
      job.tensor > 1 || job.pipeline > 1 ||
      (job.exchange == ExchangeBuffers::none && job.expert * job.expert_tensor > 1);
  const double device = static_cast<double>(job.device_memory.value());
  const auto low_precision = [&](double (*bytes)(DataType)) {
    return (held.count.low_precision - held.into - held.out) * bytes(job.linear) +
           held.into * bytes(job.query_key_value.value_or(job.linear)) +
           held.out * bytes(job.output.value_or(job.linear));
  };
  return {
      {"weights", low_precision(payload_bytes)},
      {"experts", shared_experts * payload_bytes(job.experts)},
      {"redundant_experts",
       copies * shared_experts *
           (payload_bytes(job.experts) + core::weight_scale_bytes(job.experts))},
      {"weight_scales", low_precision(core::weight_scale_bytes) +
                            shared_experts * core::weight_scale_bytes(job.experts)},
      {"bf16_weights", held.count.high_precision * kBf16Bytes},
      {"absorbed_projections", held.absorbed * kBf16Bytes},
      {"collective_buffers", collective ? kCollectiveBytes : 0},
      {"cuda_context", kContextBytes},
      {"held_back", device * (1 - job.memory_utilisation)},
  };
}

}  // namespace

int64_t MemoryJob::stage_gpus() const { return std::max(tensor, expert * expert_tensor); }

double MemoryPlan::total() const {
  double sum = 0;
  for (const MemoryKind& k : kinds) sum += k.bytes;
  return sum;
}

double MemoryPlan::of(const std::string& kind) const {
  for (const MemoryKind& k : kinds) {
    if (k.kind == kind) return k.bytes;
  }
  return 0;
}

InferenceMemory::InferenceMemory(MemoryJob job) : job_(std::move(job)) {
  assert(job_.device_memory > core::Bytes{0} && "a device has memory");
  check(job_);
  for (int64_t stage = 0; stage < job_.pipeline; ++stage) {
    stages_.push_back({resident_kinds(job_, stage),
                       workload::KvCache(job_.architecture, {.format = job_.cache,
                                                             .tensor = job_.tensor,
                                                             .block = job_.block,
                                                             .mtp = job_.mtp,
                                                             .pipeline = job_.pipeline,
                                                             .stage = stage}),
                       stage + 1 == job_.pipeline});
  }
}

MemoryPlan InferenceMemory::plan_stage(std::size_t stage, int64_t sequences, double context) const {
  const Stage& held = stages_[stage];
  MemoryPlan plan{.stage = static_cast<int64_t>(stage), .kinds = held.resident};
  // Stages work on different sequences at a time.
  const int64_t together = (sequences + job_.pipeline - 1) / job_.pipeline;
  const IterationMemory iteration = iteration_memory(job_, together, context, held.head);
  plan.kinds.push_back({"activations", iteration.activations});
  plan.kinds.push_back({"workspace", iteration.workspace});
  plan.kinds.push_back({"exchange_buffers", iteration.exchange_buffers});
  plan.kinds.push_back(
      {"kv_cache", static_cast<double>(sequences) * held.cache.paged_bytes(context)});
  return plan;
}

MemoryPlan InferenceMemory::plan(int64_t sequences, double context) const {
  MemoryPlan fullest = plan_stage(0, sequences, context);
  for (std::size_t stage = 1; stage < stages_.size(); ++stage) {
    MemoryPlan other = plan_stage(stage, sequences, context);
    if (other.total() > fullest.total()) fullest = std::move(other);
  }
  return fullest;
}

bool InferenceMemory::fits(int64_t sequences, double context) const {
  return plan(sequences, context).total() <= static_cast<double>(job_.device_memory.value());
}

int64_t InferenceMemory::largest_batch(double context) const {
  if (!fits(1, context)) return 0;
  int64_t most = 1;
  while (fits(2 * most, context)) most *= 2;
  for (int64_t step = most / 2; step > 0; step /= 2) {
    if (fits(most + step, context)) most += step;
  }
  return most;
}

void InferenceMemory::require_fit(int64_t sequences, double context) const {
  const MemoryPlan needed = plan(sequences, context);
  const auto available = static_cast<double>(job_.device_memory.value());
  if (needed.total() <= available) return;
  std::vector<MemoryKind> kinds = needed.kinds;
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const MemoryKind& a, const MemoryKind& b) { return a.bytes > b.bytes; });
  constexpr double kGigabyte = 1e9;
  constexpr double kSmallest = 5e7;  // rounds to 0.1 GB
  std::vector<std::string> parts;
  for (const MemoryKind& k : kinds) {
    if (k.bytes >= kSmallest)
      parts.push_back(fmt::format("{} {:.1f}", k.kind, k.bytes / kGigabyte));
  }
  const int64_t most = largest_batch(context);
  throw core::Refusal(
      core::RefusalKind::does_not_fit,
      fmt::format("{} sequences of {:.0f} tokens need {:.1f} GB of a GPU's {:.1f} GB ({} GB); {}",
                  sequences, context, needed.total() / kGigabyte, available / kGigabyte,
                  fmt::join(parts, ", "),
                  most > 0 ? fmt::format("at most {} fit", most) : "not even one fits"));
}

}  // namespace tessera::serving
