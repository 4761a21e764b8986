#include "models/training/report_rows.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "models/streams/result_rows.hpp"

namespace tessera::training {
namespace {

using core::Time;
using streams::Traffic;
using Direction = workload::Exchange::Direction;

double seconds(Time time) { return core::to_seconds(time).value(); }

core::Grade grade_of(const NetworkCost& cost, core::Grade grade) {
  return cost.time > Time{} ? core::worst(grade, cost.grade) : grade;
}

core::Grade worst_grade(const StepModel& model) {
  core::Grade grade = core::Grade::measured;
  for (const auto& [key, cost] : model.costs().kernels()) {
    grade = core::worst(grade, cost.result.grade);
  }
  for (const auto& [direction, cost] : model.costs().exchanges()) {
    grade = grade_of(cost.network, grade);
  }
  for (int stage = 0; stage < model.layout().placement().stages(); ++stage) {
    for (const NetworkCost& cost : model.traffic().reductions(stage)) grade = grade_of(cost, grade);
    for (const NetworkCost& cost : model.traffic().gathers(stage)) grade = grade_of(cost, grade);
  }
  for (const auto& [ranks, cost] : model.sends()) grade = grade_of(cost, grade);
  return grade;
}

}  // namespace

namespace {

/// The step and its phases, all longer or shorter.
void scale(StepRun& run, double factor) {
  const auto scaled = [&](Time& time) {
    time = Time{std::llround(static_cast<double>(time.value()) * factor)};
  };
  scaled(run.step);
  for (PhaseTimes& phases : run.phases)
    for (Time* time : {&phases.forward, &phases.backward, &phases.weight, &phases.overlapped,
                       &phases.optimizer, &phases.bubble})
      scaled(*time);
}

}  // namespace

StepEnsemble run_ensemble(StepModel& model) {
  StepEnsemble ensemble =
      streams::vary<StepRun>([&](const Variation& variation) { return model.run(variation); });
  if (model.unexplained() > 0)
    for (const double sign : {-1.0, 1.0}) {
      ensemble.varied.push_back(ensemble.nominal);
      scale(ensemble.varied.back(), std::exp(sign * model.unexplained()));
    }
  ensemble.grade = worst_grade(model);
  return ensemble;
}

int busiest_rank(const StepRun& run) {
  const auto idle = [](const PhaseTimes& p) { return p.bubble; };
  const auto least =
      std::min_element(run.phases.begin(), run.phases.end(),
                       [&](const PhaseTimes& a, const PhaseTimes& b) { return idle(a) < idle(b); });
  return static_cast<int>(least - run.phases.begin());
}

std::vector<NodeUse> node_uses(StepModel& model, int rank) {
  std::vector<NodeUse> uses;
  std::map<const ChunkPlan*, std::size_t> first;  // looked up only
  std::vector<std::pair<const ChunkPlan*, double>> plans;
  for (const Instruction& instruction : model.layout().program(rank)) {
    const ChunkPlan& plan = model.plan(instruction);
    const auto [at, added] = first.emplace(&plan, plans.size());
    if (added) plans.emplace_back(&plan, 0);
    plans[at->second].second += 1;
  }
  for (const auto& [plan, calls] : plans) {
    for (const Node& node : plan->nodes) uses.push_back({&node, rank, calls});
  }
  return uses;
}

std::vector<core::PhaseRow> phase_rows(const StepEnsemble& ensemble) {
  using Member = Time PhaseTimes::*;
  const std::pair<const char*, Member> phases[] = {
      {"1F", &PhaseTimes::forward},    {"1B", &PhaseTimes::backward},
      {"1W", &PhaseTimes::weight},     {"1F1B", &PhaseTimes::overlapped},
      {"bubble", &PhaseTimes::bubble}, {"optimizer", &PhaseTimes::optimizer}};
  std::vector<core::PhaseRow> rows;
  const std::size_t ranks = ensemble.nominal.phases.size();
  for (const auto& [name, member] : phases) {
    const auto mean = [member = member](const StepRun& run) {
      double sum = 0;
      for (const PhaseTimes& rank : run.phases) sum += seconds(rank.*member);
      return sum / static_cast<double>(run.phases.size());
    };
    rows.push_back({"all", name, ensemble.estimate(mean, "s")});
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const auto one = [member = member, rank](const StepRun& run) {
        return seconds(run.phases[rank].*member);
      };
      rows.push_back({std::to_string(rank), name, ensemble.estimate(one, "s")});
    }
  }
  return rows;
}

std::vector<core::MemoryRow> memory_rows(const TrainingJob& job,
                                         const std::vector<RankMemory>& memory) {
  std::vector<core::MemoryRow> rows;
  for (const RankMemory& m : memory) {
    const std::string rank = std::to_string(m.rank);
    for (const auto& [kind, bytes] :
         {std::pair{"weights", m.weights}, std::pair{"gradients", m.gradients},
          std::pair{"master_weights", m.master_weights}, std::pair{"moments", m.moments},
          std::pair{"activations", m.activations}, std::pair{"buffers", m.buffers},
          std::pair{"workspace", m.workspace},
          std::pair{"free", static_cast<double>(job.device.hbm.size.value()) - m.total()}}) {
      rows.push_back({rank, kind, bytes});
    }
    if (m.gathered > 0) rows.insert(rows.end() - 4, {rank, "gathered", m.gathered});
  }
  return rows;
}

std::vector<core::MemoryFormatRow> memory_format_rows(const std::vector<RankMemory>& memory) {
  const auto fullest = std::max_element(
      memory.begin(), memory.end(),
      [](const RankMemory& a, const RankMemory& b) { return a.total() < b.total(); });
  std::vector<core::MemoryFormatRow> rows;
  for (const char* kind : {"weights", "gradients", "master_weights", "moments", "activations"})
    for (const auto& [key, bytes] : fullest->formats)
      if (key.first == kind && bytes > 0) rows.push_back({kind, key.second, bytes});
  return rows;
}

