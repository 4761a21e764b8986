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

TEST_CASE("1F1B and GPipe with equal stages idle (P-1)(F+B) on every rank", "[pipeline]") {
  const StageTimes times{3_us, 4_us, 2_us, 0_us};
  for (int ranks = 1; ranks <= 64; ++ranks) {
    for (const Schedule& schedule :
         {one_forward_one_backward(ranks, 2 * ranks), gpipe(ranks, 2 * ranks)}) {
      const PipelineRun result = run(schedule, times);
      CHECK(step(result).value() == ((3_us + 6_us) * (3 * ranks - 1)).value());
      for (std::size_t r = 0; r < result.ranks.size(); ++r) {
        CHECK(idle(result, r).value() == ((3_us + 6_us) * (ranks - 1)).value());
      }
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
    for (int ranks = 2; ranks <= 64; ranks += 2) {
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
  for (int ranks = 4; ranks <= 64; ranks += 2) {
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

TEST_CASE("chunks in flight are as many as published", "[pipeline]") {
  const auto most = [](const Schedule& schedule, bool weights) {
    int chunks = 0;
    for (const Program& program : schedule.programs) {
      chunks = std::max(chunks, most_in_flight(program, weights));
    }
    return chunks;
  };
  for (int ranks = 2; ranks <= 64; ranks += 2) {
    const int micro_batches = 3 * ranks;
    CHECK(most(gpipe(ranks, micro_batches), false) == micro_batches);
    CHECK(most(one_forward_one_backward(ranks, micro_batches), false) == ranks);
    // P v (1 + (P-1)/(P v)) of 1/v the size (arXiv 2104.04473, section 2.2.2)
    for (const int each : {2, 3}) {
      CHECK(most(interleaved(ranks, each, micro_batches), false) == ranks * each + ranks - 1);
    }
    // As 1F1B, what waits for its weight gradient included (arXiv 2401.10241, section 2.3); ZB-V's
    // chunks are half as large (section 6).
    CHECK(most(zero_bubble_h1(ranks, micro_batches), true) == ranks);
    CHECK(most(zero_bubble_v(ranks, micro_batches), true) == 2 * ranks);
    // P + 1 for P stages (github.com/deepseek-ai/DualPipe, README).
    CHECK(most(dual_pipe(ranks, micro_batches), false) == ranks + 1);
    CHECK(most(dual_pipe_v(ranks, micro_batches), false) == 2 * ranks + 1);
  }
}

/// Forward, input gradient and weight gradient by stage.
PipelineRun run_unequal(const Schedule& schedule, const std::vector<StageTimes>& stages) {
  return run_pipeline(
      schedule,
      [&](int, const Instruction& i) {
        const Chunk& chunk = runs_forward(i.action) ? i.forward : i.backward;
        const Time t = duration(stages[static_cast<std::size_t>(chunk.stage)], i.action);
        return InstructionTime{t, t, t};
      },
      [](int, int) { return Time{}; });
}

TEST_CASE("unequal stages run as worked out by hand", "[pipeline]") {
  // Times of stage 0: F 1, Bi 2, W 1; of stage 1: F 3, Bi 4, W 2.
  const std::vector<StageTimes> two{{1_us, 2_us, 1_us, 4_us}, {3_us, 4_us, 2_us, 9_us}};
  const auto ends = [](const PipelineRun& result, std::size_t rank) {
    std::vector<std::int64_t> ends;
    for (const Execution& e : result.ranks[rank]) ends.push_back(e.end.value() / 1'000'000);
    return ends;
  };
  using Ends = std::vector<std::int64_t>;
  const PipelineRun plain = run_unequal(one_forward_one_backward(2, 2), two);
  CHECK(ends(plain, 0) == Ends{1, 2, 13, 22});   // F0 F1 B0 B1
  CHECK(ends(plain, 1) == Ends{4, 10, 13, 19});  // F0 B0 F1 B1
  const PipelineRun all = run_unequal(gpipe(2, 2), two);
  CHECK(ends(all, 0) == Ends{1, 2, 16, 22});  // F0 F1 B1 B0
  CHECK(ends(all, 1) == Ends{4, 7, 13, 19});  // F0 F1 B1 B0
  const PipelineRun h1 = run_unequal(zero_bubble_h1(2, 2), two);
  CHECK(ends(h1, 0) == Ends{1, 2, 10, 11, 17, 18});  // F0 F1 Bi0 W0 Bi1 W1
  CHECK(ends(h1, 1) == Ends{4, 8, 11, 15, 17, 19});  // F0 Bi0 F1 Bi1 W0 W1
}

TEST_CASE("unequal stages of a V, both of a rank and both directions", "[pipeline]") {
  using Ends = std::vector<std::int64_t>;
  const auto ends = [](const PipelineRun& result, std::size_t rank) {
    std::vector<std::int64_t> ends;
    for (const Execution& e : result.ranks[rank]) ends.push_back(e.end.value() / 1'000'000);
    return ends;
  };
  // One rank holds stages 0 (F 1, Bi 2, W 1) and 1 (F 3, Bi 4, W 2): no message, no wait.
  const std::vector<StageTimes> two{{1_us, 2_us, 1_us, 4_us}, {3_us, 4_us, 2_us, 9_us}};
  const PipelineRun v = run_unequal(zero_bubble_v(1, 1), two);
  CHECK(ends(v, 0) == Ends{1, 4, 8, 10, 12, 13});  // F0 F0' Bi0' W0' Bi0 W0
  // Interleaved over two ranks, four stages with F 1 2 1 3 and full backward 2 1 2 2.
  const std::vector<StageTimes> four{{1_us, 1_us, 1_us, 0_us},
                                     {2_us, 1_us, 0_us, 0_us},
                                     {1_us, 1_us, 1_us, 0_us},
                                     {3_us, 2_us, 0_us, 0_us}};
  const PipelineRun turns = run_unequal(interleaved(2, 2, 2), four);
  // rank 0: F0s0 F1s0 F0s2 F1s2 B0s2 B1s2 B0s0 B1s0; rank 1: F0s1 F1s1 F0s3 B0s3 F1s3 B1s3 B0s1
  // B1s1
  CHECK(ends(turns, 1) == Ends{3, 5, 8, 10, 13, 15, 16, 18});
  CHECK(ends(turns, 0) == Ends{1, 2, 4, 6, 12, 17, 19, 21});
}

TEST_CASE("unequal stages under DualPipe and DualPipeV", "[pipeline]") {
  using Ends = std::vector<std::int64_t>;
  const auto ends = [](const PipelineRun& result, std::size_t rank) {
    std::vector<std::int64_t> ends;
    for (const Execution& e : result.ranks[rank]) ends.push_back(e.end.value() / 1'000'000);
    return ends;
  };
  // Stage 0: F 1, Bi 2, W 1; stage 1: F 3, Bi 4, W 2; a pair with a forward of stage 1 takes 9.
  const std::vector<StageTimes> two{{1_us, 2_us, 1_us, 4_us}, {3_us, 4_us, 2_us, 9_us}};
  // Two ranks, four micro-batches: 0 and 1 enter at rank 0, 0' and 1' at rank 1, and the ranks do
  // the same at the same time. Rank 0 and, with the marks changed, rank 1:
  //   F0s0 F0's1 F1s0 B0's1 F1's1&B0s0 B1's1 Bi1s0 W1s0
  // F0's1 waits for rank 1's F0's0 (1), the pair for its B0s1 (11), Bi1s0 for its B1s1 (26).
  const PipelineRun mirrored = run_unequal(dual_pipe(2, 4), two);
  CHECK(ends(mirrored, 0) == Ends{1, 4, 5, 11, 20, 26, 28, 29});
  CHECK(ends(mirrored, 1) == ends(mirrored, 0));
  // A V on one rank, two micro-batches: F0s0 F0s1 F1s0 B0s1 F1s1&B0s0 B1s1 Bi1s0 W1s0.
  const PipelineRun v = run_unequal(dual_pipe_v(1, 2), two);
  CHECK(ends(v, 0) == Ends{1, 4, 5, 11, 20, 26, 28, 29});
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
