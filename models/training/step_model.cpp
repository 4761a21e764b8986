#include "models/training/step_model.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <utility>

namespace tessera::training {
namespace {

using core::Bytes;
using core::Time;
using workload::ParameterCount;

/// Layers that compute the same are of one kind.
std::vector<std::pair<int, int>> shape_of(const workload::Architecture& a, const Stage& stage) {
  std::vector<std::pair<int, int>> shape;
  for (const StageEntry& entry : stage) {
    const bool layer = entry.kind == StageEntry::Kind::layer;
    shape.emplace_back(static_cast<int>(entry.kind),
                       layer ? static_cast<int>(a.first_like(entry.layer)) : 0);
  }
  return shape;
}

TimeRange range(const NetworkCost& cost) {
  return {cost.time, cost.lower, cost.upper, Family::network};
}

/// NCCL sends to another node, and receives from one, by as many CTAs (src/graph/paths.cc,
/// ncclTopoGetNchannels: 2 a NIC).
constexpr int kChannelsOfAMessage = 2;

Bytes bytes(double elements, core::DataType type) {
  return Bytes{std::llround(elements * workload::weight_bytes(type))};
}

Time sum(const std::vector<const KernelCost*>& kernels, const Variation& variation) {
  Time time{};
  for (const KernelCost* cost : kernels) time += cost->time.at(variation);
  return time;
}

}  // namespace

workload::RoutedLoad route_job(const TrainingJob& job) {
  if (!job.architecture.has_experts()) return {};
  // Every tensor and context rank brings tokens of its own. Expert-tensor ranks lie side by side.
  const std::int64_t tokens =
      job.micro_batch * job.sequence_length / (std::int64_t{job.tensor} * job.context);
  const std::int64_t in_node = std::max(1, job.gpus_per_node / job.expert_tensor);
  return workload::route(job.architecture.moe, job.routing, tokens, job.expert,
                         std::gcd(in_node, std::int64_t{job.expert}));
}

std::vector<StageWork> lower_stages(const TrainingJob& job, const Layout& layout,
                                    const workload::RoutedLoad& load) {
  std::vector<std::int64_t> expert_rows;
  if (job.architecture.has_experts()) expert_rows = load.rows_on(load.hottest_rank);
  for (std::int64_t& rows : expert_rows) rows *= job.expert_tensor;
  const workload::Lowering lowering(job.architecture, job.precision, job.recompute, job.micro_batch,
                                    job.sequence_length, std::move(expert_rows), layout.split(),
                                    job.framework);
  std::vector<StageWork> stages;
  for (const Stage& stage : layout.stages()) {
    StageWork& work = stages.emplace_back();
    for (const StageEntry& entry : stage) {
      switch (entry.kind) {
        case StageEntry::Kind::embedding:
          work.push_back(lowering.embedding());
          break;
        case StageEntry::Kind::layer:
          work.push_back(lowering.layer(entry.layer));
          break;
        case StageEntry::Kind::head:
          work.push_back(lowering.head());
          break;
        case StageEntry::Kind::mtp:
          work.push_back(lowering.mtp(entry.layer));
          break;
      }
      if (job.expert == 1) work.back().exchanges = false;  // every expert is here
    }
  }
  return stages;
}

StepModel::StepModel(const TrainingJob& job, gpu::KernelTimer& kernels, NetworkTimer& network)
    : job_(job),
      network_(network),
      layout_(job),
      load_(route_job(job)),
      costs_(job, load_,
             {.expert = layout_.expert_group(0),
              .tensor = layout_.grid().tensor_group(0, 0),
              .context = layout_.grid().context_group(0, 0),
              .expert_tensor = layout_.grid().expert_tensor_group(0, 0)},
             kernels, network),
      planner_(costs_, job.communication_sms, job.device.sm.count,
               job.schedule == ScheduleKind::dualpipe || job.schedule == ScheduleKind::dualpipev,
               job.host),
      traffic_(job, layout_, network, costs_),
      hbm_rate_(job.device.hbm.peak_rate.value() * job.device.hbm.reachable),
      stages_(lower_stages(job, layout_, load_)) {
  find_shapes();
  prepare_optimizer();
  prepare_sends();
  for (int rank = 0; rank < layout_.ranks(); ++rank) {
    for (const Instruction& i : layout_.program(rank)) plan(i);
  }
}

void StepModel::find_shapes() {
  std::vector<std::vector<std::pair<int, int>>> shapes;
  for (const Stage& stage : layout_.stages()) {
    shapes.push_back(shape_of(job_.architecture, stage));
    const auto same = std::find(shapes.begin(), shapes.end(), shapes.back());
    shape_.push_back(static_cast<int>(same - shapes.begin()));
  }
}

void StepModel::prepare_optimizer() {
  for (int rank = 0; rank < layout_.ranks(); ++rank) {
    workload::OptimizerShare share;
    for (const int stage : layout_.stages_of(rank)) {
      const ParameterCount held = layout_.parameters(stage);
      const ParameterCount updated = layout_.updated(stage);
      share.low_precision += updated.low_precision + updated.routed;
      share.high_precision += updated.high_precision;
      share.held += held.low_precision + held.routed;
    }
    const auto timed = [&](const std::vector<workload::Work>& works) {
      std::vector<const KernelCost*> costs;
      for (const workload::Work& work : works) costs.push_back(&costs_.kernel(work.op, 0));
      return costs;
    };
    optimizer_.push_back(
        {timed(workload::gradient_norm_work(share, job_.precision, job_.framework)),
         timed(workload::update_work(share, job_.precision, job_.gather_low_precision,
                                     job_.framework)),
         timed(workload::after_gather_work(share, job_.precision, job_.gather_low_precision))});
  }
}

void StepModel::prepare_sends() {
  // Context ranks, and tensor ranks where norms are split along the sequence, send their own part.
  const std::int64_t parts = job_.context * (job_.sequence_parallel ? job_.tensor : 1);
  const std::int64_t rows = job_.micro_batch * job_.sequence_length / parts;
  const auto elements = static_cast<double>(rows * job_.architecture.hidden);
  const Bytes size = bytes(elements, core::DataType::bf16);
  for (const auto& [from, to] : layout_.placement().links()) {
    sends_[{from, to}] = network_.send(layout_.gpu(from, 0), layout_.gpu(to, 0), size);
  }
  if (job_.schedule != ScheduleKind::interleaved) return;
  for (const auto& [ranks, cost] : sends_) {
    if (cost.rdma_bytes <= 0 || cost.time < messages_.time) continue;
    messages_ = cost;
    messages_.hbm_bytes *= 2;
    messages_.sms = 2 * kChannelsOfAMessage;
  }
}

void StepModel::add_messages(ChunkPlan& plan) const {
  if (messages_.time <= Time{}) return;
  plan.nodes.push_back({.part = "pipeline",
                        .name = kMessages,
                        .category = "communication",
                        .lane = Lane::sharding,
                        .network = &messages_});
}

StepModel::PlanKey StepModel::key(const Instruction& instruction) const {
  const auto shape = [&](const Chunk& chunk) {
    return shape_[static_cast<std::size_t>(chunk.stage)];
  };
  return {instruction.action, runs_forward(instruction.action) ? shape(instruction.forward) : -1,
          instruction.action == Action::forward ? -1 : shape(instruction.backward),
          traffic_.of(instruction)};
}

const ChunkPlan& StepModel::plan(const Instruction& instruction) {
  const PlanKey wanted = key(instruction);
  const auto found = plans_.find(wanted);
  if (found != plans_.end()) return found->second;
  const auto [action, forward, backward, traffic] = wanted;
  const auto stage = [&](int index) -> const StageWork& {
    return stages_[static_cast<std::size_t>(index)];
  };
  ChunkPlan plan;
  switch (action) {
    case Action::forward:
      plan = planner_.forward(stage(forward));
      break;
    case Action::backward:
      plan = planner_.backward(stage(backward), true);
      break;
    case Action::input_gradient:
      plan = planner_.backward(stage(backward), false);
      break;
    case Action::weight_gradient:
      plan = planner_.weight_gradient(stage(backward));
      break;
    case Action::overlapped:
      plan = planner_.overlapped(stage(forward), stage(backward));
      break;
  }
  add_messages(plan);
  traffic_.add(plan, traffic, forward, backward);
  return plans_.emplace(wanted, std::move(plan)).first->second;
}

const ChunkRun& StepModel::chunk(const Instruction& instruction, const Variation& variation) {
  const RunKey wanted{key(instruction), variation.side, variation.family};
  const auto found = chunks_.find(wanted);
  if (found != chunks_.end()) return found->second;
  return chunks_
      .emplace(wanted, run_chunk(plan(instruction), hbm_rate_, variation, job_.device.sm.count))
      .first->second;
}

StepRun StepModel::run(const Variation& variation) {
  StepRun run;
  run.pipeline = run_pipeline(
      layout_.schedule(),
      [&](int, const Instruction& instruction) {
        const ChunkRun& timed = chunk(instruction, variation);
        return InstructionTime{timed.duration, timed.forward_ready, timed.backward_ready};
      },
      [&](int from, int to) { return range(send_cost(from, to)).at(variation); });
  finish_sharding(run, variation);
  update_parameters(run, reduce_gradients(run, variation), variation);
  cut_into_phases(run);
  return run;
}

void StepModel::finish_sharding(StepRun& run, const Variation& variation) {
  for (const std::vector<Execution>& executions : run.pipeline.ranks) {
    Time free{};
    for (const Execution& e : executions) {
      if (!plan(e.instruction).sharding_trails) continue;
      const ChunkRun& timed = chunk(e.instruction, variation);
      const Time behind = free > e.start ? free + timed.sharding_busy : Time{};
      free = std::max(behind, e.start + timed.sharding_end);
    }
    run.sharding_end.push_back(free);
  }
}

void StepModel::cut_into_phases(StepRun& run) const {
  for (std::size_t rank = 0; rank < run.pipeline.ranks.size(); ++rank) {
    PhaseTimes phases;
    for (const Execution& execution : run.pipeline.ranks[rank]) {
      const Time time = execution.end - execution.start;
      switch (execution.instruction.action) {
        case Action::forward:
          phases.forward += time;
          break;
        case Action::backward:
        case Action::input_gradient:
          phases.backward += time;
          break;
        case Action::weight_gradient:
          phases.weight += time;
          break;
        case Action::overlapped:
          phases.overlapped += time;
          break;
      }
    }
    phases.optimizer = run.optimizer[rank].exposed;
    phases.bubble = run.step - (phases.forward + phases.backward + phases.weight +
                                phases.overlapped + phases.optimizer);
    run.phases.push_back(phases);
  }
}

/// When a stage's gradients are complete on all its holders.
std::vector<Time> StepModel::stages_ready(const PipelineRun& pipeline) const {
  std::vector<Time> ready(static_cast<std::size_t>(layout_.placement().stages()));
  for (int rank = 0; rank < layout_.ranks(); ++rank) {
    const std::vector<Execution>& executions = pipeline.ranks[static_cast<std::size_t>(rank)];
    for (const int stage : layout_.stages_of(rank)) {
      Time& when = ready[static_cast<std::size_t>(stage)];
      if (job_.reduction == ReductionOverlap::exposed) {
        when = std::max(when, executions.back().end);
        continue;
      }
      for (const Execution& e : executions) {
        if (runs_weight_gradient(e.instruction.action) && e.instruction.backward.stage == stage) {
          when = std::max(when, e.end);
        }
      }
    }
  }
  return ready;
}

Time StepModel::reduce_gradients(StepRun& run, const Variation& variation) const {
  const std::vector<Time> ready = stages_ready(run.pipeline);
  Time all_norms{};
  for (int rank = 0; rank < layout_.ranks(); ++rank) {
    OptimizerRun optimizer;
    const Time last_chunk = run.pipeline.ranks[static_cast<std::size_t>(rank)].back().end;
    std::vector<std::pair<Time, int>> order;
    for (const int stage : layout_.stages_of(rank)) {
      order.emplace_back(ready[static_cast<std::size_t>(stage)], stage);
    }
    std::sort(order.begin(), order.end());
    Time now = run.sharding_end[static_cast<std::size_t>(rank)];
    if (now > last_chunk) {
      optimizer.stretches.push_back({kTrailing, true, last_chunk, now});
      optimizer.exposed += now - last_chunk;
    }
    for (const auto& [when, stage] : order) {
      now = std::max(now, when);
      for (const NetworkCost& cost : traffic_.reductions(stage)) {
        const Time end = now + range(cost).at(variation);
        optimizer.stretches.push_back({"reduce_scatter", true, now, end});
        optimizer.exposed += std::max(Time{}, end - std::max(now, last_chunk));
        now = end;
      }
    }
    now = std::max(now, last_chunk);
    const Time norm = sum(optimizer_kernels(rank).norm, variation);
    optimizer.stretches.push_back({"gradient norm", false, now, now + norm});
    optimizer.exposed += norm;
    all_norms = std::max(all_norms, now + norm);
    run.optimizer.push_back(std::move(optimizer));
  }
  return all_norms;
}

void StepModel::update_parameters(StepRun& run, Time start, const Variation& variation) const {
  for (int rank = 0; rank < layout_.ranks(); ++rank) {
    OptimizerRun& optimizer = run.optimizer[static_cast<std::size_t>(rank)];
    Time now = start;
    const auto add = [&](const char* name, bool network, Time time) {
      if (time <= Time{}) return;
      optimizer.stretches.push_back({name, network, now, now + time});
      optimizer.exposed += time;
      now += time;
    };
    add("update", false, sum(optimizer_kernels(rank).update, variation));
    for (const int stage : layout_.stages_of(rank)) {
      for (const NetworkCost& cost : traffic_.gathers(stage)) {
        add("all_gather", true, range(cost).at(variation));
      }
    }
    add("weight transpose", false, sum(optimizer_kernels(rank).after_gather, variation));
    optimizer.end = now;
    run.step = std::max(run.step, now);
  }
}

}  // namespace tessera::training
