#include <fmt/format.h>

#include <algorithm>

#include "models/training/schedule.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::illegal_combination, reason);
}

void require_enough(const char* name, int ranks, int micro_batches, int least) {
  if (micro_batches >= least) return;
  refuse(
      fmt::format("{} over {} ranks needs at least {} micro-batches a step, not {} (the "
                  "nearest legal number is {})",
                  name, ranks, least, micro_batches, least));
}

/// Order in which a rank of an interleaved pipeline visits its chunks: all micro-batches of a group
/// on its first stage, then on its second, and so on; then the next group.
struct InterleavedOrder {
  int rank, ranks, stages_per_rank, group, micro_batches;

  [[nodiscard]] Chunk at(int visit, bool backward) const {
    const int in_group = visit / (group * stages_per_rank);
    const int first = in_group * group;
    const int size = std::min(group, micro_batches - first);  // the last group may be smaller
    const int within = visit - first * stages_per_rank;
    const int turn = within / size;
    const int slot = backward ? stages_per_rank - 1 - turn : turn;
    return {slot * ranks + rank, first + within % size, 0};
  }
};

/// A rank's forward chunk of a visit and the backward chunk `ahead` visits before it, as far as
/// they are there: one after the other, or as a pair.
template <class ChunkAt>
void visit_both(Program& program, int visit, int ahead, int visits, bool paired,
                const ChunkAt& chunk_at) {
  const bool forward = visit < visits;
  const bool backward = visit >= ahead;
  if (forward && backward && paired) {
    program.push_back({Action::overlapped, chunk_at(visit, false), chunk_at(visit - ahead, true)});
    return;
  }
  if (forward) program.push_back({Action::forward, chunk_at(visit, false), {}});
  if (backward) program.push_back({Action::backward, {}, chunk_at(visit - ahead, true)});
}

}  // namespace

Schedule gpipe(int ranks, int micro_batches) {
  require_enough("GPipe", ranks, micro_batches, 1);
  Schedule schedule{StagePlacement::one_each(ranks), {}};
  for (int rank = 0; rank < ranks; ++rank) {
    Program& program = schedule.programs.emplace_back();
    for (int m = 0; m < micro_batches; ++m) program.push_back({Action::forward, {rank, m, 0}, {}});
    for (int m = micro_batches; m-- > 0;) program.push_back({Action::backward, {}, {rank, m, 0}});
  }
  return schedule;
}

Schedule one_forward_one_backward(int ranks, int micro_batches, bool paired) {
  require_enough("1F1B", ranks, micro_batches, ranks);
  Schedule schedule{StagePlacement::one_each(ranks), {}};
  for (int rank = 0; rank < ranks; ++rank) {
    Program& program = schedule.programs.emplace_back();
    // A pair ends as a whole: a rank is two chunks ahead of the next instead of one.
    const int wanted = paired ? 2 * (ranks - 1 - rank) + 1 : ranks - 1 - rank;
    const int ahead = std::min(micro_batches, wanted);
    for (int visit = 0; visit < micro_batches + ahead; ++visit)
      visit_both(program, visit, ahead, micro_batches, paired, [&](int m, bool) {
        return Chunk{rank, m, 0};
      });
  }
  return schedule;
}

Schedule interleaved(int ranks, int stages_per_rank, int micro_batches, int group, bool paired) {
  if (group == 0) group = ranks;
  if (ranks < 2) refuse("interleaved 1F1B needs at least 2 pipeline ranks, not 1");
  if (stages_per_rank < 2) {
    refuse(
        fmt::format("interleaved 1F1B needs at least 2 stages a rank, not {}; with one it is "
                    "1F1B",
                    stages_per_rank));
  }
  if (group < ranks) {
    refuse(
        fmt::format("interleaved 1F1B over {} ranks needs groups of at least {} micro-batches, "
                    "not {}",
                    ranks, ranks, group));
  }
  const int rest = micro_batches % group;
  if (micro_batches < group || (rest > 0 && rest < ranks)) {
    const int below = micro_batches - rest, above = below + ranks;
    const int legal = below > 0 && 2 * rest <= ranks ? below : std::max(group, above);
    refuse(
        fmt::format("interleaved 1F1B over {} ranks runs micro-batches in groups of {}, the "
                    "last one of at least {}, which {} a step do not give (the nearest legal "
                    "number is {})",
                    ranks, group, ranks, micro_batches, legal));
  }
  Schedule schedule{StagePlacement::round_robin(ranks, stages_per_rank), {}};
  const int visits = micro_batches * stages_per_rank;
  for (int rank = 0; rank < ranks; ++rank) {
    const InterleavedOrder order{rank, ranks, stages_per_rank, group, micro_batches};
    const int wanted = 2 * (ranks - 1 - rank) + (stages_per_rank - 1) * group + (paired ? 1 : 0);
    const int ahead = std::min(visits, wanted);
    Program& program = schedule.programs.emplace_back();
    for (int visit = 0; visit < visits + ahead; ++visit)
      visit_both(program, visit, ahead, visits, paired,
                 [&](int at, bool backward) { return order.at(at, backward); });
  }
  return schedule;
}

}  // namespace tessera::training
