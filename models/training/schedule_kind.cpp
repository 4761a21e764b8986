#include "models/training/schedule_kind.hpp"

#include <cassert>

namespace tessera::training {

const std::vector<std::pair<std::string, ScheduleKind>>& schedule_kinds() {
  static const std::vector<std::pair<std::string, ScheduleKind>> all = {
      {"dualpipe", ScheduleKind::dualpipe}, {"dualpipev", ScheduleKind::dualpipev},
      {"1f1b", ScheduleKind::one_f_one_b},  {"interleaved", ScheduleKind::interleaved},
      {"zb_h1", ScheduleKind::zb_h1},       {"zb_v", ScheduleKind::zb_v},
      {"gpipe", ScheduleKind::gpipe},       {"custom", ScheduleKind::custom}};
  return all;
}

StagePlacement placement_of(ScheduleKind kind, int ranks, int stages_per_rank) {
  switch (kind) {
    case ScheduleKind::interleaved:
      return StagePlacement::round_robin(ranks, stages_per_rank);
    case ScheduleKind::zb_v:
    case ScheduleKind::dualpipev:
      return StagePlacement::v_shape(ranks);
    case ScheduleKind::dualpipe:
      return StagePlacement::mirrored(ranks);
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::zb_h1:
      return StagePlacement::one_each(ranks);
    case ScheduleKind::custom:
      break;
  }
  assert(false && "a custom schedule brings its placement");
  return StagePlacement::one_each(ranks);
}

Schedule make_schedule(ScheduleKind kind, const ScheduleShape& shape) {
  switch (kind) {
    case ScheduleKind::gpipe:
      return gpipe(shape.ranks, shape.micro_batches);
    case ScheduleKind::one_f_one_b:
      return one_forward_one_backward(shape.ranks, shape.micro_batches, shape.paired);
    case ScheduleKind::interleaved:
      return interleaved(shape.ranks, shape.stages_per_rank, shape.micro_batches,
                         shape.micro_batch_group, shape.paired);
    case ScheduleKind::zb_h1:
      return zero_bubble_h1(shape.ranks, shape.micro_batches);
    case ScheduleKind::zb_v:
      return zero_bubble_v(shape.ranks, shape.micro_batches);
    case ScheduleKind::dualpipe:
      return dual_pipe(shape.ranks, shape.micro_batches);
    case ScheduleKind::dualpipev:
      return dual_pipe_v(shape.ranks, shape.micro_batches);
    case ScheduleKind::custom:
      break;
  }
  assert(false && "a custom schedule is read, not made");
  return gpipe(shape.ranks, shape.micro_batches);
}

}  // namespace tessera::training
