#include "models/serving/smallest_group.hpp"

#include <algorithm>
#include <numeric>

namespace tessera::serving {
namespace {

using std::int64_t;

constexpr int64_t kMostGpus = 2048;

bool divides_heads(const workload::Architecture& a, int64_t tensor) {
  if (a.heads() % tensor != 0) return false;
  const auto* g = std::get_if<workload::GroupedQueryAttention>(&a.attention);
  return g == nullptr || g->kv_heads % tensor == 0 || tensor % g->kv_heads == 0;
}

/// Degrees that leave every rank heads of its own.
bool splits_heads(const workload::Architecture& a, int64_t tensor) {
  const auto* g = std::get_if<workload::GroupedQueryAttention>(&a.attention);
  if (g == nullptr) return tensor == 1;
  return g->kv_heads % tensor == 0 && (!a.has_dense_layers() || a.dense.intermediate % tensor == 0);
}

std::vector<MemoryJob> cut_experts(MemoryJob job, int64_t gpus, int64_t domain) {
  const int64_t experts = job.architecture.moe.experts + job.redundant_experts;
  job.expert = std::gcd(gpus, experts);
  job.expert_tensor = gpus / job.expert;
  if (job.architecture.moe.intermediate % job.expert_tensor != 0) return {};
  job.exchange = gpus > 1 ? ExchangeBuffers::deepep_low_latency : ExchangeBuffers::none;
  job.whole_shared_experts = gpus > 1;
  std::vector<MemoryJob> cuts;
  for (job.tensor = 1; job.tensor <= std::min(gpus, domain); job.tensor *= 2) {
    if (splits_heads(job.architecture, job.tensor)) cuts.push_back(job);
  }
  return cuts;
}

}  // namespace

std::vector<MemoryJob> cuts_over(const MemoryJob& job, int64_t gpus, int64_t domain) {
  if (job.architecture.has_experts()) return cut_experts(job, gpus, domain);
  MemoryJob cut = job;
  cut.tensor = std::min(gpus, domain);
  while (cut.tensor > 1 &&
         (!divides_heads(job.architecture, cut.tensor) ||
          job.architecture.dense.intermediate % cut.tensor != 0 || gpus % cut.tensor != 0))
    --cut.tensor;
  cut.pipeline = gpus / cut.tensor;
  if (cut.pipeline > job.architecture.layers) return {};
  return {std::move(cut)};
}

std::optional<MemoryJob> fitting_cut(const MemoryJob& job, int64_t gpus, double context,
                                     int64_t domain) {
  for (MemoryJob& cut : cuts_over(job, gpus, domain)) {
    if (InferenceMemory(cut).largest_batch(context) > 0) return std::move(cut);
  }
  return std::nullopt;
}

std::optional<MemoryJob> smallest_group(const MemoryJob& job, double context, int64_t domain) {
  for (int64_t gpus = 1; gpus <= kMostGpus; gpus *= 2) {
    if (auto cut = fitting_cut(job, gpus, context, domain)) return cut;
  }
  return std::nullopt;
}

}  // namespace tessera::serving
