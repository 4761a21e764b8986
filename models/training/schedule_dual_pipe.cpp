#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <deque>

#include "models/training/schedule.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

/// Where a rank stands on the folded line of stages: `position` ranks from the end at which its
/// first phase enters, of `length` up to the fold.
struct Fold {
  int position;
  int length;
  int batches;                  ///< Micro-batches of each phase.
  std::array<Chunk, 2> phases;  ///< Micro-batch 0 of the phase that enters here and of the other.
};

/// Writes one rank's program. DualPipe's two directions and DualPipeV's two stages of a rank follow
/// the same steps.
class FoldedRank {
 public:
  explicit FoldedRank(const Fold& fold) : fold_(fold) {}

  Program program() {
    const int outer = fold_.length - fold_.position - 1;  // ranks between this one and the fold
    for (int i = 0; i < 2 * outer; ++i) forward(0);
    for (int i = 0; i <= fold_.position; ++i) {
      forward(0);
      forward(1);
    }
    for (int i = 0; i < outer; ++i) {
      backward(1, true);
      weight();
      forward(1);
    }
    main(fold_.batches - 2 * fold_.length + fold_.position + 1);
    for (int i = 0; i < outer; ++i) {
      backward(1, false);
      overlapped(1, 0);
    }
    drain();
    for (int i = 0; i < outer; ++i) {
      weight();
      backward(0, true);
    }
    for (int i = 0; i <= fold_.position; ++i) weight();
    assert(due_.empty() && "every weight gradient must have run");
    return std::move(program_);
  }

 private:
  void main(int rounds) {
    const bool at_fold = fold_.position == fold_.length - 1;
    for (int i = 0; i < rounds; ++i) {
      if (i == 0 && at_fold) {  // apart, so that the neighbour's chunk can leave earlier
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
    const int rounds = fold_.position + 1;
    bool later = false;
    for (int i = 0; i < rounds; ++i) {
      later = later || (i == rounds / 2 && fold_.position % 2 == 1);
      backward(1, later);
      later = later || (i == rounds / 2 && fold_.position % 2 == 0);
      backward(0, later);
    }
  }

  Chunk next(std::size_t phase, std::array<int, 2>& counts) const {
    Chunk chunk = fold_.phases[phase];
    chunk.micro_batch = counts[phase]++;
    return chunk;
  }
  void forward(std::size_t phase) {
    program_.push_back({Action::forward, next(phase, forwards_), {}});
  }
  void backward(std::size_t phase, bool weight_later) {
    const Chunk chunk = next(phase, backwards_);
    if (weight_later) due_.push_back(chunk);
    program_.push_back({weight_later ? Action::input_gradient : Action::backward, {}, chunk});
  }
  void overlapped(std::size_t forward_phase, std::size_t backward_phase) {
    const Chunk forward = next(forward_phase, forwards_);
    program_.push_back({Action::overlapped, forward, next(backward_phase, backwards_)});
  }
  void weight() {
    assert(!due_.empty() && "a weight gradient needs its input gradient first");
    program_.push_back({Action::weight_gradient, {}, due_.front()});
    due_.pop_front();
  }

  Fold fold_;
  std::array<int, 2> forwards_{}, backwards_{};
  std::deque<Chunk> due_;
  Program program_;
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
    refuse(fmt::format(
        "DualPipe over {} ranks needs an even number of at least {} micro-batches "
        "a step, not {} (the nearest legal number is {})",
        ranks, 2 * ranks, micro_batches, std::max(2 * ranks, micro_batches + micro_batches % 2)));
  }
  Schedule schedule{StagePlacement::mirrored(ranks), {}};
  for (int rank = 0; rank < ranks; ++rank) {
    const Chunk down{rank, 0, 0}, up{ranks - 1 - rank, 0, 1};
    const bool first_half = rank < ranks / 2;
    schedule.programs.push_back(
        FoldedRank({std::min(rank, ranks - 1 - rank), ranks / 2, micro_batches / 2,
                    first_half ? std::array{down, up} : std::array{up, down}})
            .program());
  }
  return schedule;
}

Schedule dual_pipe_v(int ranks, int micro_batches) {
  if (micro_batches < 2 * ranks) {
    refuse(
        fmt::format("DualPipeV over {} ranks needs at least {} micro-batches a step, not {} "
                    "(the nearest legal number is {})",
                    ranks, 2 * ranks, micro_batches, 2 * ranks));
  }
  Schedule schedule{StagePlacement::v_shape(ranks), {}};
  for (int rank = 0; rank < ranks; ++rank) {
    schedule.programs.push_back(
        FoldedRank(
            {rank, ranks, micro_batches, {Chunk{rank, 0, 0}, Chunk{2 * ranks - 1 - rank, 0, 0}}})
            .program());
  }
  return schedule;
}

}  // namespace tessera::training
