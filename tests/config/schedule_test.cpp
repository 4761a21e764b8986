#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <string>
#include <vector>

#include "models/training/schedule_check.hpp"
#include "models/training/schedule_file.hpp"
#include "models/training/schedule_kind.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

CustomSchedule read(const std::string& text) {
  return read_schedule(core::ConfigDocument::from_text(text, "s.yaml", schedule_options()));
}

std::string mistakes(const std::string& text) {
  try {
    (void)read(text);
  } catch (const core::ConfigError& error) {
    return error.what();
  }
  return "";
}

std::string refusal(const std::function<Schedule()>& make) {
  try {
    (void)make();
  } catch (const core::Refusal& refusal) {
    CHECK(refusal.kind() == core::RefusalKind::illegal_combination);
    return refusal.what();
  }
  return "";
}

struct Row {
  std::string text;
  std::string message;
};

/// Two ranks of one stage, two micro-batches.
std::string two(const std::string& first, const std::string& second) {
  return "micro_batches: 2\nrank_of_stage: [0, 1]\nprograms:\n- [" + first + "]\n- [" + second +
         "]\n";
}
/// Two ranks with two stages each in a V, one micro-batch.
std::string folded(const std::string& first, const std::string& second) {
  return "micro_batches: 1\nrank_of_stage: [0, 1, 1, 0]\nprograms:\n- [" + first + "]\n- [" +
         second + "]\n";
}

constexpr const char* kFirst = "F 0, F 1, B 0, B 1";
constexpr const char* kSecond = "F 0, B 0, F 1, B 1";
constexpr const char* kForms = "'; expected 'F 3', 'B 3', 'Bi 3', 'W 3' or 'F 4 & B 3'";

}  // namespace

TEST_CASE("every kind of schedule can run, and survives being written as a file", "[schedule]") {
  for (const auto& [name, kind] : schedule_kinds()) {
    if (kind == ScheduleKind::custom) continue;
    for (int ranks = 2; ranks <= 8; ranks += 2) {
      const int micro_batches = 3 * ranks;
      const Schedule schedule = make_schedule(kind, {ranks, micro_batches, 3, 0});
      INFO(name << " over " << ranks);
      CHECK(mistakes_of(schedule, micro_batches).empty());
      if (schedule.placement.copies() > 1) continue;
      const CustomSchedule again = read(to_yaml(schedule, micro_batches));
      CHECK(again.schedule.programs == schedule.programs);
      CHECK(again.micro_batches == micro_batches);
    }
  }
}

