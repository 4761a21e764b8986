#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "models/training/report_rows.hpp"

namespace tessera::training {
namespace {

using core::Time;

constexpr int kCompute = 0;
constexpr int kCommunication = 1;
constexpr int kSharding = 2;
/// Instructions a rank, around the middle of its step, whose exchanges are drawn.
constexpr std::size_t kDetailed = 3;

int thread_of(Lane lane) {
  switch (lane) {
    case Lane::compute:
      return kCompute;
    case Lane::communication:
      return kCommunication;
    case Lane::sharding:
      return kSharding;
  }
  return kCompute;
}

class TimelineWriter {
 public:
  TimelineWriter(StepModel& model, const StepRun& run) : model_(model), run_(run) {}

  core::Timeline write() {
    for (int rank = 0; rank < model_.layout().ranks(); ++rank) write_rank(rank);
    write_kernels(model_.layout().ranks() / 4);
    return std::move(timeline_);
  }

 private:
  void process(int id, std::string name) {
    timeline_.processes.emplace_back(id, std::move(name));
    timeline_.threads.emplace_back(std::pair{id, kCompute}, "compute");
    timeline_.threads.emplace_back(std::pair{id, kCommunication}, "communication");
  }
  void span(int id, int thread, std::string name, std::string kind, Time start, Time end) {
    if (end <= start) return;
    timeline_.spans.push_back({id, thread, std::move(name), std::move(kind), start, end - start});
  }

  void write_rank(int rank) {
    const std::vector<int> stages = model_.layout().stages_of(rank);
    process(rank, fmt::format("pipeline rank {} (stage{} {})", rank, stages.size() > 1 ? "s" : "",
                              fmt::join(stages, " and ")));
    const std::vector<Execution>& executions = run_.pipeline.ranks[static_cast<std::size_t>(rank)];
    const OptimizerRun& optimizer = run_.optimizer[static_cast<std::size_t>(rank)];
    Time free{};
    for (const Execution& e : executions) {
      span(rank, kCompute, "bubble", "bubble", free, e.start);
      span(rank, kCompute, describe(e.instruction, model_.layout().placement()),
           span_category(e.instruction.action), e.start, e.end);
      free = e.end;
    }
    for (const OptimizerRun::Stretch& s : optimizer.stretches) {
      if (!s.network)
        span(rank, kCompute, "bubble", "bubble", std::max(free, last_end(optimizer, s)), s.start);
      span(rank, s.network ? kCommunication : kCompute, s.name, "optimizer", s.start, s.end);
    }
    const std::size_t middle = executions.size() / 2;
    const std::size_t last = std::min(executions.size(), middle + kDetailed);
    for (std::size_t i = middle; i < last; ++i) {
      nodes(rank, executions[i], false);
    }
  }

  /// End of the optimizer's stretch before `stretch`: between them the rank waits.
  static Time last_end(const OptimizerRun& optimizer, const OptimizerRun::Stretch& stretch) {
    Time end{};
    for (const OptimizerRun::Stretch& s : optimizer.stretches) {
      if (&s == &stretch) break;
      end = std::max(end, s.end);
    }
    return end;
  }

  void nodes(int id, const Execution& execution, bool kernels) {
    const ChunkPlan& plan = model_.plan(execution.instruction);
    const ChunkRun& chunk = model_.chunk(execution.instruction, {});
    for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
      const Node& node = plan.nodes[i];
      if (node.kernel && !kernels) continue;
      const auto [first, second] = chunk.spans[i];
      span(id, thread_of(node.lane), kernels ? node.part + " " + node.name : node.name,
           node.category, execution.start + first, execution.start + second);
    }
  }

  /// One instruction of each kind, the one in the middle of those that the rank runs.
  void write_kernels(int rank) {
    const int id = model_.layout().ranks();
    process(id, fmt::format("kernels of rank {}, one instruction of each kind", rank));
    const std::vector<Execution>& executions = run_.pipeline.ranks[static_cast<std::size_t>(rank)];
    for (const Action action : {Action::forward, Action::overlapped, Action::backward,
                                Action::input_gradient, Action::weight_gradient}) {
      std::vector<const Execution*> same;
      for (const Execution& e : executions) {
        if (e.instruction.action == action) same.push_back(&e);
      }
      if (same.empty()) continue;
      const Execution& chosen = *same[same.size() / 2];
      nodes(id, chosen, true);
    }
  }

  StepModel& model_;
  const StepRun& run_;
  core::Timeline timeline_;
};

}  // namespace

core::Timeline step_timeline(StepModel& model, const StepRun& run) {
  return TimelineWriter(model, run).write();
}

}  // namespace tessera::training
