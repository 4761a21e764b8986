#include "models/training/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <deque>

#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

/// Writes one rank's program; phase 0 is the direction that enters at the rank's own half.
class DualPipeRank {
 public:
  DualPipeRank(int rank, int ranks, int micro_batches)
      : ranks_(ranks),
        half_rank_(std::min(rank, ranks - 1 - rank)),
        half_ranks_(ranks / 2),
        half_batches_(micro_batches / 2),
        second_half_(rank >= ranks / 2),
        middle_(half_rank_ == ranks / 2 - 1) {}

  std::vector<Instruction> program() {
    const int outer = half_ranks_ - half_rank_ - 1;  // ranks between this one and the middle
    for (int i = 0; i < 2 * outer; ++i) forward(0);
    for (int i = 0; i <= half_rank_; ++i) {
      forward(0);
      forward(1);
    }
    for (int i = 0; i < outer; ++i) {
      backward(1, true);
      weight();
      forward(1);
    }
    main(half_batches_ - ranks_ + half_rank_ + 1);
    for (int i = 0; i < outer; ++i) {
      backward(1, false);
      overlapped(1, 0);
    }
    drain();
    for (int i = 0; i < outer; ++i) {
      weight();
      backward(0, true);
    }
    for (int i = 0; i <= half_rank_; ++i) weight();
    assert(due_.empty() && "every weight gradient must have run");
    return std::move(program_);
  }

 private:
  void main(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      if (i == 0 && middle_) {  // apart, so that the neighbour's chunk can leave earlier
        forward(0);
        backward(1, false);
      } else {
        overlapped(0, 1);
      }
      overlapped(1, 0);
    }
  }
  /// nB1B0: from the middle on, weight gradients are kept for the tail.
  void drain() {
    const int rounds = half_rank_ + 1;
    bool later = false;
    for (int i = 0; i < rounds; ++i) {
      later = later || (i == rounds / 2 && half_rank_ % 2 == 1);
      backward(1, later);
      later = later || (i == rounds / 2 && half_rank_ % 2 == 0);
      backward(0, later);
    }
  }

  int direction(int phase) const { return second_half_ ? 1 - phase : phase; }
  Chunk next_forward(int phase) { return {direction(phase), forwards_[direction(phase)]++}; }
  Chunk next_backward(int phase) { return {direction(phase), backwards_[direction(phase)]++}; }

  void forward(int phase) { program_.push_back({Action::forward, next_forward(phase), {}}); }
  void backward(int phase, bool weight_later) {
    const Chunk chunk = next_backward(phase);
    if (weight_later) due_.push_back(chunk);
    program_.push_back({weight_later ? Action::input_gradient : Action::backward, {}, chunk});
  }
  void overlapped(int forward_phase, int backward_phase) {
    const Chunk forward = next_forward(forward_phase);
    program_.push_back({Action::overlapped, forward, next_backward(backward_phase)});
  }
  void weight() {
    assert(!due_.empty() && "a weight gradient needs its input gradient first");
    program_.push_back({Action::weight_gradient, {}, due_.front()});
    due_.pop_front();
  }

  int ranks_, half_rank_, half_ranks_, half_batches_;
  bool second_half_, middle_;
  int forwards_[2] = {0, 0};
  int backwards_[2] = {0, 0};
  std::deque<Chunk> due_;
  std::vector<Instruction> program_;
};

[[noreturn]] void refuse(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::illegal_combination, reason);
}

}  // namespace

Schedule dual_pipe(int ranks, int micro_batches) {
  if (ranks < 2 || ranks % 2 != 0) {
    refuse(fmt::format("DualPipe needs an even number of pipeline ranks, not {}", ranks));
  }
  if (micro_batches % 2 != 0 || micro_batches < 2 * ranks) {
    refuse(
        fmt::format("DualPipe over {} ranks needs an even number of at least {} micro-batches "
                    "a step, not {}",
                    ranks, 2 * ranks, micro_batches));
  }
  Schedule schedule;
  for (int rank = 0; rank < ranks; ++rank) {
    schedule.push_back(DualPipeRank(rank, ranks, micro_batches).program());
  }
  return schedule;
}

Schedule one_forward_one_backward(int ranks, int micro_batches) {
  if (micro_batches < ranks) {
    refuse(fmt::format("1F1B over {} ranks needs at least as many micro-batches a step, not {}",
                       ranks, micro_batches));
  }
  Schedule schedule(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<Instruction>& program = schedule[static_cast<std::size_t>(rank)];
    const int ahead = ranks - 1 - rank;
    for (int m = 0; m < ahead; ++m) program.push_back({Action::forward, {0, m}, {}});
    for (int m = 0; m < micro_batches; ++m) {
      if (m + ahead < micro_batches) program.push_back({Action::forward, {0, m + ahead}, {}});
      program.push_back({Action::backward, {}, {0, m}});
    }
  }
  return schedule;
}

}  // namespace tessera::training
