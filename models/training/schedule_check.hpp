#pragma once

#include <string>
#include <vector>

#include "models/training/schedule.hpp"

namespace tessera::training {

/// What is wrong with one instruction of a schedule.
struct ScheduleMistake {
  int rank = 0;
  std::size_t instruction = 0;  ///< Of the rank's program; its size: of the program as a whole.
  std::string message;

  friend auto operator<=>(const ScheduleMistake&, const ScheduleMistake&) = default;
};

/// Whether the schedule can be run: every chunk is on the rank that holds its stage, has exactly
/// one forward, one input gradient and one weight gradient, in this order, and no rank waits
/// forever. A deadlock is named at the waiting instruction, with the whole circle of those that
/// wait for each other, once everything else is right. Sorted.
[[nodiscard]] std::vector<ScheduleMistake> mistakes_of(const Schedule& schedule, int micro_batches);

}  // namespace tessera::training
