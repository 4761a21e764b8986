#pragma once

#include "models/device/fit_file.hpp"
#include "models/workload/routing.hpp"
#include "sim/app/fabric_network.hpp"
#include "sim/app/scenario.hpp"
#include "sim/app/training_run.hpp"
#include "sim/core/result.hpp"

/// Parts of a result that do not depend on what kind of job it answers.
namespace tessera::app {

/// A result with nothing but what it is about: job, title, version, fits, scenario, machine.
[[nodiscard]] core::Result result_head(const Scenario& scenario, const device::FitSet& fits);
/// Copies these from `head`.
void add_head(core::Result& result, const core::Result& head);
/// What the kernels and the network were taken to be.
void add_run_notes(core::Result& result, const Scenario& scenario, const KernelSource& kernels,
                   const FabricNetworkTimer& network);
/// What routing sends to each expert, and to ranks in every layer. `load` is what route() made of
/// `spec`. Requires: there are experts.
void add_routing(core::Result& result, const workload::Architecture& architecture,
                 const workload::RoutingSpec& spec, const workload::RoutedLoad& load);
/// The scenario's published figures beside the result's.
void add_published(core::Result& result, const Scenario& scenario);

}  // namespace tessera::app
