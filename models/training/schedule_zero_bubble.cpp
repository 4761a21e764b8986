#include <fmt/format.h>

#include <array>
#include <deque>

#include "models/training/schedule.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

void require_enough(const char* name, int ranks, int micro_batches, int least) {
  if (micro_batches >= least) return;
  throw core::Refusal(
      core::RefusalKind::illegal_combination,
      fmt::format("{} over {} ranks needs at least {} micro-batches a step, not {} (the nearest "
                  "legal number is {})",
                  name, ranks, least, micro_batches, least));
}

/// Writes a rank's program with input and weight gradients apart; each slot is one of its stages.
class SplitProgram {
 public:
  explicit SplitProgram(std::vector<int> stages, int micro_batches)
      : stages_(std::move(stages)), micro_batches_(micro_batches) {}

  [[nodiscard]] bool more_forwards(std::size_t slot) const {
    return forwards_[slot] < micro_batches_;
  }
  [[nodiscard]] bool more_gradients(std::size_t slot) const {
    return gradients_[slot] < micro_batches_;
  }
  [[nodiscard]] int forwards(std::size_t slot) const { return forwards_[slot]; }
  [[nodiscard]] bool weight_due(std::size_t slot) const {
    return weights_[slot] < gradients_[slot];
  }

  void forward(std::size_t slot) {
    if (more_forwards(slot)) add(Action::forward, slot, forwards_);
  }
  void gradient(std::size_t slot) {
    if (more_gradients(slot)) add(Action::input_gradient, slot, gradients_);
  }
  void weight(std::size_t slot) {
    if (weight_due(slot)) add(Action::weight_gradient, slot, weights_);
  }
  [[nodiscard]] Program take() { return std::move(program_); }

 private:
  void add(Action action, std::size_t slot, std::array<int, 2>& counts) {
    const Chunk chunk{stages_[slot], counts[slot]++, 0};
    if (action == Action::forward)
      program_.push_back({action, chunk, {}});
    else
      program_.push_back({action, {}, chunk});
  }

  std::vector<int> stages_;
  int micro_batches_;
  std::array<int, 2> forwards_{}, gradients_{}, weights_{};
  Program program_;
};

}  // namespace

Schedule zero_bubble_h1(int ranks, int micro_batches) {
  require_enough("ZB-H1", ranks, micro_batches, ranks);
  Schedule schedule{StagePlacement::one_each(ranks), {}};
  for (int rank = 0; rank < ranks; ++rank) {
    SplitProgram program({rank}, micro_batches);
    for (int i = 0; i < ranks - 1 - rank; ++i) program.forward(0);
    for (int m = 0; m < micro_batches; ++m) {
      program.forward(0);
      program.gradient(0);
      if (m >= rank) program.weight(0);  // `rank` weight gradients stay behind for the tail
    }
    while (program.weight_due(0)) program.weight(0);
    schedule.programs.push_back(program.take());
  }
  return schedule;
}

Schedule zero_bubble_v(int ranks, int micro_batches) {
  require_enough("ZB-V", ranks, micro_batches, 2 * ranks - 1);
  Schedule schedule{StagePlacement::v_shape(ranks), {}};
  for (int rank = 0; rank < ranks; ++rank) {
    const int inner = ranks - rank;  // ranks from here to the turn of the V
    SplitProgram program({rank, 2 * ranks - 1 - rank}, micro_batches);
    for (int i = 0; i < 2 * inner - 1; ++i) program.forward(0);
    for (int i = 0; i < rank; ++i) {
      program.forward(1);
      program.forward(0);
    }
    for (int i = 0; i < inner; ++i) {
      program.forward(1);
      program.gradient(1);
      program.weight(1);
    }
    while (program.more_forwards(1)) {
      for (const std::size_t slot : {0U, 1U}) {
        program.forward(slot);
        program.gradient(slot);
        program.weight(slot);
      }
    }
    for (int i = 0; i < rank; ++i) {  // weight gradients stay behind for the tail
      program.gradient(0);
      program.gradient(1);
    }
    for (int i = 0; i < inner; ++i) {
      program.gradient(0);
      program.weight(0);
    }
    for (const std::size_t slot : {1U, 0U}) {
      while (program.weight_due(slot)) program.weight(slot);
    }
    schedule.programs.push_back(program.take());
  }
  return schedule;
}

}  // namespace tessera::training
