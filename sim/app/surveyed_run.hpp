#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/gpu/kernel_timer.hpp"
#include "sim/app/scenario.hpp"
#include "sim/app/training_run.hpp"

namespace tessera::app {

/// Runs `engine` with the scenario's kernels. At cycle fidelity it first runs with estimates, to
/// learn which kernels it asks for; those are then simulated in worker processes, and the engine
/// runs again: its last run is the one that counts. Returns a warning where both fidelities
/// disagree. Throws core::Refusal.
[[nodiscard]] std::optional<std::string> run_with_kernels(
    const Scenario& scenario, KernelSource& kernels, const RunOptions& options,
    RunStatistics& statistics, const std::function<void(gpu::KernelTimer&)>& engine);

}  // namespace tessera::app
