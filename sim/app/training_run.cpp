#include "sim/app/training_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>

#include "models/device/fit_file.hpp"
#include "models/kernels/implementation_library.hpp"
#include "models/training/step_model.hpp"
#include "sim/app/fabric_network.hpp"
#include "sim/app/inference_run.hpp"
#include "sim/app/result_parts.hpp"
#include "sim/app/sensitivity.hpp"
#include "sim/app/surveyed_run.hpp"
#include "sim/core/config.hpp"
#include "sim/core/data_root.hpp"
#include "sim/core/sha256.hpp"

namespace tessera::app {
namespace {

using core::Estimate;

/// The device's fit, its generation's, or none.
device::FitSet fits_for(const device::DeviceSpec& device) {
  const auto known = core::names_in(device::kFitFolder);
  const auto has = [&](const std::string& name) {
    return std::find(known.begin(), known.end(), name) != known.end();
  };
  if (has(device.name) || has(device::to_string(device.generation)))
    return device::load_fit_for(device);
  return {.name = "none", .hash = "", .parameters = {}};
}

/// Hash over the kernel implementation files, whose text decides what a kernel does.
std::string kernel_files_hash() {
  std::string text;
  for (const std::string& name : core::names_in("hw_configs/kernels")) {
    const auto path = core::data_root() / "hw_configs" / "kernels" / (name + ".yaml");
    const std::string content = core::read_text_file({path, name});
    text += fmt::format("{} {}\n{}", name, content.size(), content);
  }
  return core::sha256(text);
}

TimerIdentity identity(const device::DeviceSpec& device, const device::FitSet& fits,
                       gpu::Fidelity fidelity) {
  return {key_text(device), fits.hash, kernel_files_hash(), fidelity, gpu::kModelVersion};
}

void add_bill(core::Result& result, const Scenario& scenario,
              const training::TrainingResult& trained) {
  // Power follows from the same kernels as time, so its relative error is taken to be the step's.
  const double joules = trained.joules_per_gpu_step;
  const Estimate& step = trained.step;
  reports::RunFigures run;
  run.step = step;
  run.joules_per_gpu = {joules, joules * step.lower / step.value, joules * step.upper / step.value,
                        "J", core::worst(step.grade, core::Grade::transferred)};
  run.tokens_per_step =
      static_cast<double>(scenario.training().sequences * scenario.training().sequence_length);
  run.tokens = scenario.training().tokens;
  run.gpus = scenario.training().gpus;
  std::erase_if(result.quantities, [](const auto& row) { return row.first == "gpu_hours"; });
  reports::add_cost(result, run, scenario.cost, scenario.cluster);
}

/// What happens beyond one step: outer steps across sites, or weeks with failures.
void add_weeks(core::Result& result, const Scenario& scenario, const Estimate& step) {
  const training::TrainingJob& job = scenario.training();
  if (scenario.sites) training::add_outer_steps(result, *scenario.sites, job, step);
  const double tokens = static_cast<double>(job.sequences * job.sequence_length);
  if (scenario.reliability)
    training::add_goodput(result, *scenario.reliability, {job.tokens / tokens, step, job.gpus});
}

}  // namespace

KernelSource::KernelSource(const device::DeviceSpec& device, const RunOptions& options)
    : fits_(fits_for(device)),
      library_(kernels::ImplementationLibrary::load()),
      gpu_(device, fits_, library_, options.fidelity),
      estimates_(device, fits_, library_, gpu::Fidelity::analytical),
      // The closed form takes microseconds a kernel, less than looking it up on disk.
      timer_(gpu_, options.fidelity == gpu::Fidelity::cycle ? options.cache : nullptr,
             identity(device, fits_, options.fidelity)) {}

KernelSource& KernelSources::of(const device::DeviceSpec& device, const RunOptions& options) {
  std::unique_ptr<KernelSource>& source = sources_[{key_text(device), options.fidelity}];
  if (!source) source = std::make_unique<KernelSource>(device, options);
  return *source;
}

training::TrainingResult simulate(const Scenario& scenario, KernelSource& kernels,
                                  streams::NetworkTimer& network, const RunOptions& options,
                                  RunStatistics& statistics) {
  training::TrainingResult trained;
  const auto warning =
      run_with_kernels(scenario, kernels, options, statistics, [&](gpu::KernelTimer& timer) {
        trained = training::simulate_training(scenario.training(), timer, network);
      });
  if (warning) trained.result.warnings.push_back(*warning);
  statistics.pipeline_events += trained.pipeline_events;
  return trained;
}

core::Result run_scenario(const Scenario& scenario, const RunOptions& options,
                          RunStatistics& statistics) {
  KernelSources own;
  KernelSource& kernels = (options.sources ? *options.sources : own).of(scenario.device(), options);
  if (!scenario.trains()) return run_inference(scenario, kernels, options, statistics);
  const core::Result head = result_head(scenario, kernels.fits());
  try {
    FabricNetworkTimer network{scenario.cluster, scenario.training().architecture.moe,
                               scenario.training().routing,
                               options.unfold ? fabric::Folding::none : fabric::Folding::automatic};
    training::TrainingResult trained = simulate(scenario, kernels, network, options, statistics);
    core::Result result = std::move(trained.result);
    add_head(result, head);
    add_run_notes(result, scenario, kernels, network);
    if (scenario.training().architecture.has_experts())
      add_routing(result, scenario.training().architecture, scenario.training().routing,
                  training::route_job(scenario.training()));
    add_bill(result, scenario, trained);
    add_weeks(result, scenario, trained.step);
    add_published(result, scenario);
    if (options.sensitivity)
      add_sensitivity(result, scenario, kernels, network, options, statistics);
    return result;
  } catch (const core::Refusal& refusal) {
    core::Result refused = head;
    refused.refused = fmt::format("{}: {}", core::to_string(refusal.kind()), refusal.what());
    if (refusal.kind() == core::RefusalKind::does_not_fit)
      refused.memory = training::training_memory(scenario.training());
    return refused;
  }
}

}  // namespace tessera::app
