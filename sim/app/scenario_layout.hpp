#pragma once

#include "models/training/training.hpp"
#include "sim/core/config.hpp"

namespace tessera::app {

/// Reads a scenario's `parallelism`, `batch`, `schedule` and `memory` into the job, whose machine,
/// model and precision are known, and checks them against each other. Mistakes are reported where
/// they were written.
void read_layout(const core::ConfigNode& root, training::TrainingJob& job);

}  // namespace tessera::app
