#pragma once

#include "models/serving/inference.hpp"
#include "sim/core/config.hpp"

namespace tessera::app {

/// Reads `precision`, `parallelism`, `batch` and `serving` of a prefill or decode scenario and
/// checks them against each other and against the model and machine that `job` already holds.
void read_inference(const core::ConfigNode& root, serving::InferenceJob& job);

}  // namespace tessera::app
