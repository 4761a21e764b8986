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

ParameterCount entry_parameters(const workload::Architecture& a, const StageEntry& entry,
                                std::int64_t tensor) {
  switch (entry.kind) {
    case Kind::embedding:
      return workload::embedding_parameters(a, tensor);
    case Kind::head:
      return workload::head_parameters(a, tensor);
    case Kind::mtp:
      return workload::mtp_parameters(a, tensor);
    case Kind::layer:
      return workload::layer_parameters(a, entry.layer, tensor);
  }
  return {};
}

/// The head without its table, which is the embedding's.
ParameterCount head_without_table(const workload::Architecture& a, std::int64_t tensor) {
  std::vector<workload::Weight> weights = workload::head_weights(a);
  std::erase_if(weights,
                [](const workload::Weight& w) { return w.kind == workload::WeightKind::table; });
  return workload::count(weights, tensor);
}

/// Legal degrees, so that the groups that they make exist.
Degrees checked_degrees(const TrainingJob& job) {
  require_legal(job);
  return degrees_of(job);
}

/// The job's schedule. Throws core::Refusal.
Schedule schedule_of(const TrainingJob& job, int micro_batches) {
  if (job.custom) return job.custom->schedule;
  return make_schedule(job.schedule, {job.pipeline, micro_batches, job.virtual_stages,
                                      job.micro_batch_group, job.overlap_exchanges});
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

namespace {

/// Stages with as many layers each, where `extra` of embedding and head count as layers; none where
/// that does not come out even or leaves a stage of a layer less than none.
std::optional<std::vector<Stage>> even_stages(const workload::Architecture& a, std::int64_t count,
                                              bool embedding_counts, bool head_counts) {
  const std::int64_t units = a.layers + (embedding_counts ? 1 : 0) + (head_counts ? 1 : 0);
  if (units % count != 0) return std::nullopt;
  std::vector<Stage> stages(static_cast<std::size_t>(count));
  std::int64_t next = 0;
  for (std::int64_t s = 0; s < count; ++s) {
    std::int64_t layers = units / count;
    if (s == 0 && embedding_counts) --layers;
    if (s == count - 1 && head_counts) --layers;
    if (layers < 0) return std::nullopt;
    for (; layers > 0; --layers) {
      stages[static_cast<std::size_t>(s)].push_back({Kind::layer, next++});
    }
  }
  stages.front().insert(stages.front().begin(), {Kind::embedding, 0});
  for (std::int64_t m = 0; m < a.mtp_modules; ++m) stages.back().push_back({Kind::mtp, m});
  stages.back().push_back({Kind::head, 0});
  return stages;
}

/// The first way of Megatron's that comes out even, if any.
std::optional<std::vector<Stage>> even_stages(const TrainingJob& job) {
  const std::int64_t count = placement_of(job).stages();
  for (const auto& [embedding, head] : {std::pair{false, false}, {true, true}, {false, true}}) {
    if (auto stages = even_stages(job.architecture, count, embedding, head)) return stages;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Stage> spread_stages(const TrainingJob& job) {
  // Where first and last stage share a rank or mirror each other, work decides.
  const bool one_way = job.schedule == ScheduleKind::gpipe ||
                       job.schedule == ScheduleKind::one_f_one_b ||
                       job.schedule == ScheduleKind::interleaved;
  if (job.balance == StageBalance::layers || (job.balance == StageBalance::automatic && one_way)) {
    if (auto stages = even_stages(job)) return *stages;
  }
  if (job.balance != StageBalance::layers) return assumed_stages(job);
  illegal(
      fmt::format("schedule.balance: {} layers do not divide over {} stages, nor with the "
                  "embedding and the head counted as layers; nearest legal: balance work",
                  job.architecture.layers, placement_of(job).stages()));
}

StagePlacement placement_of(const TrainingJob& job) {
  if (job.custom) return job.custom->schedule.placement;
  return placement_of(job.schedule, job.pipeline, job.virtual_stages);
}

Layout::Layout(const TrainingJob& job)
    : job_(job),
      grid_(checked_degrees(job), job.placement),
      ranks_(job.pipeline),
      schedule_{placement_of(job), {}} {
  check();
  stages_ = job.stages.empty() ? spread_stages(job) : job.stages;
  check_stages();
  micro_batches_ = static_cast<int>(job.sequences / (data() * job.micro_batch));
  schedule_ = schedule_of(job, micro_batches_);
}

void Layout::check() const {
  if (job_.offload != Offload::none) {
    refuse(core::RefusalKind::outside_model,
           fmt::format("offload of {} to the host is not modelled; sharding and recomputation are",
                       job_.offload == Offload::optimizer ? "optimizer state" : "activations"));
  }
  if (job_.overlap_exchanges && shards_weights(job_.sharding)) {
    refuse(core::RefusalKind::outside_model,
           "overlap_exchanges with weights gathered layer by layer is not modelled; zero1 is");
  }
  if (job_.sharding == Sharding::hsdp && job_.expert > 1) {
    refuse(core::RefusalKind::outside_model,
           "hsdp of models whose experts are split is not modelled; fsdp is");
  }
}

workload::ParallelSplit Layout::split() const {
  return {.tensor = job_.tensor,
          .sequence_parallel = job_.sequence_parallel && job_.tensor > 1,
          .context = job_.context,
          .context_kind = job_.context_kind,
          .expert = job_.expert,
          .expert_tensor = job_.expert_tensor,
          .tensor_overlap = job_.tensor_overlap && job_.tensor > 1};
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

std::vector<int> Layout::dense_group(int stage) const {
  std::vector<int> group;
  for (const int rank : holders(stage)) {
    const std::vector<int> own = grid_.data_context_group(rank, 0);
    group.insert(group.end(), own.begin(), own.end());
  }
  return group;
}

std::vector<int> Layout::routed_group(int stage) const {
  std::vector<int> group;
  for (const int rank : holders(stage)) {
    const std::vector<int> own = grid_.expert_data_group(rank, 0);
    group.insert(group.end(), own.begin(), own.end());
  }
  return group;
}

int Layout::dense_shards(int stage) const {
  if (job_.sharding == Sharding::none) return 1;
  if (job_.sharding == Sharding::hsdp) return job_.shard > 0 ? job_.shard : job_.gpus_per_node;
  const Degrees& degrees = grid_.degrees();
  return static_cast<int>(holders(stage).size()) * degrees.data * degrees.context;
}

int Layout::routed_shards(int stage) const {
  if (job_.sharding == Sharding::none || job_.sharding == Sharding::hsdp) {
    return dense_shards(stage);  // hsdp: experts are not split
  }
  return static_cast<int>(holders(stage).size()) * grid_.expert_data();
}

bool Layout::beside(int stage, Kind kind) const {
  return std::any_of(stages_.begin(), stages_.end(), [&](const Stage& other) {
    const auto index = static_cast<int>(&other - stages_.data());
    return holds(other, kind) && holders(index) == holders(stage);
  });
}

ParameterCount Layout::parameters(int stage, const StageEntry& entry) const {
  const workload::Architecture& a = job_.architecture;
  const bool shared =
      entry.kind == Kind::head && a.tied_embeddings && beside(stage, Kind::embedding);
  ParameterCount count =
      shared ? head_without_table(a, job_.tensor) : entry_parameters(a, entry, job_.tensor);
  count.routed /= job_.expert * job_.expert_tensor;
  return count;
}

ParameterCount Layout::parameters(int stage) const {
  ParameterCount count;
  const Stage& entries = stages_[static_cast<std::size_t>(stage)];
  for (const StageEntry& entry : entries) count += parameters(stage, entry);
  if (!holds(entries, Kind::mtp)) return count;
  // An MTP module shares embedding and head with the main model where the rank has them.
  const workload::Architecture& a = job_.architecture;
  if (!beside(stage, Kind::embedding)) count += workload::embedding_parameters(a, job_.tensor);
  if (!beside(stage, Kind::head)) count += workload::head_parameters(a, job_.tensor);
  return count;
}

ParameterCount Layout::updated(int stage) const {
  ParameterCount count = parameters(stage);
  count.low_precision /= dense_shards(stage);
  count.high_precision /= dense_shards(stage);
  count.routed /= routed_shards(stage);
  return count;
}

double Layout::tied_elements() const {
  const workload::Architecture& a = job_.architecture;
  if (!a.tied_embeddings) return 0;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    if (!holds(stages_[s], Kind::head)) continue;
    if (beside(static_cast<int>(s), Kind::embedding)) return 0;
  }
  return workload::head_parameters(a, job_.tensor).total() -
         head_without_table(a, job_.tensor).total();
}

}  // namespace tessera::training
