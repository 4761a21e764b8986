#include "models/gpu/gpu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <stdexcept>

#include "models/gpu/analytical.hpp"
#include "models/gpu/counters.hpp"
#include "models/gpu/power.hpp"
#include "models/gpu/tile_engine.hpp"
#include "models/kernels/flash_attention.hpp"
#include "models/kernels/launch.hpp"
#include "models/kernels/mla_decode.hpp"

namespace tessera::gpu {
namespace {

/// Launches that the closed form ranks best and that are then simulated: few when long, since the
/// closed form ranks long launches well, more when short.
constexpr std::size_t kLongCandidates = 2;
constexpr std::size_t kShortCandidates = 6;
constexpr double kShortCycles = 50'000;
constexpr double kLongCycles = 600'000;  ///< From here on the best ranked one is simulated alone.
/// Half-width of the 90 % interval of a kernel that no fit describes. Source: the same experiment's
/// quantised GEMMs, whose kernels the sources' fits do not tell: p90 of |log error| 0.25 to 1.1,
/// 0.5 in the middle.
constexpr double kUnfittedHalfWidth = 0.65;
/// From a free slot to the first instruction of the next CTA. Kernels' prologues absorb what is
/// wrong with it: no fit tells them apart. CTAs shorter than 5 us lose 5 to 10 % to dispatch on
/// B300 (QuickRunCUDA b300_clean).
constexpr double kCtaLaunchCycles = 300;  // assumed

/// Bytes per cycle from L2 into one SM. Ampere and what follows its load path: 64, the width of
/// slice and port (public A100 microbenchmarks). TMA: 127 were seen on B300, from whatever source
/// (QuickRunCUDA b300_clean 30_tma_sizes); 100 is assumed for what a loop of boxes reaches.
double sm_port_prior(device::Generation generation) {
  return generation == device::Generation::hopper || generation == device::Generation::blackwell
             ? 100.0
             : 64.0;
}

core::DataType tensor_type(const workload::Operator& op) {
  if (const auto* gemm = std::get_if<workload::Gemm>(&op)) return gemm->type;
  if (const auto* grouped = std::get_if<workload::GroupedGemm>(&op)) return grouped->type;
  if (const auto* attention = std::get_if<workload::Attention>(&op)) return attention->type;
  if (const auto* latent = std::get_if<workload::AbsorbedAttention>(&op)) return latent->type;
  if (const auto* scores = std::get_if<workload::IndexScores>(&op)) return scores->type;
  return core::DataType::bf16;
}

/// `machine` as `implementation` reaches it: one that reads memory in long runs may get more out of
/// HBM than the device's own figure, its parameter `hbm_reachable` of the peak rate.
Machine as_reached(Machine machine, const kernels::Implementation& implementation,
                   const device::DeviceSpec& device) {
  const auto own = implementation.parameters.find("hbm_reachable");
  if (own != implementation.parameters.end())
    machine.hbm_bytes *= own->second / device.hbm.reachable;
  return machine;
}

/// Part of the SMs that hold CTAs of a launch: their schedulers, caches and polling warps draw
/// power whatever they compute.
double occupied_sms(const Machine& machine, const kernels::LaunchPlan& plan) {
  const double ctas = static_cast<double>(plan.tiles) * plan.cluster;
  return std::min(1.0, ctas / std::max(1, machine.sms));
}

}  // namespace

struct Gpu::Launch {
  const kernels::TileKernel* kernel = nullptr;
  std::uint64_t events = 0;
};

/// What the launches of one operator come to at the boost clock.
struct Gpu::Simulation {
  workload::Operator op;
  ExecutionContext context;  ///< As simulated.
  std::string asked;         ///< The implementation asked for; empty: the device's choice.
  Machine machine;
  std::string implementation;
  kernels::LaunchPlan plan;  ///< Of the main launch.
  LaunchTotals totals;       ///< Of all launches.
  double launches = 1;
  std::uint64_t events = 0;
};

Gpu::Gpu(device::DeviceSpec device, device::FitSet fits, kernels::ImplementationLibrary library,
         Fidelity fidelity)
    : device_(std::move(device)),
      fits_(std::move(fits)),
      library_(std::move(library)),
      fidelity_(fidelity),
      launch_us_(1.0),     // assumed; B300 graph nodes take 0.6 to 0.8 us each (QuickRunCUDA)
      l2_reachable_(0.8),  // assumed
      l2_capacity_(0.7),   // assumed: part of L2 that reused data can occupy
      l2_merged_(0.5),     // assumed
      l2_dirty_(0.15),     // assumed: part of L2 that written data can occupy before it leaves
      // assumed: the bus turns round between reads and writes
      hbm_write_reachable_(0.8 * device_.hbm.reachable),
      sm_port_bytes_(sm_port_prior(device_.generation)),
      tensor_scale_(1.05),  // assumed
      power_burst_(1.3),    // assumed
      power_active_w_(0) {  // where nothing was fitted, energies of operations hold it
  apply(fits_);
}

void Gpu::apply(const device::FitSet& fits) {
  const std::map<std::string, double*> known = {
      {"launch_us", &launch_us_},
      {"l2.reachable", &l2_reachable_},
      {"l2.capacity", &l2_capacity_},
      {"l2.merged", &l2_merged_},
      {"l2.dirty", &l2_dirty_},
      {"hbm.write_reachable", &hbm_write_reachable_},
      {"sm_port_bytes", &sm_port_bytes_},
      {"tensor_scale", &tensor_scale_},
      {"power.burst", &power_burst_},
      {"power.active_w", &power_active_w_},
      {"hbm.reachable", &device_.hbm.reachable},
  };
  std::vector<kernels::Implementation> implementations = library_.all();
  for (const auto& [name, parameter] : fits.parameters) {
    if (const auto found = known.find(name); found != known.end()) {
      *found->second = parameter.value;
    } else if (name == "hbm.latency_cycles") {
      device_.hbm.latency = core::Cycles<core::SmClock>{parameter.value};
    } else if (name == "l2.latency_cycles") {
      device_.l2.near_latency = device_.l2.far_latency =
          core::Cycles<core::SmClock>{parameter.value};
    } else if (name == "power.idle_w") {
      device_.power.idle = core::Watts{parameter.value};
    } else if (name == "power.tensor_energy") {
      for (auto& [type, energy] : device_.power.tensor_pj_per_flop) energy *= parameter.value;
    } else if (!name.starts_with("residual.") && !name.starts_with("harness.") &&
               !kernels::apply_cost(implementations, name, parameter.value)) {
      throw std::invalid_argument(
          fmt::format("fit '{}' has a parameter '{}' that nothing reads", fits.name, name));
    }
  }
  library_ = kernels::ImplementationLibrary{std::move(implementations)};
}

Machine Gpu::machine(const ExecutionContext& context) const {
  Machine m;
  m.gpc_sizes = give_sms(device_.sm.gpc_sizes, context.sms);
  for (const int size : m.gpc_sizes) m.sms += size;
  m.clock = device_.clock.boost;
  m.sm_port_bytes = sm_port_bytes_;
  m.l2_bytes = device_.l2.bytes_per_cycle * l2_reachable_ * context.l2_share *
               (device_.clock.memory / device_.clock.boost);
  m.hbm_bytes = device_.hbm.peak_rate.value() * device_.hbm.reachable * context.hbm_share /
                device_.clock.boost.value();
  m.l2_merged = l2_merged_;
  m.l2_dirty = static_cast<double>(device_.l2.size.value()) * l2_dirty_;
  m.hbm_write_bytes = m.hbm_bytes * hbm_write_reachable_ / device_.hbm.reachable;
  m.l2_latency =
      static_cast<double>((device_.l2.near_latency + device_.l2.far_latency).value()) / 2;
  m.hbm_latency = static_cast<double>(device_.hbm.latency.value());
  m.l2_capacity = l2_capacity();
  m.cta_launch_cycles = kCtaLaunchCycles;
  m.tensor_scale = tensor_scale_;
  return m;
}

/// Ranks the launches by the closed form and, at cycle fidelity, simulates the best few.
LaunchTotals Gpu::simulate(const Machine& machine,
                           std::vector<std::unique_ptr<kernels::TileKernel>>& launches,
                           const ExecutionContext& context, Launch& chosen) const {
  std::vector<std::pair<double, std::size_t>> ranking;
  for (std::size_t i = 0; i < launches.size(); ++i)
    ranking.emplace_back(estimate_launch(machine, launches[i]->plan()).cycles, i);
  std::sort(ranking.begin(), ranking.end());
  if (fidelity_ == Fidelity::analytical) {
    chosen.kernel = launches[ranking.front().second].get();
    return estimate_launch(machine, chosen.kernel->plan());
  }
  LaunchTotals best;
  const bool is_short = ranking.front().first < kShortCycles;
  const bool is_long = ranking.front().first > kLongCycles;
  const std::size_t candidates = is_short ? kShortCandidates : is_long ? 1 : kLongCandidates;
  for (std::size_t i = 0; i < std::min(candidates, ranking.size()); ++i) {
    // A candidate that the closed form sees far behind is not what the library would choose.
    if (i > 0 && ranking[i].first > (is_short ? 1.15 : 1.06) * ranking.front().first) break;
    const kernels::TileKernel& kernel = *launches[ranking[i].second];
    TileEngine engine{machine, kernel, context.exact};
    const LaunchTotals totals = i == 0 ? engine.run() : engine.run(nullptr, best.cycles);
    chosen.events += engine.events();
    if (i == 0 || totals.cycles < best.cycles) {
      best = totals;
      chosen.kernel = &kernel;
    }
  }
  return best;
}

/// Time of a call during which no CTA runs: a graph's launches, or, launched one by one, what the
/// host takes longer to enqueue the next than the GPU to run this one.
double Gpu::idle_us(double launches, double busy_us, const ExecutionContext& context) const {
  const double launched = launch_us_ * launches;
  return std::max(launched, context.enqueue_us * launches - busy_us);
}

/// Bytes of L2 that reused data can occupy.
double Gpu::l2_capacity() const {
  return static_cast<double>(device_.l2.size.value()) * l2_capacity_;
}

/// What of warm operands is still in L2 after what the replays touched meanwhile.
kernels::Residency Gpu::residency_in(const ExecutionContext& context) const {
  const auto part = [&](bool warm, double reuse_bytes) {
    return warm ? surviving_part(reuse_bytes, l2_capacity()) : 0.0;
  };
  const double a = part(context.warm_activations, context.activation_reuse_bytes);
  const double b = part(context.warm_weights, context.weight_reuse_bytes);
  constexpr double kMost = 0.5;
  return {.activations = a >= kMost,
          .weights = b >= kMost,
          .outputs = a >= kMost,
          .activations_part = a,
          .weights_part = b};
}

ExecutionContext Gpu::as_seen(ExecutionContext context) const {
  const kernels::Residency residency = residency_in(context);
  const auto settle = [](double part, bool& warm, double& reuse_bytes) {
    if (part == 0) warm = false;
    if (part == 0 || part == 1) reuse_bytes = 0;
  };
  settle(residency.activations_part, context.warm_activations, context.activation_reuse_bytes);
  settle(residency.weights_part, context.warm_weights, context.weight_reuse_bytes);
  return context;
}

ExecutionContext Gpu::as_simulated(ExecutionContext context) const {
  context.launches_before = 0;
  context.operand_activity = 1;
  context.enqueue_us = 0;
  return as_seen(context);
}

/// What a launch may draw: the limit, once load like it has lasted for the response of what keeps
/// the limit; before, what a burst may.
core::Watts Gpu::power_limit(core::Seconds at_boost, const ExecutionContext& context) const {
  const core::Seconds load{at_boost.value() * context.launches_before};
  const bool seen = load >= core::to_seconds(device_.power.response);
  return device_.power.limit * (seen ? 1.0 : power_burst_);
}

/// Adds the launches that the operator needs before and after its main one; returns how many
/// launches it is in all.
double Gpu::add_passes(const workload::Operator& op, const kernels::Implementation& implementation,
                       const Machine& machine, const ExecutionContext& context,
                       LaunchTotals& totals, Launch& chosen) const {
  const auto* attention = std::get_if<workload::Attention>(&op);
  const auto* latent = std::get_if<workload::AbsorbedAttention>(&op);
  if (attention == nullptr && latent == nullptr) return 1;
  const kernels::Implementation& rows = library_.choose(workload::Stream{}, device_, {});
  const auto passes = attention != nullptr
                          ? kernels::make_attention_passes(*attention, device_, implementation,
                                                           rows, machine.gpc_sizes)
                          : kernels::make_absorbed_passes(*latent, device_, implementation, rows,
                                                          machine.gpc_sizes);
  for (const auto& pass : passes) {
    if (fidelity_ == Fidelity::analytical) {
      totals += estimate_launch(machine, pass->plan());
      continue;
    }
    TileEngine engine{machine, *pass, context.exact};
    totals += engine.run();
    chosen.events += engine.events();
  }
  return 1.0 + static_cast<double>(passes.size());
}

std::vector<std::unique_ptr<kernels::TileKernel>> Gpu::launches(
    const workload::Operator& op, const kernels::Implementation& implementation,
    const ExecutionContext& context, const Machine& machine) const {
  const auto all = [&](const workload::Operator& at) {
    return kernels::make_launches(at, device_, implementation, residency_in(context),
                                  machine.gpc_sizes);
  };
  auto candidates = all(op);
  const auto timed_op = kernels::timed_with(op, implementation);
  if (!timed_op || candidates.size() < 2) return candidates;
  const auto timed = all(*timed_op);
  const auto cycles = [&](const auto& launch) {
    return estimate_launch(machine, launch->plan()).cycles;
  };
  const auto best = std::min_element(timed.begin(), timed.end(), [&](const auto& a, const auto& b) {
    return cycles(a) < cycles(b);
  });
  const auto taken = std::find_if(candidates.begin(), candidates.end(), [&](const auto& launch) {
    return launch->plan().name == (*best)->plan().name;
  });
  if (taken == candidates.end()) return candidates;
  std::vector<std::unique_ptr<kernels::TileKernel>> chosen;
  chosen.push_back(std::move(*taken));
  return chosen;
}

core::Activity Gpu::activity(const workload::Operator& op, const ExecutionContext& context,
                             const std::string& name) const {
  if (fidelity_ == Fidelity::analytical)
    throw core::Refusal(core::RefusalKind::outside_model,
                        "a timeline needs fidelity cycle: the closed form has no time in a kernel");
  const kernels::Implementation& implementation = library_.choose(op, device_, name);
  const Machine on = as_reached(machine(context), implementation, device_);
  auto candidates = launches(op, implementation, context, on);
  Launch chosen;
  static_cast<void>(simulate(on, candidates, context, chosen));
  TileEngine engine{on, *chosen.kernel, true};
  ActivityRecorder recorder{static_cast<std::size_t>(on.sms)};
  const LaunchTotals totals = engine.run(&recorder);
  return recorder.activity(totals.cycles);
}

const Gpu::Simulation& Gpu::simulation(const workload::Operator& op,
                                       const ExecutionContext& context, const std::string& name) {
  const ExecutionContext simulated = as_simulated(context);
  if (last_ && last_->op == op && last_->context == simulated && last_->asked == name)
    return *last_;
  const kernels::Implementation& implementation = library_.choose(op, device_, name);
  const Machine on = as_reached(machine(context), implementation, device_);
  auto candidates = launches(op, implementation, context, on);
  Launch chosen;
  LaunchTotals totals = simulate(on, candidates, context, chosen);
  const double launched = add_passes(op, implementation, on, context, totals, chosen);
  last_ = std::make_shared<const Simulation>(Simulation{.op = op,
                                                        .context = simulated,
                                                        .asked = name,
                                                        .machine = on,
                                                        .implementation = implementation.name,
                                                        .plan = chosen.kernel->plan(),
                                                        .totals = totals,
                                                        .launches = launched,
                                                        .events = chosen.events});
  return *last_;
}

KernelResult Gpu::run(const workload::Operator& op, const ExecutionContext& context,
                      const std::string& name) {
  const Simulation& simulated = simulation(op, context, name);
  const Machine& on = simulated.machine;
  const kernels::LaunchPlan& plan = simulated.plan;
  const LaunchTotals& totals = simulated.totals;
  const double launched = simulated.launches;

  KernelResult result;
  result.implementation = fmt::format("{} {}", simulated.implementation, plan.name);
  result.flops = workload::flops(op).value();  // without padding
  result.hbm_bytes = totals.hbm_read_bytes + totals.hbm_write_bytes;
  result.l2_bytes = totals.l2_read_bytes + totals.l2_write_bytes;
  result.events = simulated.events;
  const Utilization used = utilization(on, plan, totals);
  result.binding = used.binding();
  const core::Seconds at_boost{totals.cycles / on.clock.value()};
  const core::Joules dynamic =
      dynamic_energy(device_.power, tensor_type(op), plan.flops, context.operand_activity,
                     plan.fp32_operations, totals) +
      core::Watts{power_active_w_ * occupied_sms(on, plan)} * at_boost;
  // What is HBM-bound does not slow down with the SM clock.
  const double clock_bound = result.binding == Resource::hbm ? 1 - used.hbm : 1.0;
  const PowerState power =
      settle_power(device_, dynamic, at_boost,
                   core::Seconds{idle_us(launched, at_boost.value() * 1e6, context) * 1e-6},
                   {.limit = power_limit(at_boost, context), .clock_bound = clock_bound});
  if (power.slowdown > 1.05) result.binding = Resource::power;
  result.cycles = core::Cycles<core::SmClock>{std::ceil(totals.cycles)};
  result.clock = power.clock;
  result.power = power.power;
  result.energy = power.energy;
  const core::Time busy = core::to_time(core::Seconds{at_boost.value() * power.slowdown});
  const double idle = idle_us(launched, core::to_microseconds(busy), context);
  result.time = busy + core::Time{std::llround(idle * 1e6)};
  if (core::to_microseconds(busy) < idle / launched) result.binding = Resource::launch;
  fill_counters(on, plan, totals, result);
  add_interval(op, result);
  return result;
}

std::string residual_name(const workload::Operator& op, std::string_view implementation) {
  std::string base{implementation.substr(0, implementation.find(' '))};
  if (const auto* stream = std::get_if<workload::Stream>(&op))
    return fmt::format("residual.{}.{}", base, workload::to_string(stream->kind));
  return fmt::format("residual.{}.{}", base, core::to_string(tensor_type(op)));
}

/// From the spread of the fit's residuals: of this implementation and type, else of the family by
/// what binds it. What no fit saw is wide and assumed.
void Gpu::add_interval(const workload::Operator& op, KernelResult& result) const {
  const std::string family = workload::family(op) == "grouped_gemm" ? "gemm" : workload::family(op);
  const std::string own = residual_name(op, result.implementation);
  // A grouped product and a backward pass that nobody measured are held against their relatives.
  std::string related = own;
  for (const std::string_view part : {"_grouped", "_backward"})
    if (const std::size_t at = related.find(part); at != std::string::npos)
      related.erase(at, part.size());
  double half_width = kUnfittedHalfWidth;
  result.grade = core::Grade::assumed;
  for (const std::string& key :
       {own, family == "stream" ? std::string{"residual.stream.quantize"} : related,
        fmt::format("residual.{}.{}", family, to_string(result.binding)),
        fmt::format("residual.{}", family)}) {
    const auto found = fits_.parameters.find(key);
    if (found == fits_.parameters.end()) continue;
    half_width = found->second.value;
    result.grade = found->second.grade;
    if (key != own) result.grade = core::worst(result.grade, core::Grade::transferred);
    break;
  }
  if (result.grade == core::Grade::transferred) half_width *= kTransferWidening;
  const auto time = static_cast<double>(result.time.value());
  result.lower = core::Time{std::llround(time / (1 + half_width))};
  result.upper = core::Time{std::llround(time * (1 + half_width))};
}

KernelResult in_sequence(const std::vector<KernelResult>& results) {
  KernelResult sum = results.front();
  for (std::size_t i = 1; i < results.size(); ++i) {
    const KernelResult& next = results[i];
    if (next.time > results.front().time && next.time > sum.time) sum.binding = next.binding;
    sum.cycles += next.cycles;
    sum.time += next.time;
    sum.lower += next.lower;
    sum.upper += next.upper;
    sum.grade = core::worst(sum.grade, next.grade);
    sum.flops += next.flops;
    sum.hbm_bytes += next.hbm_bytes;
    sum.l2_bytes += next.l2_bytes;
    sum.energy += next.energy;
    sum.events += next.events;
    sum.implementation += " + " + next.implementation;
  }
  sum.power = sum.energy / core::to_seconds(sum.time);
  return sum;
}

}  // namespace tessera::gpu
