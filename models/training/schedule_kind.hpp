#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/training/schedule.hpp"

namespace tessera::training {

enum class ScheduleKind {
  gpipe,        ///< All forwards, then all backwards.
  one_f_one_b,  ///< One direction, one forward and one full backward in turn.
  interleaved,  ///< The same with several stages a rank, round robin.
  zb_h1,        ///< 1F1B with weight gradients apart.
  zb_v,         ///< Two stages a rank in a V, weight gradients apart.
  dualpipe,     ///< Both directions, overlapped forward and backward chunks.
  dualpipev,    ///< DualPipe folded: one direction, two stages a rank in a V.
  custom,       ///< Read from a file (schedule_file.hpp).
};

/// All kinds under the names that scenarios and the command line use.
[[nodiscard]] const std::vector<std::pair<std::string, ScheduleKind>>& schedule_kinds();

/// Everything that a maker needs.
struct ScheduleShape {
  int ranks = 1;
  int micro_batches = 1;      ///< Of one pipeline and step.
  int stages_per_rank = 1;    ///< Of interleaved; the others have their own.
  int micro_batch_group = 0;  ///< Of interleaved; 0: as many as ranks.
  bool paired = false;        ///< Of 1f1b and interleaved: forward and backward run as one.
};

/// Requires kind != custom.
[[nodiscard]] StagePlacement placement_of(ScheduleKind kind, int ranks, int stages_per_rank);
/// Throws core::Refusal (illegal_combination); requires kind != custom.
[[nodiscard]] Schedule make_schedule(ScheduleKind kind, const ScheduleShape& shape);

}  // namespace tessera::training
