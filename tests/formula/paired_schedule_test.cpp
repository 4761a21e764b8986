#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "models/training/pipeline.hpp"
#include "models/training/schedule.hpp"

/// 1F1B and interleaved schedules whose forward and backward chunks run as pairs.
namespace tessera::training {
namespace {

using core::Time;

constexpr Time kForward{2}, kBackward{4};

InstructionTime time_of(const Instruction& instruction) {
  Time duration{};
  if (runs_forward(instruction.action)) duration += kForward;
  if (runs_input_gradient(instruction.action)) duration += kBackward;
  return {duration, duration, duration};
}

Time total(const Schedule& schedule) {
  const PipelineRun run = run_pipeline(
      schedule, [](int, const Instruction& i) { return time_of(i); },
      [](int, int) { return Time{}; });
  Time end{};
  for (const auto& rank : run.ranks) end = std::max(end, rank.back().end);
  return end;
}

int pairs(const Program& program) {
  return static_cast<int>(std::count_if(program.begin(), program.end(), [](const Instruction& i) {
    return i.action == Action::overlapped;
  }));
}

TEST_CASE("a paired 1F1B runs every chunk once and hides all but its warm-up", "[paired]") {
  for (const int ranks : {1, 2, 4, 8, 16}) {
    const int micro_batches = 8 * ranks;
    const Schedule schedule = one_forward_one_backward(ranks, micro_batches, true);
    for (int rank = 0; rank < ranks; ++rank)
      CHECK(pairs(schedule.programs[static_cast<std::size_t>(rank)]) ==
            micro_batches - 2 * (ranks - 1 - rank) - 1);
    // The first micro-batch goes down and up the ranks alone, the pairs follow without a gap.
    const Time work = micro_batches * (kForward + kBackward);
    CHECK(total(schedule) == work + (ranks - 1) * (kForward + kBackward));
  }
}

TEST_CASE("a paired interleaved schedule keeps one chunk more in flight", "[paired]") {
  for (const int ranks : {2, 4, 8})
    for (const int stages : {2, 4}) {
      const int micro_batches = 4 * ranks;
      const Schedule paired = interleaved(ranks, stages, micro_batches, 0, true);
      for (int rank = 0; rank < ranks; ++rank)
        CHECK(pairs(paired.programs[static_cast<std::size_t>(rank)]) ==
              micro_batches * stages - 2 * (ranks - 1 - rank) - (stages - 1) * ranks - 1);
      INFO(ranks << " ranks, " << stages << " stages");
      const Time work = micro_batches * stages * (kForward + kBackward);
      // The plain schedule's bubble: pairs add to what is in flight, not to the time.
      CHECK((total(paired) - work).value() == ((ranks - 1) * (kForward + kBackward)).value());
    }
}

}  // namespace
}  // namespace tessera::training
