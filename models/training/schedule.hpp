#pragma once

#include <optional>
#include <vector>

namespace tessera::training {

/// What a pipeline rank does in one stretch.
enum class Action {
  forward,          ///< One chunk forward.
  backward,         ///< Input and weight gradients of one chunk.
  input_gradient,   ///< Only the input gradient; the weight gradient follows later.
  weight_gradient,  ///< Of the oldest chunk whose weight gradient is due.
  overlapped,       ///< One chunk forward and another's full backward, interleaved on two streams.
};

[[nodiscard]] constexpr bool runs_forward(Action action) {
  return action == Action::forward || action == Action::overlapped;
}
/// Whether it ends an input gradient, which goes to the previous stage.
[[nodiscard]] constexpr bool runs_input_gradient(Action action) {
  return action != Action::forward && action != Action::weight_gradient;
}

/// One chunk: a micro-batch travelling in one direction. Direction 0 enters at rank 0, direction 1
/// at the last rank; micro-batches count from 0 in each.
struct Chunk {
  int direction = 0;
  int micro_batch = 0;
  friend auto operator<=>(const Chunk&, const Chunk&) = default;
};

struct Instruction {
  Action action = Action::forward;
  Chunk forward;   ///< Of forward and overlapped.
  Chunk backward;  ///< Of all others and of overlapped.
  friend auto operator<=>(const Instruction&, const Instruction&) = default;
};

/// Instructions of every rank in order.
using Schedule = std::vector<std::vector<Instruction>>;

/// Stage that `rank` of `ranks` holds for a direction.
[[nodiscard]] constexpr int stage_of(int rank, int ranks, int direction) {
  return direction == 0 ? rank : ranks - 1 - rank;
}

/// Rank that gets an activation (or its gradient) of a direction from `rank`; none at the ends.
[[nodiscard]] constexpr std::optional<int> receiver(int rank, int ranks, int direction,
                                                    bool gradient) {
  const int to = rank + ((direction == 0) != gradient ? 1 : -1);
  if (to < 0 || to >= ranks) return std::nullopt;
  return to;
}

/// The steps of DualPipe's published implementation (github.com/deepseek-ai/DualPipe,
/// dualpipe/dualpipe.py): nF0, nF0F1, nB1W1F1, main nF0B1F1B0, nB1F1B0, nB1B0, nWB0, nW.
/// `micro_batches` is the sum of both directions. Throws core::Refusal (illegal_combination) unless
/// ranks is even, micro_batches is even and at least twice ranks.
[[nodiscard]] Schedule dual_pipe(int ranks, int micro_batches);

/// One direction: rank r runs ranks - 1 - r forward chunks ahead, then one forward and one backward
/// in turn (arXiv 2104.04473, section 2.2.1). Throws core::Refusal when micro_batches < ranks.
[[nodiscard]] Schedule one_forward_one_backward(int ranks, int micro_batches);

}  // namespace tessera::training
