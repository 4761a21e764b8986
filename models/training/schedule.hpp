#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tessera::training {

/// What a pipeline rank does in one stretch.
enum class Action {
  forward,          ///< One chunk forward.
  backward,         ///< Input and weight gradients of one chunk.
  input_gradient,   ///< Only the input gradient; the weight gradient follows later.
  weight_gradient,  ///< Of a chunk whose input gradient has run.
  overlapped,       ///< One chunk forward and another's full backward, interleaved on two streams.
};

[[nodiscard]] constexpr bool runs_forward(Action action) {
  return action == Action::forward || action == Action::overlapped;
}
/// Whether it ends an input gradient, which goes to the previous stage.
[[nodiscard]] constexpr bool runs_input_gradient(Action action) {
  return action != Action::forward && action != Action::weight_gradient;
}
/// Whether it ends a chunk's weight gradient.
[[nodiscard]] constexpr bool runs_weight_gradient(Action action) {
  return action != Action::forward && action != Action::input_gradient;
}

/// One stage's work on one micro-batch.
struct Chunk {
  int stage = 0;        ///< In forward order, from 0.
  int micro_batch = 0;  ///< Counts from 0 in each copy.
  int copy = 0;         ///< Which copy of the stages: DualPipe's mirror is copy 1, others have one.
  friend auto operator<=>(const Chunk&, const Chunk&) = default;
};

struct Instruction {
  Action action = Action::forward;
  Chunk forward;   ///< Of forward and overlapped.
  Chunk backward;  ///< Of all others and of overlapped.
  friend auto operator<=>(const Instruction&, const Instruction&) = default;
};

/// Instructions of one rank in order.
using Program = std::vector<Instruction>;

/// Which pipeline rank holds which stages; who sends to whom follows from it.
class StagePlacement {
 public:
  /// `rank_of[copy][stage]`: copies have equally many stages, and every rank holds one at least.
  StagePlacement(int ranks, std::vector<std::vector<int>> rank_of);

  /// Rank r holds stage r.
  [[nodiscard]] static StagePlacement one_each(int ranks);
  /// Rank r holds stages r, r + ranks, r + 2 ranks ... (interleaved 1F1B).
  [[nodiscard]] static StagePlacement round_robin(int ranks, int stages_per_rank);
  /// Rank r holds stages r and 2 ranks - 1 - r: first and last stage share a rank (ZB-V,
  /// DualPipeV).
  [[nodiscard]] static StagePlacement v_shape(int ranks);
  /// Two copies: rank r holds stage r of one and stage ranks - 1 - r of the other (DualPipe).
  [[nodiscard]] static StagePlacement mirrored(int ranks);

  [[nodiscard]] int ranks() const { return ranks_; }
  [[nodiscard]] int stages() const { return static_cast<int>(rank_of_.front().size()); }
  [[nodiscard]] int copies() const { return static_cast<int>(rank_of_.size()); }
  [[nodiscard]] int rank_of(const Chunk& chunk) const {
    return rank_of_[static_cast<std::size_t>(chunk.copy)][static_cast<std::size_t>(chunk.stage)];
  }
  /// Of all copies: by copy, then in forward order.
  [[nodiscard]] std::vector<int> stages_of(int rank) const;
  /// Ranks that hold a copy of `stage`, ascending.
  [[nodiscard]] std::vector<int> holders(int stage) const;

  /// The chunk that needs `chunk`'s activation (or, for a `gradient`, its input gradient); none at
  /// the ends of the model. It may be on the same rank: then no message travels.
  [[nodiscard]] std::optional<Chunk> consumer(const Chunk& chunk, bool gradient) const;
  /// The chunk whose activation (or input gradient) `chunk` needs; none at the ends.
  [[nodiscard]] std::optional<Chunk> producer(const Chunk& chunk, bool gradient) const {
    return consumer(chunk, !gradient);
  }
  /// Rank that gets a message from `chunk`; none when none travels.
  [[nodiscard]] std::optional<int> receiver(const Chunk& chunk, bool gradient) const;
  /// Ranks between which messages travel: from, to.
  [[nodiscard]] std::set<std::pair<int, int>> links() const;
  /// The most ranks that one rank sends activations to: 2 where they travel both ways.
  [[nodiscard]] int directions() const;

