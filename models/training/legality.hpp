#pragma once

#include <string>
#include <vector>

#include "models/training/training.hpp"

namespace tessera::training {

/// Two of a job's values that exclude each other.
struct Contradiction {
  std::string key;      ///< Of the scenario: "parallelism.tensor".
  std::string against;  ///< Of the scenario, the other value; empty: none in particular.
  std::string reason;   ///< "found 48, which does not divide ...; nearest legal: 32 or 64"

  friend auto operator<=>(const Contradiction&, const Contradiction&) = default;
};

/// Everything that is wrong with a job's parallelism, batch and sharding, each with the nearest
/// legal value where there is one. Schedules check their own rules, which depend on their stages.
/// A value that is wrong by itself hides what follows from it.
[[nodiscard]] std::vector<Contradiction> contradictions(const TrainingJob& job);

/// Throws core::Refusal (illegal_combination) with the first of them, "key: reason".
void require_legal(const TrainingJob& job);

/// GPUs that hold one copy of the model.
[[nodiscard]] std::int64_t model_gpus(const TrainingJob& job);
/// The job's degrees; `data` is what the GPUs leave. Requires a legal job.
[[nodiscard]] Degrees degrees_of(const TrainingJob& job);

}  // namespace tessera::training
