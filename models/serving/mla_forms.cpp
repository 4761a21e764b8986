#include "models/serving/mla_forms.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using core::Time;
using std::int64_t;

void require_dense_latent(const workload::Architecture& architecture) {
  const auto* latent = std::get_if<workload::LatentAttention>(&architecture.attention);
  if (latent == nullptr)
    throw core::Refusal(
        core::RefusalKind::outside_model,
        fmt::format("{} has no latent to absorb projections for", architecture.name));
  if (latent->sparse)
    throw core::Refusal(
        core::RefusalKind::outside_model,
        fmt::format("{} attends to chosen latents, which are never expanded", architecture.name));
}

Time time_of(const workload::Steps& steps, gpu::KernelTimer& kernels) {
  Time sum{};
  for (const workload::Step& step : steps) {
    if (const workload::Work* work = step.work()) sum += kernels.run(work->op, {}).time;
  }
  return sum;
}

Time form_time(const FormQuestion& question, int64_t queries, bool absorbed,
               gpu::KernelTimer& kernels) {
  workload::InferenceLowering::Job job{
      .architecture = question.architecture,
      .precision = question.precision,
      .split = {.tensor = question.tensor, .path = workload::ExpertPath::replicated}};
  job.split.expert_tensor = job.architecture.has_experts() ? question.tensor : 1;
  job.pass = {.absorbed = absorbed,
              .sequences = question.sequences,
              .queries = queries,
              .context = question.context};
  job.expert_rows.assign(static_cast<std::size_t>(job.architecture.moe.experts), 1);
  const workload::ForwardPart layer = workload::InferenceLowering(std::move(job)).layer(0);
  return time_of(layer.project, kernels) + time_of(layer.attend, kernels);
}

bool expanding_wins(const FormQuestion& question, int64_t queries, gpu::KernelTimer& kernels) {
  const FormTimes times = form_times(question, queries, kernels);
  return times.expanded < times.absorbed;
}

}  // namespace

FormTimes form_times(const FormQuestion& question, int64_t queries, gpu::KernelTimer& kernels) {
  require_dense_latent(question.architecture);
  return {form_time(question, queries, true, kernels),
          form_time(question, queries, false, kernels)};
}

std::optional<int64_t> expanding_wins_from(const FormQuestion& question,
                                           gpu::KernelTimer& kernels) {
  constexpr int64_t kResolution = 16;  // parts of the answer
  int64_t below = 0, above = 1;
  while (!expanding_wins(question, std::min(above, question.context), kernels)) {
    if (above >= question.context) return std::nullopt;
    below = above;
    above *= 2;
  }
  above = std::min(above, question.context);
  while (above - below > std::max<int64_t>(1, above / kResolution)) {
    const int64_t middle = (below + above) / 2;
    (expanding_wins(question, middle, kernels) ? above : below) = middle;
  }
  return above;
}

}  // namespace tessera::serving
