#include "sim/app/result_parts.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <numeric>
#include <optional>
#include <utility>

#include "sim/app/preferred_kernels.hpp"
#include "sim/app/routing_rows.hpp"

namespace tessera::app {
namespace {

using core::Estimate;

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

}  // namespace

core::Result result_head(const Scenario& scenario, const device::FitSet& fits) {
  const fabric::FabricParameters& fabric = fabric_parameters(scenario.device());
  core::Result result;
  result.job = scenario.trains() ? "training" : serving::to_string(scenario.inference().phase);
  result.title = scenario.title;
  result.tessera_version = TESSERA_VERSION;
  result.fits = fit_text(fits.name, fits.hash) + ", " + fit_text(fabric.fit_name, fabric.fit_hash);
  result.scenario_json = scenario.resolved;
  result.machine = machine_row(scenario.cluster);
  return result;
}

void add_head(core::Result& result, const core::Result& head) {
  result.job = head.job;
  result.title = head.title;
  result.tessera_version = head.tessera_version;
  result.fits = head.fits;
  result.scenario_json = head.scenario_json;
  result.machine = head.machine;
}

void add_run_notes(core::Result& result, const Scenario& scenario, const KernelSource& kernels,
                   const FabricNetworkTimer& network) {
  for (std::string& note : kernel_notes(kernels.library(), scenario.device(), scenario.kernels))
    result.assumptions.push_back(std::move(note));
  if (std::string note = network.folding_note(); !note.empty())
    result.assumptions.push_back(std::move(note));
}

void add_routing(core::Result& result, const workload::Architecture& architecture,
                 const workload::RoutingSpec& spec, const workload::RoutedLoad& load) {
  add_rank_loads(result, architecture, spec, load);
  const double total =
      static_cast<double>(std::accumulate(load.rows.begin(), load.rows.end(), std::int64_t{0}));
  const double mean = total / static_cast<double>(load.rows.size());
  for (std::size_t slot = 0; slot < load.rows.size(); ++slot)
    result.routing.push_back(
        {load.expert_of_slot[slot],
         static_cast<int>(static_cast<std::int64_t>(slot) / load.experts_per_rank),
         static_cast<double>(load.rows[slot]) / mean});
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

}  // namespace tessera::app