TEST_CASE("a schedule written by hand is checked instruction by instruction", "[schedule]") {
  CHECK(mistakes(two(kFirst, kSecond)).empty());
  CHECK(mistakes(two("F 0, F 1, Bi 0, W 0, B 1", "F 0, Bi 0, F 1 & B 1, W 0")) ==
        "s.yaml:5:15: error: programs.1.2: the backward of micro-batch 1 on stage 1 runs before "
        "its forward");
  CHECK(
      mistakes(folded("F 0 s0, F 0 s3, B 0 s3, B 0 s0", "F 0 s1, F 0 s2, B 0 s2, B 0 s1")).empty());
  const std::vector<Row> rows = {
      {two("F 0, F 1, B 0", kSecond),
       "s.yaml:4:3: error: programs.0: the backward of micro-batch 1 on stage 0 is missing"},
      {two("F 0, B 0, B 1", kSecond),
       "s.yaml:4:3: error: programs.0: the forward of micro-batch 1 on stage 0 is missing"},
      {two("F 0, F 1, B 0, Bi 1", kSecond),
       "s.yaml:4:3: error: programs.0: the weight gradient of micro-batch 1 on stage 0 is missing"},
      {two("F 0, F 0, F 1, B 0, B 1", kSecond),
       "s.yaml:4:9: error: programs.0.1: the forward of micro-batch 0 on stage 0 runs twice"},
      {two("F 0, F 1, B 0, B 0, B 1", kSecond),
       "s.yaml:4:19: error: programs.0.3: the backward of micro-batch 0 on stage 0 runs twice\n"
       "s.yaml:4:19: error: programs.0.3: the weight gradient of micro-batch 0 on stage 0 runs "
       "twice"},
      {two("F 0, F 1, B 0, W 0, B 1", kSecond),
       "s.yaml:4:19: error: programs.0.3: the weight gradient of micro-batch 0 on stage 0 runs "
       "twice"},
      {two("F 0, F 1, W 0, Bi 0, B 1", kSecond),
       "s.yaml:4:14: error: programs.0.2: the weight gradient of micro-batch 0 on stage 0 runs "
       "before its input gradient"},
      {two("B 0, F 0, F 1, B 1", kSecond),
       "s.yaml:4:4: error: programs.0.0: the backward of micro-batch 0 on stage 0 runs before its "
       "forward"},
      {two("F 0, F 1, B 0, B 1, F 2", kSecond),
       "s.yaml:4:24: error: programs.0.4: micro-batch 2 does not exist; there are 2"},
      {two("F 0 s1, F 1, B 0, B 1", kSecond),
       "s.yaml:4:3: error: programs.0: the forward of micro-batch 0 on stage 0 is missing\n"
       "s.yaml:4:4: error: programs.0.0: stage 1 is on rank 1, not on rank 0"},
      {two("F 0 s2, F 1, B 0, B 1", kSecond),
       "s.yaml:4:3: error: programs.0: the forward of micro-batch 0 on stage 0 is missing\n"
       "s.yaml:4:4: error: programs.0.0: stage 2 does not exist; there are 2"},
      {two("G 0, F 1, B 0, B 1", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'G 0") + kForms},
      {two("F, F 1, B 0, B 1", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'F") + kForms},
      {two("F -1, F 1, B 0, B 1", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'F -1") + kForms},
      {two("F 0 0, F 1, B 0, B 1", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'F 0 0") + kForms},
      {two("F0, F 1, B 0, B 1", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'F0") + kForms},
      {two("B 0 & F 1, F 0, B 1", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'B 0 & F 1") + kForms},
      {two("F 0 & Bi 1, B 0", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'F 0 & Bi 1") + kForms},
      {two("F 0 &, F 1, B 0, B 1", kSecond),
       std::string("s.yaml:4:4: error: programs.0.0: found 'F 0 &") + kForms},
      {two("F 0, F 1 & B 1, B 0", kSecond),
       "s.yaml:4:9: error: programs.0.1: the backward of micro-batch 1 on stage 0 runs before its "
       "forward"},
      {"micro_batches: 2\nrank_of_stage: [0, 1, 2]\nprograms:\n- [F 0, B 0, F 1, B 1]\n"
       "- [F 0, B 0, F 1, B 1]\n- [F 0, F 1, B 0, B 1]\n",
       "s.yaml:5:9: error: programs.1.1: deadlock: rank 1 waits with 'B 0' for the gradient of "
       "micro-batch 0 on stage 2; rank 2 waits with 'F 1' for the activation of micro-batch 1 on "
       "stage 1"},
      {two("F 0, B 0, F 1, B 1", "F 0, F 1, B 0, B 1"),
       "s.yaml:4:9: error: programs.0.1: deadlock: rank 0 waits with 'B 0' for the gradient of "
       "micro-batch 0 on stage 1; rank 1 waits with 'F 1' for the activation of micro-batch 1 on "
       "stage 0"},
      {folded("F 0 s3, F 0 s0, B 0 s3, B 0 s0", "F 0 s1, F 0 s2, B 0 s2, B 0 s1"),
       "s.yaml:4:4: error: programs.0.0: deadlock: rank 0 waits with 'F 0 s3' for the activation "
       "of micro-batch 0 on stage 2; rank 1 waits with 'F 0 s1' for the activation of micro-batch "
       "0 on stage 0"},
      {folded("F 0, F 0 s3, B 0 s3, B 0 s0", "F 0 s1, F 0 s2, B 0 s2, B 0 s1"),
       "s.yaml:4:4: error: programs.0.0: found 'F 0' without a stage; rank 0 holds stages 0 and 3: "
       "expected for example 'F 0 s0'"},
      {"micro_batches: 2\nrank_of_stage: [0, 2]\nprograms:\n- [F 0]\n- [F 0]\n",
       "s.yaml:2:1: error: rank_of_stage: rank 1 holds no stage (programs: s.yaml:3:1)\n"
       "s.yaml:2:1: error: rank_of_stage: found rank 2; expected one of the 2 that have a program "
       "(programs: s.yaml:3:1)"},
      {"micro_batches: 2\nrank_of_stage: [0, 0]\nprograms:\n- [F 0]\n- [F 0]\n",
       "s.yaml:2:1: error: rank_of_stage: rank 1 holds no stage (programs: s.yaml:3:1)"},
      {"micro_batches: 2\nrank_of_stage: []\nprograms:\n- [F 0]\n",
       "s.yaml:2:1: error: rank_of_stage: found no stage; expected the rank of each"},
      {"micro_batches: 2\nrank_of_stage: [0]\nprograms: []\n",
       "s.yaml:3:1: error: programs: found no rank; expected one program a rank"},
      {"micro_batches: 0\nrank_of_stage: [0]\nprograms:\n- [F 0]\n",
       "s.yaml:1:16: error: micro_batches: found '0'; expected an integer in [1, 10000000]"},
      {"rank_of_stage: [0]\nprograms:\n- [F 0, B 0]\n",
       "s.yaml:1:1: error: micro_batches: missing; expected an integer in [1, 10000000]"},
  };
  for (const Row& row : rows) {
    INFO(row.text);
    CHECK(mistakes(row.text) == row.message);
  }
}

TEST_CASE("a schedule that its ranks and micro-batches do not allow is refused", "[schedule]") {
  struct Illegal {
    ScheduleKind kind;
    ScheduleShape shape;
    std::string message;
  };
  const std::vector<Illegal> rows = {
      {ScheduleKind::gpipe,
       {4, 0},
       "GPipe over 4 ranks needs at least 1 micro-batches a step, not 0 (the nearest legal number "
       "is 1)"},
      {ScheduleKind::one_f_one_b,
       {4, 3},
       "1F1B over 4 ranks needs at least 4 micro-batches a step, not 3 (the nearest legal number "
       "is 4)"},
      {ScheduleKind::zb_h1,
       {8, 7},
       "ZB-H1 over 8 ranks needs at least 8 micro-batches a step, not 7 (the nearest legal number "
       "is 8)"},
      {ScheduleKind::zb_v,
       {4, 6},
       "ZB-V over 4 ranks needs at least 7 micro-batches a step, not 6 (the nearest legal number "
       "is 7)"},
      {ScheduleKind::dualpipe, {3, 12}, "DualPipe needs an even number of pipeline ranks, not 3"},
      {ScheduleKind::dualpipe,
       {4, 9},
       "DualPipe over 4 ranks needs an even number of at least 8 micro-batches a step, not 9 (the "
       "nearest legal number is 10)"},
      {ScheduleKind::dualpipe,
       {4, 6},
       "DualPipe over 4 ranks needs an even number of at least 8 micro-batches a step, not 6 (the "
       "nearest legal number is 8)"},
      {ScheduleKind::dualpipev,
       {4, 7},
       "DualPipeV over 4 ranks needs at least 8 micro-batches a step, not 7 (the nearest legal "
       "number is 8)"},
      {ScheduleKind::interleaved,
       {1, 4, 2},
       "interleaved 1F1B needs at least 2 pipeline ranks, not 1"},
      {ScheduleKind::interleaved,
       {4, 8, 1},
       "interleaved 1F1B needs at least 2 stages a rank, not 1; with one it is 1F1B"},
      {ScheduleKind::interleaved,
       {4, 8, 2, 3},
       "interleaved 1F1B over 4 ranks needs groups of at least 4 micro-batches, not 3"},
      {ScheduleKind::interleaved,
       {4, 9, 2},
       "interleaved 1F1B over 4 ranks runs micro-batches in groups of 4, the last one of at least "
       "4, which 9 a step do not give (the nearest legal number is 8)"},
      {ScheduleKind::interleaved,
       {4, 11, 2},
       "interleaved 1F1B over 4 ranks runs micro-batches in groups of 4, the last one of at least "
       "4, which 11 a step do not give (the nearest legal number is 12)"},
      {ScheduleKind::interleaved,
       {4, 3, 2},
       "interleaved 1F1B over 4 ranks runs micro-batches in groups of 4, the last one of at least "
       "4, which 3 a step do not give (the nearest legal number is 4)"},
  };
  for (const Illegal& row : rows) {
    CHECK(refusal([&] { return make_schedule(row.kind, row.shape); }) == row.message);
  }
}

}  // namespace tessera::training
