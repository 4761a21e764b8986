#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "models/training/pipeline.hpp"
#include "models/training/schedule.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

using core::Time;
using namespace core::literals;

/// Equal stages: forward, input gradient, weight gradient, overlapped pair.
struct StageTimes {
  Time forward, input_gradient, weight_gradient, overlapped;
};

Time duration(const StageTimes& times, Action action) {
  switch (action) {
    case Action::forward:
      return times.forward;
    case Action::backward:
      return times.input_gradient + times.weight_gradient;
    case Action::input_gradient:
      return times.input_gradient;
    case Action::weight_gradient:
      return times.weight_gradient;
    case Action::overlapped:
      return times.overlapped;
  }
  return {};
}

PipelineRun run(const Schedule& schedule, const StageTimes& times) {
  return run_pipeline(
      schedule,
      [&](int, const Instruction& instruction) {
        const Time t = duration(times, instruction.action);
        return InstructionTime{t, t, t};
      },
      [](int, int) { return Time{}; });
}

Time step(const PipelineRun& run) {
  Time end{};
  for (const auto& rank : run.ranks) end = std::max(end, rank.back().end);
  return end;
}

Time idle(const PipelineRun& run, std::size_t rank) {
  Time busy{};
  for (const Execution& e : run.ranks[rank]) busy += e.end - e.start;
  return step(run) - busy;
}

TEST_CASE("1F1B with equal stages idles (P-1)(F+B) on every rank", "[pipeline]") {
  const StageTimes times{3_us, 4_us, 2_us, 0_us};
  for (int ranks = 2; ranks <= 32; ranks += 2) {
    const PipelineRun result = run(one_forward_one_backward(ranks, 3 * ranks), times);
    for (std::size_t r = 0; r < result.ranks.size(); ++r) {
      CHECK(idle(result, r).value() == ((3_us + 6_us) * (ranks - 1)).value());
    }
  }
}

/// arXiv 2412.19437, table 2; its B is a full backward.
Time published_dual_pipe_bubble(const StageTimes& times, int ranks) {
  const Time backward = times.input_gradient + times.weight_gradient;
  return (times.overlapped + backward - times.weight_gradient * 3) * (ranks / 2 - 1);
}

TEST_CASE("DualPipe with equal stages idles (P/2-1)(F&B + B - 3W) on every rank", "[pipeline]") {
  // Exact when a forward takes as long as an input gradient, so that the two directions keep step,
  // and a pair takes as long as its parts, so that every rank works alike.
  for (const StageTimes& times :
       {StageTimes{2_us, 2_us, 2_us, 6_us}, StageTimes{3_us, 3_us, 2_us, 8_us}}) {
    for (int ranks = 2; ranks <= 32; ranks += 2) {
      const PipelineRun result = run(dual_pipe(ranks, 4 * ranks), times);
      for (std::size_t r = 0; r < result.ranks.size(); ++r) {
        INFO("ranks " << ranks << " rank " << r);
        CHECK(idle(result, r).value() == published_dual_pipe_bubble(times, ranks).value());
      }
    }
  }
}

TEST_CASE("DualPipe's busiest rank idles as published when pairs overlap", "[pipeline]") {
  const StageTimes times{4_us, 4_us, 4_us, 10_us};
  for (int ranks = 4; ranks <= 32; ranks += 2) {
    const PipelineRun result = run(dual_pipe(ranks, 4 * ranks), times);
    Time longest{};
    for (std::size_t r = 0; r < result.ranks.size(); ++r) {
      longest = std::max(longest, idle(result, r));
    }
    CHECK(longest.value() == published_dual_pipe_bubble(times, ranks).value());
  }
}

