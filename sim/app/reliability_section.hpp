#pragma once

#include "models/training/goodput.hpp"
#include "models/training/outer_steps.hpp"
#include "models/training/training.hpp"
#include "sim/core/config.hpp"

namespace tessera::app {

/// Reads a scenario's `reliability` block. A checkpoint that gives `storage` instead of `write`
/// holds the job's master weights and moments and is written at that rate.
[[nodiscard]] training::ReliabilitySpec read_reliability(const core::ConfigNode& node,
                                                         const training::TrainingJob& job);

/// Reads a scenario's `sites` block.
[[nodiscard]] training::OuterStepSpec read_sites(const core::ConfigNode& node);

}  // namespace tessera::app
