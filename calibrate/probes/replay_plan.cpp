#include "calibrate/probes/replay_plan.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace tessera::calibrate::probes {

namespace {

/// Kernel nodes in one graph at most: larger graphs take seconds to instantiate.
constexpr int kMostOperations = 512;  // assumed
/// Single operations vary more than the mean over a graph, so more of them are timed.
constexpr int kFlushedRepeatFactor = 5;  // assumed

}  // namespace

const char* name(OperandState state) {
  switch (state) {
    case OperandState::cycled:
      return "cycled";
    case OperandState::warm:
      return "warm";
    case OperandState::flushed:
      return "flushed";
  }
  assert(false && "an operand state without a name");
  return "";
}

int operand_sets(const ReplayRequest& request, std::int64_t set_bytes, std::int64_t free_bytes) {
  if (request.state != OperandState::cycled) return 1;
  const std::int64_t room = free_bytes / 3 * 2 / std::max<std::int64_t>(1, set_bytes);
  return static_cast<int>(std::clamp<std::int64_t>(room, 1, std::max(1, request.most_sets)));
}

ReplayPlan plan_replays(const ReplayRequest& request, int sets, double estimate_us) {
  assert(estimate_us > 0 && sets >= 1 && "a plan needs an estimate and operands");
  ReplayPlan plan{.state = request.state,
                  .operand_sets = sets,
                  .operations = 1,
                  .warm_up = request.warm_up,
                  .replays = request.replays};
  if (request.state == OperandState::flushed) {
    plan.replays *= kFlushedRepeatFactor;
    return plan;
  }
  const double wanted = std::clamp(std::ceil(request.graph_us / estimate_us), 1.0,
                                   static_cast<double>(kMostOperations));
  const int rounds = (static_cast<int>(wanted) + sets - 1) / sets;
  plan.operations = rounds * sets;
  return plan;
}

}  // namespace tessera::calibrate::probes