 private:
  int ranks_;
  std::vector<std::vector<int>> rank_of_;
};

/// Who runs what, in which order.
struct Schedule {
  StagePlacement placement;
  std::vector<Program> programs;  ///< By rank.
};

/// A schedule that was not made here, with what it is made for.
struct CustomSchedule {
  std::string name;
  Schedule schedule;
  int micro_batches = 0;  ///< Of one pipeline and step.
};

/// The most chunks that `program` keeps at any time: from the forward until the input gradient has
/// run, or, with `until_weight_gradient`, until the weight gradient has.
[[nodiscard]] int most_in_flight(const Program& program, bool until_weight_gradient);

/// A core::Span's category: forward, backward, weight or overlapped.
[[nodiscard]] std::string span_category(Action action);

/// "F 3", "B 3", "Bi 3", "W 3", "F 4 & B 3"; with the stage ("F 3 s5") where a rank holds several
/// of one copy, and a prime ("F 3'") in the second copy.
[[nodiscard]] std::string describe(const Instruction& instruction, const StagePlacement& placement);

// Every maker below throws core::Refusal (illegal_combination) with the reason and the nearest
// legal number of micro-batches. `micro_batches` counts all of one pipeline and step.

/// All forwards, then all backwards, the last first (arXiv 1811.06965).
[[nodiscard]] Schedule gpipe(int ranks, int micro_batches);

/// Rank r runs ranks - 1 - r forward chunks ahead, then one forward and one backward in turn (arXiv
/// 2104.04473, section 2.2.1). micro_batches >= ranks. `paired`: the two run as one, so that the
/// exchanges of one hide behind the other's kernels, and rank r is 2 (ranks - 1 - r) + 1 chunks
/// ahead (Megatron-Core's overlap_moe_expert_parallel_comm, combined_1f1b.py).
[[nodiscard]] Schedule one_forward_one_backward(int ranks, int micro_batches, bool paired = false);

/// Interleaved 1F1B (arXiv 2104.04473, section 2.2.2) in the order of Megatron-LM's
/// forward_backward_pipelining_with_interleaving: a rank runs `group` micro-batches (0: as many as
/// ranks) on its first stage, then on its second ..., backwards in reverse, and is
/// 2 (ranks - 1 - r) + (stages_per_rank - 1) group chunks ahead. At least 2 ranks and 2 stages a
/// rank, group >= ranks; micro-batches beyond full groups are none or at least `ranks`, as
/// Megatron-LM demands. `paired` as above, one chunk more ahead.
[[nodiscard]] Schedule interleaved(int ranks, int stages_per_rank, int micro_batches, int group = 0,
                                   bool paired = false);

/// ZB-H1 (arXiv 2401.10241, section 2.3): 1F1B's order and memory with input and weight gradients
/// apart; rank r keeps r weight gradients for the tail. micro_batches >= ranks.
[[nodiscard]] Schedule zero_bubble_h1(int ranks, int micro_batches);

/// ZB-V (arXiv 2401.10241, section 6; V-ZB of arXiv 2405.15362): two stages a rank, as placed by
/// v_shape(). No bubble where forward, input and weight gradient take equally long. micro_batches
/// >= 2 ranks - 1, so that the turn of the V is always fed.
[[nodiscard]] Schedule zero_bubble_v(int ranks, int micro_batches);

/// The steps of DualPipe's published implementation (github.com/deepseek-ai/DualPipe,
/// dualpipe/dualpipe.py): nF0, nF0F1, nB1W1F1, main nF0B1F1B0, nB1F1B0, nB1B0, nWB0, nW.
/// Even ranks; micro_batches, the sum of both directions, even and at least twice ranks.
[[nodiscard]] Schedule dual_pipe(int ranks, int micro_batches);

/// DualPipe cut at its mirror and folded (dualpipe/dualpipev.py of the same repository): one copy,
/// two stages a rank, the same steps. micro_batches >= 2 ranks.
[[nodiscard]] Schedule dual_pipe_v(int ranks, int micro_batches);

}  // namespace tessera::training
