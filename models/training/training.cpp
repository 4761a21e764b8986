#include "models/training/training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "models/training/assumptions.hpp"
#include "models/training/memory.hpp"
#include "models/training/report_rows.hpp"
#include "models/training/step_model.hpp"
#include "models/workload/parameters.hpp"

namespace tessera::training {
namespace {

constexpr double kSecondsPerHour = 3600;

double seconds(core::Time time) { return core::to_seconds(time).value(); }

/// Quantities that users compare with published ones, under the names that scenarios use.
class QuantityWriter {
 public:
  QuantityWriter(const TrainingJob& job, const StepModel& model, const StepEnsemble& ensemble,
                 core::Result& result)
      : job_(job), model_(model), ensemble_(ensemble), result_(result) {}

  core::Estimate write() {
    const double tokens = static_cast<double>(job_.sequences * job_.sequence_length);
    const auto step = [](const StepRun& run) { return seconds(run.step); };
    const core::Estimate step_time = add("step_time", "s", step);
    add("tokens_per_second_per_gpu", "tokens/s",
        [&](const StepRun& run) { return tokens / step(run) / job_.gpus; });
    add("tokens_per_day", "tokens/d",
        [&](const StepRun& run) { return tokens / step(run) * 24 * kSecondsPerHour; });
    write_utilisation(tokens);
    if (job_.tokens > 0) {
      add("gpu_hours", "GPU-h", [&](const StepRun& run) {
        return job_.tokens / tokens * step(run) * job_.gpus / kSecondsPerHour;
      });
    }
    add("bubble_fraction", "1", [&](const StepRun& run) {
      double bubble = 0;
      for (const PhaseTimes& rank : run.phases) bubble += seconds(rank.bubble);
      return bubble / static_cast<double>(run.phases.size()) / step(run);
    });
    if (job_.architecture.has_experts()) {
      constant("routing_skew", model_.load().skew);
      constant("ranks_per_token", model_.load().ranks_per_token);
      constant("nodes_per_token", model_.load().nodes_per_token);
    }
    return step_time;
  }

 private:
  core::Estimate add(const std::string& name, const std::string& unit,
                     const std::function<double(const StepRun&)>& of) {
    result_.quantities.emplace_back(name, ensemble_.estimate(of, unit));
    return result_.quantities.back().second;
  }
  void constant(const std::string& name, double value) {
    result_.quantities.emplace_back(name,
                                    core::Estimate{value, value, value, "1", core::Grade::assumed});
  }
  /// Model FLOPs per GPU and second, and their part of the peaks at the quoted clock.
  void write_utilisation(double tokens) {
    const double bf16 = job_.device.peak(core::DataType::bf16).value();
    for (const bool causal : {true, false}) {
      const double flops =
          tokens *
          workload::training_flops_per_token(job_.architecture, job_.sequence_length, causal) /
          job_.gpus;
      const char* suffix = causal ? "causal" : "non_causal";
      add(fmt::format("flops_per_second_per_gpu_{}", suffix), "FLOP/s",
          [&](const StepRun& run) { return flops / seconds(run.step); });
      add(fmt::format("mfu_bf16_{}", suffix), "1",
          [&](const StepRun& run) { return flops / seconds(run.step) / bf16; });
      if (job_.precision.linear == core::DataType::bf16) continue;
      const double peak = job_.device.peak(job_.precision.linear).value();
      add(fmt::format("mfu_{}_{}", core::to_string(job_.precision.linear), suffix), "1",
          [&](const StepRun& run) { return flops / seconds(run.step) / peak; });
    }
  }

  const TrainingJob& job_;
  const StepModel& model_;
  const StepEnsemble& ensemble_;
  core::Result& result_;
};

/// Which hardware limit the busiest rank's kernels spend their time on.
void note_contention(const TrainingJob& job, StepModel& model, int rank, const StepRun& run,
                     core::Result& result) {
  core::Time stretched{};
  for (const Instruction& i : model.layout().program(rank)) {
    stretched += model.chunk(i, {}).stretched;
  }
  const double share = seconds(stretched) / seconds(run.step);
  constexpr double kWorthTelling = 0.05;
  if (share > kWorthTelling) {
    result.warnings.push_back(fmt::format(
        "Computation and exchanges together ask for more HBM bandwidth than {} reaches: this "
        "stretches the busiest rank's step by {:.1f} %.",
        job.device.name, 100 * share));
  }
}

}  // namespace

std::vector<core::MemoryRow> training_memory(const TrainingJob& job) {
  const Layout layout(job);
  const workload::RoutedLoad load = route_job(job);
  return memory_rows(job, plan_memory(job, layout, lower_stages(job, layout, load), load));
}

TrainingResult simulate_training(const TrainingJob& job, gpu::KernelTimer& kernels,
                                 NetworkTimer& network) {
  StepModel model(job, kernels, network);
  const std::vector<RankMemory> memory =
      plan_memory(job, model.layout(), model.stages(), model.load());
  if (job.must_fit) require_fit(job, memory);
  const StepEnsemble ensemble = run_ensemble(model);
  const StepRun& run = ensemble.nominal;
  const int rank = busiest_rank(run);

  TrainingResult training;
  core::Result& result = training.result;
  result.job = "training";
  training.step = QuantityWriter(job, model, ensemble, result).write();
  training.joules_per_gpu_step = joules_per_gpu(model, run, job.device.power.idle);
  result.phases = phase_rows(ensemble);
  result.memory = memory_rows(job, memory);
  result.memory_formats = memory_format_rows(memory);
  result.kernels = kernel_rows(model, rank, job.device.sm.count);
  result.network = network_rows(model, run, rank);
  result.assumptions = assumptions(job, model);
  note_contention(job, model, rank, run, result);
  result.timeline = step_timeline(model, run);
  for (const auto& [key, cost] : model.costs().kernels()) {
    ++training.kernels;
    training.kernel_events += cost.result.events;
  }
  training.pipeline_events = run.pipeline.events;
  return training;
}

}  // namespace tessera::training
