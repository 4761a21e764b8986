#include "models/training/layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "models/training/legality.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

using workload::ParameterCount;
using Kind = StageEntry::Kind;

[[noreturn]] void refuse(core::RefusalKind kind, const std::string& reason) {
  throw core::Refusal(kind, reason);
}
[[noreturn]] void illegal(const std::string& reason) {
  refuse(core::RefusalKind::illegal_combination, reason);
}

ParameterCount entry_parameters(const workload::Architecture& a, const StageEntry& entry) {
  switch (entry.kind) {
    case Kind::embedding:
      return workload::embedding_parameters(a);
    case Kind::head:
      return workload::head_parameters(a);
    case Kind::mtp:
      return workload::mtp_parameters(a);
    case Kind::layer:
      return workload::layer_parameters(a, entry.layer);
  }
  return {};
}

/// The job's schedule. Throws core::Refusal.
Schedule schedule_of(const TrainingJob& job, int micro_batches) {
  switch (job.schedule) {
    case ScheduleKind::gpipe:
      return gpipe(job.pipeline, micro_batches);
    case ScheduleKind::one_f_one_b:
      return one_forward_one_backward(job.pipeline, micro_batches);
    case ScheduleKind::interleaved:
      return interleaved(job.pipeline, job.virtual_stages, micro_batches, job.micro_batch_group);
    case ScheduleKind::zb_h1:
      return zero_bubble_h1(job.pipeline, micro_batches);
    case ScheduleKind::zb_v:
      return zero_bubble_v(job.pipeline, micro_batches);
    case ScheduleKind::dualpipe:
      return dual_pipe(job.pipeline, micro_batches);
    case ScheduleKind::dualpipev:
      return dual_pipe_v(job.pipeline, micro_batches);
  }
  return gpipe(job.pipeline, micro_batches);
}

bool holds(const Stage& stage, Kind kind) {
  return std::any_of(stage.begin(), stage.end(),
                     [kind](const StageEntry& e) { return e.kind == kind; });
}

/// Multiply-adds of a token forward, whatever their precision: recipes are compared on one layout.
double work_of(const workload::Architecture& a, const StageEntry& entry,
               std::int64_t sequence_length) {
  const auto of = [&](const workload::LayerSpec& layer) {
    return workload::attention_products(layer, sequence_length, /*causal=*/true);
  };
  switch (entry.kind) {
    case Kind::embedding:
      return 0;
    case Kind::head:
      return workload::head_products(a);
    case Kind::mtp:
      return workload::mtp_products(a) + of(a.mtp_layer());
    case Kind::layer: {
      const workload::LayerSpec layer = a.layer(entry.layer);
      return workload::weight_products(a, layer) + of(layer);
    }
  }
  return 0;
}

}  // namespace

std::string to_string(const StageEntry& entry) {
  switch (entry.kind) {
    case Kind::embedding:
      return "embedding";
    case Kind::head:
      return "head";
    case Kind::mtp:
      return "mtp";
    case Kind::layer:
      return std::to_string(entry.layer);
  }
  return "layer";
}

std::vector<Stage> assumed_stages(const TrainingJob& job, std::optional<int> mtp_stage) {
  const workload::Architecture& a = job.architecture;
  const StagePlacement placement = placement_of(job);
  const auto count = static_cast<std::size_t>(placement.stages());
  const auto work = [&](const StageEntry& entry) { return work_of(a, entry, job.sequence_length); };
  // A rank's load counts all of its stages; a stage and its mirror are on one of two like ranks.
  const auto rank_of = [&](std::size_t stage) {
    return static_cast<std::size_t>(placement.holders(static_cast<int>(stage)).front());
  };
  std::vector<double> stage_load(count, 0.0),
      rank_load(static_cast<std::size_t>(placement.ranks()), 0.0);
  const auto load = [&](std::size_t stage, double amount) {
    stage_load[stage] += amount;
    rank_load[rank_of(stage)] += amount;
  };
  const auto modules = static_cast<std::size_t>(
      std::clamp(mtp_stage.value_or(placement.stages() - 1), 0, placement.stages() - 1));
  load(count - 1, work({Kind::head, 0}));
  load(modules, static_cast<double>(a.mtp_modules) * work({Kind::mtp, 0}));
  std::vector<int> layers(count, 0);
  for (std::int64_t l = 0; l < a.layers; ++l) {
    // The least loaded rank, then the least loaded of its stages; of equals the last, as fewer of
    // its chunks are in flight.
    std::size_t best = modules;
    for (std::size_t s = modules; s-- > 0;) {
      const std::pair loads{rank_load[rank_of(s)], stage_load[s]};
      if (loads < std::pair{rank_load[rank_of(best)], stage_load[best]}) best = s;
    }
    ++layers[best];
    load(best, work({Kind::layer, a.layers - 1}));
  }
  std::vector<Stage> stages(count);
  stages.front().push_back({Kind::embedding, 0});
  std::int64_t next = 0;
  for (std::size_t s = 0; s < count; ++s) {
    for (int i = 0; i < layers[s]; ++i) stages[s].push_back({Kind::layer, next++});
  }
  if (modules == count - 1) stages.back().push_back({Kind::head, 0});
  for (std::int64_t m = 0; m < a.mtp_modules; ++m) stages[modules].push_back({Kind::mtp, m});
  if (modules != count - 1) stages.back().push_back({Kind::head, 0});
  return stages;
}

