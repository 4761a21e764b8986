#pragma once

#include <string>
#include <vector>

#include "models/training/step_model.hpp"
#include "models/training/training.hpp"

namespace tessera::training {

/// What a prediction takes for granted, one sentence each, as far as the job has to do with it.
[[nodiscard]] std::vector<std::string> assumptions(const TrainingJob& job, const StepModel& model);

}  // namespace tessera::training