TEST_CASE("interleaved 1F1B with equal stages idles (P-1)(F+B)/v on every rank", "[pipeline]") {
  const StageTimes times{3_us, 4_us, 2_us, 0_us};  // of a stage: F and B of a rank over v
  for (const int each : {2, 3, 4}) {
    for (int ranks = 2; ranks <= 64; ranks += ranks < 8 ? 1 : 8) {
      for (const int groups : {1, 2, 3}) {
        const PipelineRun result = run(interleaved(ranks, each, groups * ranks), times);
        for (std::size_t r = 0; r < result.ranks.size(); ++r) {
          INFO("ranks " << ranks << " rank " << r << " stages " << each << " groups " << groups);
          CHECK(idle(result, r).value() == ((3_us + 6_us) * (ranks - 1)).value());
        }
      }
    }
  }
}

TEST_CASE("ZB-H1 with equal stages idles (P-1)(F+B-2W) on every rank", "[pipeline]") {
  for (const StageTimes& times :
       {StageTimes{2_us, 2_us, 2_us, 0_us}, StageTimes{3_us, 3_us, 2_us, 0_us},
        StageTimes{3_us, 4_us, 2_us, 0_us}, StageTimes{4_us, 5_us, 3_us, 0_us}}) {
    for (int ranks = 2; ranks <= 64; ranks += ranks < 8 ? 1 : 8) {
      const PipelineRun result = run(zero_bubble_h1(ranks, 3 * ranks), times);
      const Time published =
          (times.forward + times.input_gradient - times.weight_gradient) * (ranks - 1);
      for (std::size_t r = 0; r < result.ranks.size(); ++r) {
        INFO("ranks " << ranks << " rank " << r);
        CHECK(idle(result, r).value() == published.value());
      }
    }
  }
}

TEST_CASE("ZB-V's ranks never wait once begun when F = Bi = W", "[pipeline]") {
  const StageTimes times{2_us, 2_us, 2_us, 0_us};
  for (int ranks = 2; ranks <= 64; ranks += ranks < 8 ? 1 : 8) {
    for (const int micro_batches : {2 * ranks - 1, 2 * ranks, 4 * ranks}) {
      const PipelineRun result = run(zero_bubble_v(ranks, micro_batches), times);
      for (std::size_t r = 0; r < result.ranks.size(); ++r) {
        INFO("ranks " << ranks << " rank " << r);
        const std::vector<Execution>& executions = result.ranks[r];
        CHECK(executions.front().start.value() == (2_us * static_cast<int>(r)).value());
        const Time span = executions.back().end - executions.front().start;
        CHECK(span.value() == (2_us * (6 * micro_batches)).value());
      }
    }
  }
}

TEST_CASE("DualPipeV with equal stages idles (P/2-1)(F&B + B - 3W) for P stages", "[pipeline]") {
  for (const StageTimes& times :
       {StageTimes{2_us, 2_us, 2_us, 6_us}, StageTimes{3_us, 3_us, 2_us, 8_us}}) {
    for (int ranks = 1; ranks <= 32; ++ranks) {
      const PipelineRun result = run(dual_pipe_v(ranks, 3 * ranks), times);
      for (std::size_t r = 0; r < result.ranks.size(); ++r) {
        INFO("ranks " << ranks << " rank " << r);
        CHECK(idle(result, r).value() == published_dual_pipe_bubble(times, 2 * ranks).value());
      }
    }
  }
}

TEST_CASE("a late message is waited for, and messages of one rank leave one by one", "[pipeline]") {
  const StageTimes times{10_us, 10_us, 0_us, 0_us};
  const PipelineRun result = run_pipeline(
      one_forward_one_backward(2, 2),
      [&](int, const Instruction& instruction) {
        const Time t = duration(times, instruction.action);
        return InstructionTime{t, t, t};
      },
      [](int, int) { return 15_us; });
  // Rank 0 sends activation 0 at 10 and 1 at 20; the link is busy until 25, so 1 arrives at 40.
  CHECK(result.ranks[1][0].start.value() == (25_us).value());
  CHECK(result.ranks[1][2].start.value() == (45_us).value());
  CHECK(result.ranks[0].back().end.value() == (90_us).value());
}

}  // namespace
}  // namespace tessera::training
