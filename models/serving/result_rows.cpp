#include "models/serving/result_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

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

core::KernelRow row_of(const std::string& name, const streams::KernelCost& cost, double calls,
                       int device_sms) {
  const gpu::KernelResult& r = cost.result;
  core::KernelRow row;
  row.name = name;
  row.family = workload::family(cost.op);
  row.implementation = r.implementation;
  row.shape = workload::describe(cost.op);
  row.pass = "forward";
  row.calls_per_step = calls;
  row.time = {seconds(cost.time.value), seconds(cost.time.lower), seconds(cost.time.upper), "s",
              r.grade};
  row.cycles = static_cast<double>(r.cycles.value());
  row.clock_hz = r.clock.value();
  row.flops = r.flops;
  row.hbm_bytes = r.hbm_bytes;
  row.l2_bytes = r.l2_bytes;
  row.energy_joules = r.energy.value();
  row.binding = gpu::to_string(r.binding);
  if (cost.sms > 0) row.note = fmt::format("on {} of {} SMs", cost.sms, device_sms);
  return row;
}

struct Traffic {
  double nvlink_bytes = 0, rdma_bytes = 0;
  double value = 0, lower = 0, upper = 0, exposed = 0;  ///< Seconds.
  core::Grade grade = core::Grade::measured;
};

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
    rows.push_back(row_of(use.name, *use.cost, use.calls, device_sms));
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.time.value * a.calls_per_step > b.time.value * b.calls_per_step;
  });
  return rows;
}

std::vector<core::NetworkRow> network_rows(const IterationModel& model, const IterationRun& run) {
  std::map<std::string, Traffic> all;
  each_node(model, [&](const Node& node, const std::string& group, std::size_t p, std::size_t i) {
    if (node.lane == Lane::compute) return;
    const streams::NetworkCost& cost = node.network ? *node.network : node.exchange->network;
    const streams::TimeRange time = node.time();
    Traffic& traffic = all[group];
    traffic.nvlink_bytes += cost.nvlink_bytes;
    traffic.rdma_bytes += cost.rdma_bytes;
    traffic.value += seconds(time.value);
    traffic.lower += seconds(time.lower);
    traffic.upper += seconds(time.upper);
    traffic.exposed += seconds(run.chunks[p].exposed[i]);
    traffic.grade = core::worst(traffic.grade, cost.grade);
  });
  std::vector<core::NetworkRow> rows;
  for (const auto& [name, t] : all) {
    bool first = true;  // the exposed time is told once
    for (const auto& [fabric, bytes] :
         {std::pair{"rdma", t.rdma_bytes}, std::pair{"nvlink", t.nvlink_bytes}}) {
      if (bytes <= 0) continue;
      rows.push_back({name,
                      fabric,
                      bytes,
                      {t.value, t.lower, t.upper, "s", t.grade},
                      t.value > 0 ? bytes / t.value : 0,
                      first ? t.exposed : 0});
      first = false;
    }
  }
  return rows;
}

double joules_per_gpu(const IterationModel& model, const IterationRun& run, core::Watts idle) {
  double joules = idle.value() * seconds(run.time);
  each_node(model, [&](const Node& node, const std::string&, std::size_t, std::size_t) {
    if (!node.kernel) return;  // what copying takes beside computation is not known
    const gpu::KernelResult& r = node.kernel->result;
    joules += std::max(0.0, r.energy.value() - idle.value() * seconds(r.time));
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
