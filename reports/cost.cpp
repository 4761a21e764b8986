#include "reports/cost.hpp"

#include <fmt/format.h>

#include <cassert>
#include <cmath>

namespace tessera::reports {
namespace {

using core::Estimate;

constexpr double kSecondsPerHour = 3600;
constexpr double kTokensPerMillion = 1e6;
constexpr double kJoulesPerKilowattHour = 3.6e6;
constexpr double kJoulesPerMegawattHour = 3.6e9;

/// 90 % interval of the power that a node and its share of the network draw under load, as a factor
/// around what their descriptions say.
constexpr double kOverheadPowerFactor = 1.3;  // assumed

double spread(double a, double b) { return std::hypot(std::log(a), std::log(b)); }

/// Energy of one step, by who draws it.
struct StepEnergy {
  Estimate gpus;      ///< J, all GPUs.
  Estimate nodes;     ///< J, everything else in the nodes.
  Estimate network;   ///< J, switches and optics.
  Estimate facility;  ///< J, all of it with PUE.
};

/// `watts` over the step, with the spread of a description nobody measured.
Estimate overhead(double watts, const Estimate& step) {
  const Estimate power{watts, watts / kOverheadPowerFactor, watts * kOverheadPowerFactor, "W",
                       core::Grade::assumed};
  return product(power, step, "J");
}

StepEnergy step_energy(const RunFigures& run, const CostAssumptions& assumptions,
                       const device::ClusterSpec& cluster) {
  const double nodes = static_cast<double>(run.gpus) / cluster.node.gpus;
  StepEnergy energy;
  energy.gpus = scaled(run.joules_per_gpu, run.gpus, "J");
  energy.nodes = overhead(cluster.node.overhead_power.value() * nodes, run.step);
  energy.network = overhead(cluster.fabric.power_per_gpu.value() * run.gpus, run.step);
  const Estimate machines = sum(sum(energy.gpus, energy.nodes), energy.network);
  energy.facility = product(machines, assumptions.pue.value, "J");
  return energy;
}

/// The rows of a GPU-hour; for an owned one their sum, and how much use it needs to beat the rent.
void add_hour(core::Result& result, const GpuHour& hour, const CostAssumptions& assumptions,
              const Estimate& watts) {
  for (const core::CostRow& part : hour.parts) result.cost.push_back(part);
  if (!assumptions.ownership) return;
  result.cost.push_back({kOwnedHour, hour.total, "sum of the five above"});
  const Estimate& rent = assumptions.rental.value;
  const auto use = [&](double dollars) {
    return break_even(*assumptions.ownership, dollars, watts).utilisation.value_or(1);
  };
  const Estimate least{use(rent.value), use(rent.upper), use(rent.lower), "fraction",
                       core::Grade::assumed};
  if (break_even(*assumptions.ownership, rent.value, watts).utilisation)
    result.cost.push_back({"use above which owning is cheaper", least,
                           fmt::format("against a rent of {:.2f} USD/GPU/h and its range; {}",
                                       rent.value, assumptions.rental.cited())});
}

void add_dollars(core::Result& result, const Estimate& gpu_hours, const GpuHour& hour,
                 const CostAssumptions& assumptions, const Estimate& watts) {
  const Estimate dollars = product(gpu_hours, hour.total, "USD");
  result.quantities.emplace_back("gpu_hours", gpu_hours);
  result.quantities.emplace_back("dollars", dollars);
  result.cost.push_back({"GPU-hours", gpu_hours, "step time x steps x GPUs"});
  add_hour(result, hour, assumptions, watts);
  if (assumptions.ownership)
    result.cost.push_back({"owned GPUs", dollars, "GPU-hours x GPU-hour, owned"});
  else
    result.cost.push_back({"rent", dollars, "GPU-hours x rental rate"});
}

void add_run_energy(core::Result& result, const StepEnergy& step, double steps,
                    const CostAssumptions& assumptions) {
  const double factor = steps / kJoulesPerMegawattHour;
  const Estimate facility = scaled(step.facility, factor, "MWh");
  const Estimate bill =
      scaled(product(facility, assumptions.electricity.value, "USD"), 1e3, "USD");  // kWh per MWh
  result.energy.push_back({"GPUs", scaled(step.gpus, factor, "MWh"), "modelled power of kernels"});
  result.energy.push_back({"nodes besides GPUs", scaled(step.nodes, factor, "MWh"),
                           "overhead_power of the node description"});
  result.energy.push_back({"network switches", scaled(step.network, factor, "MWh"),
                           "power_per_gpu of the fabric description"});
  result.energy.push_back({"facility", facility, "all of the above x PUE"});
  result.energy.push_back({"PUE", assumptions.pue.value, assumptions.pue.cited()});
  result.cost.push_back(
      {"electricity tariff", assumptions.electricity.value, assumptions.electricity.cited()});
  result.cost.push_back({assumptions.ownership ? "electricity at work, a part of owning"
                                               : "electricity, when it is not part of the rent",
                         bill, "facility energy x tariff"});
  result.quantities.emplace_back("energy_megawatt_hours", facility);
  result.quantities.emplace_back("electricity_dollars", bill);
}

}  // namespace

Estimate product(const Estimate& a, const Estimate& b, const std::string& unit) {
  assert(a.lower > 0 && b.lower > 0 && "relative errors need positive bounds");
  const double value = a.value * b.value;
  const double up = spread(a.upper / a.value, b.upper / b.value);
  const double down = spread(a.value / a.lower, b.value / b.lower);
  return {value, value * std::exp(-down), value * std::exp(up), unit,
          core::worst(a.grade, b.grade)};
}

Estimate ratio(const Estimate& a, const Estimate& b, const std::string& unit) {
  const Estimate inverse{1 / b.value, 1 / b.upper, 1 / b.lower, "1/" + b.unit, b.grade};
  return product(a, inverse, unit);
}

Estimate scaled(const Estimate& a, double factor, const std::string& unit) {
  return {a.value * factor, a.lower * factor, a.upper * factor, unit, a.grade};
}

Estimate sum(const Estimate& a, const Estimate& b) {
  assert(a.unit == b.unit && "only equal units add");
  return {a.value + b.value, a.lower + b.lower, a.upper + b.upper, a.unit,
          core::worst(a.grade, b.grade)};
}

void add_cost(core::Result& result, const RunFigures& run, const CostAssumptions& assumptions,
              const device::ClusterSpec& cluster) {
  const StepEnergy energy = step_energy(run, assumptions, cluster);
  const Estimate watts =
      machine_watts(scaled(run.joules_per_gpu, 1 / run.step.value, "W"), cluster);
  const GpuHour hour = gpu_hour(assumptions, watts);
  if (run.tokens > 0) {
    const double steps = run.tokens / run.tokens_per_step;
    add_dollars(result, scaled(run.step, steps * run.gpus / kSecondsPerHour, "GPU-h"), hour,
                assumptions, watts);
    add_run_energy(result, energy, steps, assumptions);
  } else {
    const Estimate step_hours = scaled(run.step, run.gpus / kSecondsPerHour, "GPU-h");
    add_hour(result, hour, assumptions, watts);
    result.cost.push_back({assumptions.ownership ? "owned GPUs, one step" : "rent of a step",
                           product(step_hours, hour.total, "USD"),
                           "GPU-hours of a step x the hour of a GPU"});
    result.energy.push_back({"facility, one step",
                             scaled(energy.facility, 1 / kJoulesPerKilowattHour, "kWh"),
                             "GPUs, nodes and switches x PUE"});
  }
  const double trillion_tokens_per_step = run.tokens_per_step / 1e12;
  result.quantities.emplace_back(
      "megawatt_hours_per_trillion_tokens",
      scaled(energy.facility, 1 / kJoulesPerMegawattHour / trillion_tokens_per_step, "MWh"));
  result.quantities.emplace_back("gpu_power", scaled(run.joules_per_gpu, 1 / run.step.value, "W"));
}

GpuHour gpu_hour(const CostAssumptions& assumptions, const std::optional<Estimate>& watts) {
  if (assumptions.ownership) return owned_hour(*assumptions.ownership, watts);
  const device::Price& rent = assumptions.rental;
  return {.total = rent.value, .parts = {{"rental rate", rent.value, rent.cited()}}};
}

Estimate machine_watts(const Estimate& watts, const device::ClusterSpec& cluster) {
  const double rest = cluster.node.overhead_power.value() / cluster.node.gpus +
                      cluster.fabric.power_per_gpu.value();
  if (rest == 0) return watts;
  return sum(watts, {rest, rest / kOverheadPowerFactor, rest * kOverheadPowerFactor, "W",
                     core::Grade::assumed});
}

void add_token_cost(core::Result& result, const TokenFigures& tokens,
                    const CostAssumptions& assumptions, const device::ClusterSpec& cluster) {
  const Estimate machines = machine_watts(tokens.watts_per_gpu, cluster);
  const GpuHour hour = gpu_hour(assumptions, machines);
  const Estimate& rate = tokens.tokens_per_second_per_gpu;
  const double millions_an_hour = kSecondsPerHour / kTokensPerMillion;
  const auto per_million = [&](const Estimate& dollars_an_hour) {
    return ratio(dollars_an_hour, scaled(rate, millions_an_hour, "Mtoken/h"), "USD");
  };
  const Estimate dollars = per_million(hour.total);
  const Estimate joules = ratio(product(machines, assumptions.pue.value, "W"), rate, "J");
  result.quantities.emplace_back("dollars_per_million_tokens", dollars);
  result.quantities.emplace_back("joules_per_token", joules);
  result.quantities.emplace_back("gpu_power", scaled(tokens.watts_per_gpu, 1, "W"));
  add_hour(result, hour, assumptions, machines);
  result.cost.push_back({"a million tokens", dollars, "GPU-hour / tokens of an hour"});
  result.energy.push_back({"GPU", ratio(tokens.watts_per_gpu, rate, "J"), "J per token"});
  result.energy.push_back(
      {"GPU with its part of node and network", ratio(machines, rate, "J"),
       "J per token; overhead_power and power_per_gpu of the cluster's description"});
  result.energy.push_back({"PUE", assumptions.pue.value, assumptions.pue.cited()});
  result.energy.push_back({"facility", joules, "J per token, all of the above x PUE"});
}

}  // namespace tessera::reports