StagePlacement placement_of(const TrainingJob& job) {
  switch (job.schedule) {
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::zb_h1:
      return StagePlacement::one_each(job.pipeline);
    case ScheduleKind::interleaved:
      return StagePlacement::round_robin(job.pipeline, job.virtual_stages);
    case ScheduleKind::zb_v:
    case ScheduleKind::dualpipev:
      return StagePlacement::v_shape(job.pipeline);
    case ScheduleKind::dualpipe:
      return StagePlacement::mirrored(job.pipeline);
  }
  return StagePlacement::one_each(job.pipeline);
}

Layout::Layout(const TrainingJob& job)
    : job_(job), ranks_(job.pipeline), schedule_{placement_of(job), {}} {
  check();
  stages_ = job.stages.empty() ? assumed_stages(job) : job.stages;
  check_stages();
  data_ = job.gpus / job.pipeline;
  micro_batches_ = static_cast<int>(job.sequences / (data_ * job.micro_batch));
  schedule_ = schedule_of(job, micro_batches_);
}

void Layout::check() const {
  require_legal(job_);
  const auto unmodelled = [](bool asked, const char* what) {
    if (asked) {
      refuse(core::RefusalKind::outside_model, fmt::format("{} not modelled in training", what));
    }
  };
  unmodelled(job_.tensor != 1 || job_.context != 1, "tensor and context parallelism are");
  unmodelled(job_.expert_tensor != 1, "expert tensor parallelism is");
  unmodelled(shards_gradients(job_.sharding), "sharded gradients and weights are");
  unmodelled(job_.reduction == ReductionOverlap::bucketed ||
                 job_.gather == GatherOverlap::overlapped || job_.reduce_in ||
                 !job_.gather_low_precision,
             "buckets and their types are");
}

void Layout::check_stages() const {
  if (static_cast<int>(stages_.size()) != placement().stages()) {
    illegal(fmt::format("{} stages do not fit {} pipeline ranks of {}", stages_.size(), ranks_,
                        placement().stages() / ranks_));
  }
  std::vector<StageEntry> flat;
  for (const Stage& stage : stages_) flat.insert(flat.end(), stage.begin(), stage.end());
  std::vector<StageEntry> expected{{Kind::embedding, 0}};
  for (std::int64_t l = 0; l < job_.architecture.layers; ++l) expected.push_back({Kind::layer, l});
  expected.push_back({Kind::head, 0});
  for (std::int64_t m = 0; m < job_.architecture.mtp_modules; ++m) {
    expected.push_back({Kind::mtp, m});
  }
  // An MTP module may stand before or after the head: both follow the last layer.
  const auto late = [](const StageEntry& e) { return e.kind == Kind::mtp || e.kind == Kind::head; };
  const auto tail = std::find_if(flat.begin(), flat.end(), late);
  if (std::all_of(tail, flat.end(), late)) std::sort(tail, flat.end());
  if (flat != expected) {
    illegal(
        fmt::format("schedule.stages must hold embedding, layers 0 to {} in order, head and {} "
                    "mtp, each once",
                    job_.architecture.layers - 1, job_.architecture.mtp_modules));
  }
}

int Layout::gpu(int rank, int data_rank) const {
  return job_.placement == Placement::expert_first ? rank * data_ + data_rank
                                                   : data_rank * ranks_ + rank;
}

std::vector<int> Layout::expert_group(int rank) const {
  std::vector<int> group;
  for (int e = 0; e < job_.expert; ++e) group.push_back(gpu(rank, e));
  return group;
}

std::vector<int> Layout::dense_group(int stage) const {
  std::vector<int> group;
  for (const int rank : holders(stage)) {
    for (int d = 0; d < data_; ++d) group.push_back(gpu(rank, d));
  }
  return group;
}

std::vector<int> Layout::routed_group(int stage) const {
  std::vector<int> group;
  for (const int rank : holders(stage)) {
    for (int d = 0; d < data_; d += job_.expert) group.push_back(gpu(rank, d));
  }
  return group;
}

ParameterCount Layout::parameters(int stage) const {
  ParameterCount count;
  const Stage& entries = stages_[static_cast<std::size_t>(stage)];
  for (const StageEntry& entry : entries) count += entry_parameters(job_.architecture, entry);
  count.routed /= job_.expert;
  if (!holds(entries, Kind::mtp)) return count;
  // An MTP module shares embedding and head with the main model where the rank has them.
  const auto near = [&](Kind kind) {
    return std::any_of(stages_.begin(), stages_.end(), [&](const Stage& other) {
      const auto index = static_cast<int>(&other - stages_.data());
      return holds(other, kind) && holders(index) == holders(stage);
    });
  };
  if (!near(Kind::embedding)) count += workload::embedding_parameters(job_.architecture);
  if (!near(Kind::head)) count += workload::head_parameters(job_.architecture);
  return count;
}

ParameterCount Layout::updated(int stage) const {
  ParameterCount count = parameters(stage);
  if (job_.sharding == Sharding::none) return count;
  const double dense = 1.0 / static_cast<double>(holders(stage).size() * data_);
  count.low_precision *= dense;
  count.high_precision *= dense;
  count.routed *= dense * job_.expert;
  return count;
}

}  // namespace tessera::training
