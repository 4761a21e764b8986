#include "sim/app/surveyed_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "sim/app/kernel_cache.hpp"
#include "sim/app/preferred_kernels.hpp"
#include "sim/app/progress.hpp"

namespace tessera::app {
namespace {

/// From which difference on the two fidelities are reported to disagree.
constexpr double kFidelityTolerance = 0.15;
constexpr std::size_t kMaxNamedKernels = 4;

/// Says on which kernels the two fidelities disagree by more than the tolerance.
std::optional<std::string> compare_fidelities(const std::vector<KernelQuery>& asked,
                                              KernelSource& kernels) {
  std::vector<std::pair<double, std::string>> apart;  // signed difference, kernel
  for (const KernelQuery& query : asked) {
    const auto simulated = kernels.timer().find(query);
    if (!simulated) continue;
    const gpu::KernelResult closed =
        kernels.estimates().run(query.op, query.context, query.implementation);
    const double difference = closed.time / simulated->time - 1;
    if (std::abs(difference) > kFidelityTolerance)
      apart.emplace_back(difference, workload::describe(query.op));
  }
  if (apart.empty()) return std::nullopt;
  std::stable_sort(apart.begin(), apart.end(), [](const auto& a, const auto& b) {
    return std::abs(a.first) > std::abs(b.first);
  });
  std::string text = fmt::format(
      "the closed form differs from the cycle model by more than {:.0f} % on {} of {} kernels:",
      100 * kFidelityTolerance, apart.size(), asked.size());
  for (std::size_t i = 0; i < std::min(apart.size(), kMaxNamedKernels); ++i)
    text += fmt::format("{} {} {:+.0f} %", i > 0 ? "," : "", apart[i].second, 100 * apart[i].first);
  return text;
}

std::optional<std::string> run_surveyed(KernelSource& kernels, const RunOptions& options,
                                        const std::function<void(gpu::KernelTimer&)>& model) {
  const auto asked = survey_kernels(
      kernels.timer(), kernels.estimates(), model, [&](const std::vector<KernelQuery>& missing) {
        // The runs of a study have one progress together.
        std::optional<Progress> progress;
        if (options.sources == nullptr) progress.emplace("kernels");
        kernels.timer().run_many(missing, options.jobs, [&](std::size_t done, std::size_t all) {
          if (progress) progress->show(done, all);
        });
      });
  if (asked) return options.check_fidelity ? compare_fidelities(*asked, kernels) : std::nullopt;
  model(kernels.timer());
  return std::nullopt;
}

}  // namespace

std::optional<std::string> run_with_kernels(const Scenario& scenario, KernelSource& kernels,
                                            const RunOptions& options, RunStatistics& statistics,
                                            const std::function<void(gpu::KernelTimer&)>& engine) {
  const auto model = [&](gpu::KernelTimer& timer) {
    PreferringKernelTimer chosen{timer, kernels.library(), scenario.device(), scenario.kernels};
    engine(chosen);
  };
  const KernelStatistics before = kernels.timer().statistics();
  const auto begin = std::chrono::steady_clock::now();
  std::optional<std::string> warning;
  if (options.fidelity == gpu::Fidelity::cycle)
    warning = run_surveyed(kernels, options, model);
  else
    model(kernels.timer());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  const KernelStatistics& after = kernels.timer().statistics();
  statistics.kernels.memory_hits += after.memory_hits - before.memory_hits;
  statistics.kernels.disk_hits += after.disk_hits - before.disk_hits;
  statistics.kernels.simulated += after.simulated - before.simulated;
  statistics.kernels.events += after.events - before.events;
  statistics.kernels.workers_memory =
      std::max(statistics.kernels.workers_memory, after.workers_memory);
  const double kernel_seconds = after.wall_seconds - before.wall_seconds;
  statistics.kernels.wall_seconds += kernel_seconds;
  statistics.pipeline_seconds += elapsed.count() - kernel_seconds;
  return warning;
}

}  // namespace tessera::app
