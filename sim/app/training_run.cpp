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
#include "sim/app/preferred_kernels.hpp"
#include "sim/app/progress.hpp"
#include "sim/app/sensitivity.hpp"
#include "sim/core/config.hpp"
#include "sim/core/data_root.hpp"
#include "sim/core/sha256.hpp"

namespace tessera::app {
namespace {

using core::Estimate;

/// Estimates that stand in for missing kernels can lead a model to ask for others, rarely twice.
constexpr int kMaxSurveys = 3;
/// From which difference on the two fidelities are reported to disagree.
constexpr double kFidelityTolerance = 0.15;
constexpr std::size_t kMaxNamedKernels = 4;

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

/// The predicted figure that a published one is about: a quantity, or a phase's mean over ranks.
std::optional<double> predicted(const core::Result& result, const std::string& quantity) {
  if (const Estimate* estimate = result.find(quantity)) return estimate->value;
  double total = 0;
  int ranks = 0;
  for (const core::PhaseRow& row : result.phases) {
    if (row.phase != quantity || row.rank == "all") continue;
    total += row.time.value;
    ++ranks;
  }
  if (ranks == 0) return std::nullopt;
  return total / ranks;
}

void add_published(core::Result& result, const Scenario& scenario) {
  for (core::PublishedRow row : scenario.published) {
    row.predicted = predicted(result, row.quantity);
    if (!row.predicted)
      result.warnings.push_back(
          fmt::format("published {} has no prediction beside it", row.quantity));
    result.published.push_back(std::move(row));
  }
}

core::MachineRow machine_row(const device::ClusterSpec& cluster) {
  const device::DeviceSpec& device = cluster.node.device;
  core::MachineRow row;
  row.cluster = cluster.name;
  row.device = device.name;
  row.gpus = cluster.gpus();
  for (const auto& [type, flops] : device.sm.tensor_flops)
    row.peak_flops.emplace_back(core::to_string(type), device.peak(type).value());
  row.hbm_rate = device.hbm.peak_rate.value();
  row.hbm_bytes = static_cast<double>(device.hbm.size.value());
  return row;
}

/// "hopper 6a3c514c1a8f": a fit with the part of its hash that tells it from another.
std::string fit_text(const std::string& name, const std::string& hash) {
  constexpr std::size_t kShownDigits = 12;
  return hash.empty() ? name : fmt::format("{} {}", name, hash.substr(0, kShownDigits));
}

core::Result headed(const Scenario& scenario, const device::FitSet& fits) {
  const fabric::FabricParameters fabric = fabric::load_parameters(scenario.job.device);
  core::Result result;
  result.job = "training";
  result.title = scenario.title;
  result.tessera_version = TESSERA_VERSION;
  result.fits = fit_text(fits.name, fits.hash) + ", " + fit_text(fabric.fit_name, fabric.fit_hash);
  result.scenario_json = scenario.resolved;
  result.machine = machine_row(scenario.cluster);
  return result;
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
  run.tokens_per_step = static_cast<double>(scenario.job.sequences * scenario.job.sequence_length);
  run.tokens = scenario.job.tokens;
  run.gpus = scenario.job.gpus;
  std::erase_if(result.quantities, [](const auto& row) { return row.first == "gpu_hours"; });
  reports::add_cost(result, run, scenario.cost, scenario.cluster);
}

/// What happens beyond one step: outer steps across sites, or weeks with failures.
void add_weeks(core::Result& result, const Scenario& scenario, const Estimate& step) {
  const training::TrainingJob& job = scenario.job;
  if (scenario.sites) training::add_outer_steps(result, *scenario.sites, job, step);
  const double tokens = static_cast<double>(job.sequences * job.sequence_length);
  if (scenario.reliability)
    training::add_goodput(result, *scenario.reliability, {job.tokens / tokens, step, job.gpus});
}

/// What routing sends to each expert of the job's mixture.
void add_routing(core::Result& result, const training::TrainingJob& job) {
  if (job.architecture.moe.experts == 0) return;
  const workload::RoutedLoad load = training::route_job(job);
  const double total =
      static_cast<double>(std::accumulate(load.rows.begin(), load.rows.end(), std::int64_t{0}));
  const double mean = total / static_cast<double>(load.rows.size());
  for (std::size_t expert = 0; expert < load.rows.size(); ++expert)
    result.routing.push_back(
        {static_cast<int>(expert),
         static_cast<int>(static_cast<std::int64_t>(expert) / load.experts_per_rank),
         static_cast<double>(load.rows[expert]) / mean});
}

/// Says on which kernels the two fidelities disagree by more than the tolerance.
void compare_fidelities(core::Result& result, const SurveyKernelTimer& survey,
                        KernelSource& kernels) {
  std::vector<std::pair<double, std::string>> apart;  // signed difference, kernel
  for (const KernelQuery& query : survey.asked()) {
    const auto simulated = kernels.timer().find(query);
    if (!simulated) continue;
    const gpu::KernelResult closed =
        kernels.estimates().run(query.op, query.context, query.implementation);
    const double difference = closed.time / simulated->time - 1;
    if (std::abs(difference) > kFidelityTolerance)
      apart.emplace_back(difference, workload::describe(query.op));
  }
  if (apart.empty()) return;
  std::stable_sort(apart.begin(), apart.end(), [](const auto& a, const auto& b) {
    return std::abs(a.first) > std::abs(b.first);
  });
  std::string text = fmt::format(
      "the closed form differs from the cycle model by more than {:.0f} % on {} of {} kernels:",
      100 * kFidelityTolerance, apart.size(), survey.asked().size());
  for (std::size_t i = 0; i < std::min(apart.size(), kMaxNamedKernels); ++i)
    text += fmt::format("{} {} {:+.0f} %", i > 0 ? "," : "", apart[i].second, 100 * apart[i].first);
  result.warnings.push_back(std::move(text));
}

training::TrainingResult simulate_known(const Scenario& scenario, KernelSource& kernels,
                                        streams::NetworkTimer& network) {
  PreferringKernelTimer chosen{kernels.timer(), kernels.library(), scenario.job.device,
                               scenario.kernels};
  return training::simulate_training(scenario.job, chosen, network);
}

training::TrainingResult simulate_surveyed(const Scenario& scenario, KernelSource& kernels,
                                           const RunOptions& options,
                                           streams::NetworkTimer& network) {
  for (int pass = 0; pass < kMaxSurveys; ++pass) {
    SurveyKernelTimer survey{kernels.timer(), kernels.estimates()};
    PreferringKernelTimer chosen{survey, kernels.library(), scenario.job.device, scenario.kernels};
    training::TrainingResult trained = training::simulate_training(scenario.job, chosen, network);
    if (survey.missing().empty()) {
      if (options.check_fidelity) compare_fidelities(trained.result, survey, kernels);
      return trained;
    }
    Progress progress{"kernels"};
    kernels.timer().run_many(survey.missing(), options.jobs,
                             [&](std::size_t done, std::size_t all) { progress.show(done, all); });
  }
  return simulate_known(scenario, kernels, network);
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
  const KernelStatistics before = kernels.timer().statistics();
  const auto begin = std::chrono::steady_clock::now();
  training::TrainingResult trained = options.fidelity == gpu::Fidelity::cycle
                                         ? simulate_surveyed(scenario, kernels, options, network)
                                         : simulate_known(scenario, kernels, network);
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
  statistics.pipeline_events += trained.pipeline_events;
  statistics.pipeline_seconds += elapsed.count() - kernel_seconds;
  return trained;
}

core::Result run_scenario(const Scenario& scenario, const RunOptions& options,
                          RunStatistics& statistics) {
  KernelSources own;
  KernelSource& kernels =
      (options.sources ? *options.sources : own).of(scenario.job.device, options);
  core::Result head = headed(scenario, kernels.fits());
  try {
    FabricNetworkTimer network{scenario.cluster, scenario.job,
                               options.unfold ? fabric::Folding::none : fabric::Folding::automatic};
    training::TrainingResult trained = simulate(scenario, kernels, network, options, statistics);
    core::Result result = std::move(trained.result);
    result.job = head.job;
    result.title = head.title;
    result.tessera_version = head.tessera_version;
    result.fits = head.fits;
    result.scenario_json = head.scenario_json;
    result.machine = head.machine;
    for (std::string& note : kernel_notes(kernels.library(), scenario.job.device, scenario.kernels))
      result.assumptions.push_back(std::move(note));
    if (std::string note = network.folding_note(); !note.empty())
      result.assumptions.push_back(std::move(note));
    add_routing(result, scenario.job);
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
      refused.memory = training::training_memory(scenario.job);
    return refused;
  }
}

}  // namespace tessera::app
