#include "models/serving/iteration_model.hpp"

#include <algorithm>
#include <cmath>

namespace tessera::serving {
namespace {

using core::Time;
using streams::Lane;

/// Kernels' time by group, transfers' as far as nothing computed.
void add_stretches(const IterationPlan& plan, const streams::ChunkRun& run,
                   std::map<std::string, Time>& stretches) {
  for (std::size_t i = 0; i < plan.chunk.nodes.size(); ++i) {
    const bool kernel = plan.chunk.nodes[i].lane == Lane::compute;
    const auto& [start, end] = run.spans[i];
    stretches[plan.groups[i]] += kernel ? end - start : run.exposed[i];
  }
}

double stored_bytes(std::int64_t n, std::int64_t k, core::DataType type) {
  return static_cast<double>(n) * static_cast<double>(k) *
         (core::weight_bits(type) / 8.0 + core::weight_scale_bytes(type));
}

double weights_of(const workload::Operator& op) {
  if (const auto* gemm = std::get_if<workload::Gemm>(&op))
    return static_cast<double>(gemm->batch) * stored_bytes(gemm->n, gemm->k, gemm->type);
  const auto* grouped = std::get_if<workload::GroupedGemm>(&op);
  if (!grouped) return 0;
  const auto hit = std::count_if(grouped->sizes.begin(), grouped->sizes.end(),
                                 [](std::int64_t rows) { return rows > 0; });
  return static_cast<double>(hit) * stored_bytes(grouped->n, grouped->fixed, grouped->type);
}

}  // namespace

double weight_bytes(const IterationModel& model) {
  double bytes = 0;
  for (const IterationPlan& plan : model.plans())
    for (const streams::Node& node : plan.chunk.nodes)
      if (node.kernel) bytes += weights_of(node.kernel->op);
  return bytes;
}

IterationModel::IterationModel(const InferenceJob& job, gpu::KernelTimer& kernels,
                               streams::NetworkTimer& network)
    : job_(job), costs_(job, kernels, network) {
  PassLoads loads(job);
  for (const workload::ForwardPass& pass : passes_of(job))
    plans_.push_back(plan_iteration(job, pass, costs_, loads));
}

IterationRun IterationModel::run(const streams::Variation& variation) const {
  const core::BytesPerSecond hbm{job_.device.hbm.peak_rate.value() * job_.device.hbm.reachable};
  IterationRun run;
  for (const IterationPlan& plan : plans_) {
    run.chunks.push_back(streams::run_chunk(plan.chunk, hbm, variation, job_.device.sm.count));
    add_stretches(plan, run.chunks.back(), run.stretches);
    const Time gpu = run.chunks.back().duration;
    const Time host = job_.eager ? std::max(Time{}, job_.host_overhead - gpu) : job_.host_overhead;
    run.time += gpu + host;
    run.host += host;
  }
  if (run.host > Time{}) run.stretches["host"] += run.host;
  return run;
}

IterationEnsemble run_ensemble(const IterationModel& model) {
  IterationEnsemble ensemble = streams::vary<IterationRun>(
      [&](const streams::Variation& variation) { return model.run(variation); });
  if (model.unexplained() > 0)
    for (const double sign : {-1.0, 1.0}) {
      ensemble.varied.push_back(ensemble.nominal);
      core::Time& time = ensemble.varied.back().time;
      time = core::Time{
          std::llround(std::exp(sign * model.unexplained()) * static_cast<double>(time.value()))};
    }
  ensemble.grade = model.costs().worst_grade();
  return ensemble;
}

}  // namespace tessera::serving