std::vector<core::KernelRow> kernel_rows(StepModel& model, int rank, int device_sms) {
  struct Use {
    std::string name;
    double calls = 0;
  };
  std::map<std::tuple<workload::Pass, std::string, int>, std::pair<Use, const KernelCost*>> uses;
  const auto count = [&](const std::string& name, const KernelCost* cost, workload::Pass pass,
                         double calls) {
    auto& [use, kernel] = uses[{pass, workload::describe(cost->op), cost->sms}];
    if (use.name.empty()) use.name = name;
    use.calls += calls;
    kernel = cost;
  };
  for (const NodeUse& use : node_uses(model, rank)) {
    if (use.node->kernel) {
      count(use.node->name, use.node->kernel, use.node->pass, use.calls);
    }
  }
  const StepModel::OptimizerKernels& optimizer = model.optimizer_kernels(rank);
  for (const auto& [name, list] :
       {std::pair{"gradient_clip", &optimizer.norm}, std::pair{"adamw", &optimizer.update},
        std::pair{"weight transpose", &optimizer.after_gather}}) {
    for (const KernelCost* cost : *list) count(name, cost, workload::Pass::optimizer, 1);
  }
  std::vector<core::KernelRow> rows;
  for (const auto& [key, use] : uses) {
    rows.push_back(streams::kernel_row(use.first.name, *use.second, std::get<0>(key),
                                       use.first.calls, device_sms));
  }
  streams::sort_by_time(rows);
  return rows;
}

std::vector<core::NetworkRow> network_rows(StepModel& model, const StepRun& run, int rank) {
  Traffic dispatch{"dispatch"}, combine{"combine"}, send{"pipeline_send"}, reduce{"reduce_scatter"},
      gather{"all_gather"};
  std::map<std::string, Traffic> collectives;  ///< Of chunks, by name.
  for (const NodeUse& use : node_uses(model, rank)) {
    if (use.node->network && use.node->name != kMessages) {
      Traffic& traffic =
          collectives.try_emplace(use.node->name, Traffic{use.node->name}).first->second;
      traffic.add(*use.node->network, use.calls);
    }
    if (!use.node->exchange) continue;
    Traffic& traffic = use.node->direction == Direction::dispatch ? dispatch : combine;
    traffic.add(use.node->exchange->network, use.node->exchange->time, use.calls);
  }
  for (const Instruction& i : model.layout().program(rank)) {
    const ChunkRun& chunk = model.chunk(i, {});
    const std::vector<Node>& nodes = model.plan(i).nodes;
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      if (!nodes[n].network) continue;
      Traffic& of = nodes[n].name == kMessages ? send : collectives.at(nodes[n].name);
      of.exposed += seconds(chunk.exposed[n]);
    }
    dispatch.exposed += seconds(chunk.exposed_dispatch);
    combine.exposed += seconds(chunk.exposed_combine);
    const auto sent = [&](const Chunk& from, bool gradient) {
      const std::optional<int> to = model.layout().placement().receiver(from, gradient);
      if (to) send.add(model.send_cost(rank, *to), 1);
    };
    if (runs_forward(i.action)) sent(i.forward, false);
    if (runs_input_gradient(i.action)) sent(i.backward, true);
  }
  for (const int stage : model.layout().stages_of(rank)) {
    for (const NetworkCost& cost : model.traffic().reductions(stage)) reduce.add(cost, 1);
    for (const NetworkCost& cost : model.traffic().gathers(stage)) gather.add(cost, 1);
    for (const NetworkCost& cost : model.traffic().hidden_gathers(stage)) gather.add(cost, 1);
  }
  const Time last = run.pipeline.ranks[static_cast<std::size_t>(rank)].back().end;
  for (const OptimizerRun::Stretch& s : run.optimizer[static_cast<std::size_t>(rank)].stretches) {
    if (!s.network) continue;
    const double exposed = seconds(std::max(Time{}, s.end - std::max(s.start, last)));
    if (std::string_view(s.name) == kTrailing) {
      for (auto& [name, traffic] : collectives) {
        if (name.starts_with("gradients")) traffic.exposed += exposed;
      }
      continue;
    }
    (std::string(s.name) == "all_gather" ? gather : reduce).exposed += exposed;
  }
  std::vector<core::NetworkRow> rows;
  for (const Traffic* traffic : {&dispatch, &combine, &send, &reduce, &gather}) {
    traffic->write(rows);
  }
  for (const auto& [name, traffic] : collectives) traffic.write(rows);
  return rows;
}

double joules_per_gpu(StepModel& model, const StepRun& run, core::Watts idle) {
  const auto above_idle = [&](const gpu::KernelResult& r) {
    return streams::joules_above_idle(r, idle);
  };
  double joules = 0;
  for (int rank = 0; rank < model.layout().ranks(); ++rank) {
    for (const NodeUse& use : node_uses(model, rank)) {
      const Node& node = *use.node;
      if (node.network) continue;  // what its copying takes beside computation is not known
      joules += use.calls * above_idle(node.kernel ? node.kernel->result : node.exchange->kernel);
    }
    const StepModel::OptimizerKernels& optimizer = model.optimizer_kernels(rank);
    for (const auto* list : {&optimizer.norm, &optimizer.update, &optimizer.after_gather}) {
      for (const KernelCost* cost : *list) joules += above_idle(cost->result);
    }
  }
  return joules / model.layout().ranks() + idle.value() * seconds(run.step);
}

}  // namespace tessera::training
