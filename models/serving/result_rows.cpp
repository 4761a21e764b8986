#include "models/serving/result_rows.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "models/streams/result_rows.hpp"

namespace tessera::serving {
namespace {

using core::Time;
using streams::Lane;
using streams::Node;

/// Nodes of a timeline: a few layers, the picture of all of them would be the same over and over.
constexpr std::size_t kShownNodes = 400;

double seconds(Time time) { return core::to_seconds(time).value(); }

std::vector<core::PhaseRow> longest_first(std::vector<core::PhaseRow> rows) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.time.value > b.time.value; });
  return rows;
}

/// How often each node's kernel or transfer runs over the job's iterations.
template <class Visit>
void each_node(const IterationModel& model, const Visit& visit) {
  for (std::size_t p = 0; p < model.plans().size(); ++p) {
    const IterationPlan& plan = model.plans()[p];
    for (std::size_t i = 0; i < plan.chunk.nodes.size(); ++i)
      visit(plan.chunk.nodes[i], plan.groups[i], p, i);
  }
}

std::map<std::string, Time> by_binding(const IterationModel& model, const IterationRun& run) {
  std::map<std::string, Time> times;
  each_node(model, [&](const Node& node, const std::string&, std::size_t p, std::size_t i) {
    const streams::ChunkRun& chunk = run.chunks[p];
    const auto& [start, end] = chunk.spans[i];
    if (node.lane != Lane::compute)
      times["network"] += chunk.exposed[i];
    else  // without a kernel: SMs that hand rows to the network
      times[node.kernel ? gpu::to_string(node.kernel->result.binding) : "network"] += end - start;
  });
  if (run.host > Time{}) times["host"] += run.host;
  return times;
}

}  // namespace

std::vector<core::PhaseRow> phase_rows(const IterationEnsemble& ensemble) {
  std::vector<core::PhaseRow> rows;
  for (const auto& [name, time] : ensemble.nominal.stretches) {
    const auto of = [&name = name](const IterationRun& run) {
      const auto found = run.stretches.find(name);
      return found == run.stretches.end() ? 0.0 : seconds(found->second);
    };
    rows.push_back({"0", name, ensemble.estimate(of, "s")});
  }
  return longest_first(std::move(rows));
}

std::vector<core::PhaseRow> binding_rows(const IterationModel& model,
                                         const IterationEnsemble& ensemble) {
  std::vector<core::PhaseRow> rows;
  std::vector<std::map<std::string, Time>> varied;
  for (const IterationRun& run : ensemble.varied) varied.push_back(by_binding(model, run));
  for (const auto& [name, time] : by_binding(model, ensemble.nominal)) {
    const auto of = [&, &name = name](const IterationRun& run) {
      const auto at = &run == &ensemble.nominal
                          ? by_binding(model, run)
                          : varied[static_cast<std::size_t>(&run - ensemble.varied.data())];
      const auto found = at.find(name);
      return found == at.end() ? 0.0 : seconds(found->second);
    };
    rows.push_back({"0", core::kBoundBy + name, ensemble.estimate(of, "s")});
  }
  return longest_first(std::move(rows));
}

std::vector<core::KernelRow> kernel_rows(const IterationModel& model, int device_sms) {
  struct Use {
    std::string name;
    double calls = 0;
    const streams::KernelCost* cost = nullptr;
  };
  std::map<std::pair<std::string, int>, Use> uses;
  each_node(model, [&](const Node& node, const std::string&, std::size_t, std::size_t) {
    if (!node.kernel) return;
    Use& use = uses[{workload::describe(node.kernel->op), node.kernel->sms}];
    if (use.name.empty()) use.name = node.name;
    use.calls += 1;
    use.cost = node.kernel;
  });
  std::vector<core::KernelRow> rows;
  for (const auto& [key, use] : uses)
    rows.push_back(
        streams::kernel_row(use.name, *use.cost, workload::Pass::forward, use.calls, device_sms));
  streams::sort_by_time(rows);
  return rows;
}

std::vector<core::NetworkRow> network_rows(const IterationModel& model, const IterationRun& run) {
  std::map<std::string, streams::Traffic> all;
  each_node(model, [&](const Node& node, const std::string& group, std::size_t p, std::size_t i) {
    if (node.lane == Lane::compute) return;
    streams::Traffic& traffic =
        all.try_emplace(group, streams::Traffic{.operation = group}).first->second;
    traffic.add(node.network ? *node.network : node.exchange->network, node.time(), 1);
    traffic.exposed += seconds(run.chunks[p].exposed[i]);
  });
  std::vector<core::NetworkRow> rows;
  for (const auto& [name, traffic] : all) traffic.write(rows);
  return rows;
}

double joules_per_gpu(const IterationModel& model, const IterationRun& run, core::Watts idle) {
  double joules = idle.value() * seconds(run.time);
  each_node(model, [&](const Node& node, const std::string&, std::size_t, std::size_t) {
    if (node.network) return;  // what its copying takes beside computation is not known
    joules +=
        streams::joules_above_idle(node.kernel ? node.kernel->result : node.exchange->kernel, idle);
  });
  return joules;
}

core::Timeline iteration_timeline(const IterationModel& model, const IterationRun& run) {
  core::Timeline timeline;
  timeline.processes.emplace_back(0, "one GPU, first layers of an iteration");
  timeline.threads.emplace_back(std::pair{0, 0}, "compute");
  timeline.threads.emplace_back(std::pair{0, 1}, "communication");
  const IterationPlan& plan = model.plans().front();
  const streams::ChunkRun& chunk = run.chunks.front();
  const std::size_t shown = std::min(kShownNodes, plan.chunk.nodes.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const Node& node = plan.chunk.nodes[i];
    const auto& [start, end] = chunk.spans[i];
    if (end <= start) continue;
    timeline.spans.push_back({0, node.lane == Lane::compute ? 0 : 1, node.part + " " + node.name,
                              node.category, start, end - start});
  }
  return timeline;
}

}  // namespace tessera::serving
