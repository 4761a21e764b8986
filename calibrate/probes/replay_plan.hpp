#pragma once

#include <cstdint>

namespace tessera::calibrate::probes {

/// What a repeat finds in L2.
enum class OperandState {
  cycled,   ///< Several operand sets in turn: a set survives in L2 when all of them fit.
  warm,     ///< One set again and again.
  flushed,  ///< L2 overwritten before every operation.
};

[[nodiscard]] const char* name(OperandState state);

/// How often an operation is recorded into a graph and the graph replayed.
struct ReplayPlan {
  OperandState state = OperandState::cycled;
  int operand_sets = 1;
  int operations = 1;  ///< In one graph; a multiple of operand_sets.
  int warm_up = 3;     ///< Replays that are not timed.
  int replays = 6;     ///< Replays that are.
};

struct ReplayRequest {
  OperandState state = OperandState::cycled;
  int most_sets = 6;
  int warm_up = 3;
  int replays = 6;
  double graph_us = 2000;  ///< Time that one graph should take: a burst at boost clock.
};

/// Operand sets of `set_bytes` that are to be allocated: the request's, at most what `free_bytes`
/// of device memory hold with a third to spare, at least one. One when they are not cycled.
[[nodiscard]] int operand_sets(const ReplayRequest& request, std::int64_t set_bytes,
                               std::int64_t free_bytes);

/// Enough operations for the request's time when one takes `estimate_us`; 1 in a graph when L2 is
/// flushed between them. Requires: estimate_us > 0, sets >= 1.
[[nodiscard]] ReplayPlan plan_replays(const ReplayRequest& request, int sets, double estimate_us);

}  // namespace tessera::calibrate::probes
