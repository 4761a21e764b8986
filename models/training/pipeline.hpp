#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "models/training/schedule.hpp"
#include "sim/core/units.hpp"

namespace tessera::training {

/// Time of one instruction once its inputs are there, and when its results can leave.
struct InstructionTime {
  core::Time duration{};
  core::Time forward_ready{};   ///< After the start; forward output complete.
  core::Time backward_ready{};  ///< After the start; input gradient complete.
};

/// One instruction as it ran on one rank.
struct Execution {
  Instruction instruction;
  core::Time start{};
  core::Time end{};
};

struct PipelineRun {
  std::vector<std::vector<Execution>> ranks;  ///< In order of execution.
  std::uint64_t events = 0;                   ///< Of the event kernel.
};

/// Runs a schedule with ranks as processes that pass timed messages. A rank starts an instruction
/// when the one before has ended and its inputs have arrived; a result leaves when it is ready, the
/// messages of one rank one after the other, and takes `send(from, to)`. Receiving costs nothing,
/// and neither does passing on to another stage of the same rank.
/// Throws core::Refusal (illegal_combination) when the schedule deadlocks.
[[nodiscard]] PipelineRun run_pipeline(
    const Schedule& schedule,
    const std::function<InstructionTime(int rank, const Instruction&)>& time,
    const std::function<core::Time(int from, int to)>& send);

}  // namespace tessera::training
