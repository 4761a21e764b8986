#include "models/training/pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <tuple>

#include "sim/core/diagnostics.hpp"
#include "sim/core/event_kernel.hpp"

namespace tessera::training {
namespace {

using core::Time;

/// An activation (forward) or its gradient on its way to the chunk that needs it.
struct Message {
  bool gradient = false;
  Chunk consumer;
  friend auto operator<=>(const Message&, const Message&) = default;
};

class Rank;
using Ranks = std::vector<std::unique_ptr<Rank>>;
using TimeOf = std::function<InstructionTime(int, const Instruction&)>;
using SendTime = std::function<Time(int, int)>;

/// One pipeline rank: takes messages, runs its program in order.
class Rank {
 public:
  Rank(int rank, const Schedule& schedule, Ranks& ranks, const TimeOf& time, const SendTime& send,
       core::Simulation& simulation)
      : rank_(rank),
        placement_(schedule.placement),
        program_(schedule.programs[static_cast<std::size_t>(rank)]),
        ranks_(ranks),
        time_(time),
        send_(send),
        simulation_(simulation),
        process_(simulation.add_process(fmt::format("rank {}", rank), [this] { step(); })),
        inbox_(process_) {}

  [[nodiscard]] bool finished() const { return next_ == program_.size(); }
  [[nodiscard]] std::vector<Execution> take() { return std::move(executions_); }

 private:
  void step() {
    while (std::optional<Message> message = inbox_.receive()) arrived_.insert(*message);
    if (simulation_.now() < free_at_ || finished()) return;
    const Instruction& instruction = program_[next_];
    if (!take_inputs(instruction)) return;
    start(instruction);
  }

  void start(const Instruction& instruction) {
    const InstructionTime time = time_(rank_, instruction);
    const Time now = simulation_.now();
    free_at_ = now + time.duration;
    executions_.push_back({instruction, now, free_at_});
    ++next_;
    send_results(instruction, time);
    process_.wake_at(free_at_);
  }

  void send_results(const Instruction& instruction, const InstructionTime& time) {
    const bool forward = runs_forward(instruction.action);
    const bool backward = runs_input_gradient(instruction.action);
    const bool gradient_first = backward && time.backward_ready < time.forward_ready;
    if (gradient_first) post(instruction.backward, true, time.backward_ready);
    if (forward) post(instruction.forward, false, time.forward_ready);
    if (backward && !gradient_first) post(instruction.backward, true, time.backward_ready);
  }

  /// Sends to the rank of the next stage (activations) or the previous one (gradients), if any. On
  /// this rank itself it is there at once: the next instruction starts after this one has ended.
  void post(const Chunk& producer, bool gradient, Time ready) {
    const std::optional<Chunk> consumer = placement_.consumer(producer, gradient);
    if (!consumer) return;
    const Message message{gradient, *consumer};
    const int to = placement_.rank_of(*consumer);
    if (to == rank_) {
      arrived_.insert(message);
      return;
    }
    const Time leaves = std::max(simulation_.now() + ready, link_free_at_);
    link_free_at_ = leaves + send_(rank_, to);
    ranks_[static_cast<std::size_t>(to)]->inbox_.send(message, link_free_at_ - simulation_.now());
  }

  /// Removes the messages that `instruction` needs, or none when one is missing.
  bool take_inputs(const Instruction& instruction) {
    std::vector<Message> needed;
    if (runs_forward(instruction.action) && placement_.producer(instruction.forward, false)) {
      needed.push_back({false, instruction.forward});
    }
    if (runs_input_gradient(instruction.action) &&
        placement_.producer(instruction.backward, true)) {
      needed.push_back({true, instruction.backward});
    }
    for (const Message& message : needed) {
      if (!arrived_.contains(message)) return false;
    }
    for (const Message& message : needed) arrived_.erase(message);
    return true;
  }

  int rank_;
  const StagePlacement& placement_;
  const Program& program_;
  Ranks& ranks_;
  const TimeOf& time_;
  const SendTime& send_;
  core::Simulation& simulation_;
  core::Process& process_;
  core::Port<Message> inbox_;
  std::set<Message> arrived_;
  std::size_t next_ = 0;
  Time free_at_{};
  Time link_free_at_{};
  std::vector<Execution> executions_;
};

}  // namespace

PipelineRun run_pipeline(const Schedule& schedule, const TimeOf& time, const SendTime& send) {
  core::Simulation simulation;
  Ranks ranks;
  for (int rank = 0; rank < schedule.placement.ranks(); ++rank) {
    ranks.push_back(std::make_unique<Rank>(rank, schedule, ranks, time, send, simulation));
  }
  simulation.run();
  PipelineRun run;
  run.events = simulation.statistics().events;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    if (!ranks[r]->finished()) {
      throw core::Refusal(core::RefusalKind::illegal_combination,
                          fmt::format("the schedule deadlocks on pipeline rank {}", r));
    }
    run.ranks.push_back(ranks[r]->take());
  }
  return run;
}

}  // namespace tessera::training
