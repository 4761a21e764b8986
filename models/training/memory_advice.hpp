#pragma once

#include <string>

#include "models/training/training.hpp"

namespace tessera::training {

/// What makes a job fit that does not: every single change of recomputation, sharding, micro-batch,
/// moments, tensor or pipeline ranks after which it does, with the memory that it then needs; or
/// that none does, and what to change beside.
[[nodiscard]] std::string what_fits(const TrainingJob& job);

}  // namespace tessera::training
