#include "models/training/shard_traffic.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace tessera::training {
namespace {

using core::Bytes;
using core::DataType;
using workload::ParameterCount;
using EntryKind = StageEntry::Kind;

constexpr const char* kGather = "weights all_gather";
constexpr const char* kScatter = "gradients reduce_scatter";
constexpr const char* kReduce = "gradients all_reduce";

/// As the lowering names parts.
std::string part_name(const StageEntry& entry) {
  switch (entry.kind) {
    case EntryKind::layer:
      return "layer " + std::to_string(entry.layer);
    case EntryKind::mtp:
      return "mtp " + std::to_string(entry.layer);
    case EntryKind::embedding:
    case EntryKind::head:
      break;
  }
  return to_string(entry);
}

/// GPUs a stride apart, of which one is the first.
std::vector<int> every(const std::vector<int>& gpus, int stride) {
  std::vector<int> group;
  for (std::size_t i = 0; i < gpus.size(); i += static_cast<std::size_t>(stride)) {
    group.push_back(gpus[i]);
  }
  return group;
}

std::vector<int> first(const std::vector<int>& gpus, int count) {
  return {gpus.begin(), gpus.begin() + count};
}

/// What a stage holds beside its parts: tables that an MTP module needs and no other part has.
ParameterCount beside_parts(const Layout& layout, int stage) {
  ParameterCount parts;
  for (const StageEntry& entry : layout.stages()[static_cast<std::size_t>(stage)]) {
    parts += layout.parameters(stage, entry);
  }
  ParameterCount held = layout.parameters(stage);
  held.low_precision -= parts.low_precision;
  held.routed -= parts.routed;
  held.high_precision -= parts.high_precision;
  return held;
}

double dense(const ParameterCount& held) { return held.low_precision + held.high_precision; }

}  // namespace

std::vector<TrafficUnit> layer_units(const Layout& layout, int stage) {
  std::vector<TrafficUnit> units(1);
  for (const StageEntry& entry : layout.stages()[static_cast<std::size_t>(stage)]) {
    const bool root = entry.kind == EntryKind::embedding || entry.kind == EntryKind::head;
    if (!root) units.emplace_back();
    TrafficUnit& unit = root ? units.front() : units.back();
    unit.parts.push_back(part_name(entry));
    unit.held += layout.parameters(stage, entry);
  }
  units.front().held += beside_parts(layout, stage);
  return units;
}

std::vector<TrafficUnit> buckets(const Layout& layout, int stage, double elements) {
  std::vector<TrafficUnit> units;
  const Stage& entries = layout.stages()[static_cast<std::size_t>(stage)];
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (units.empty() || units.back().held.total() >= elements) units.emplace_back();
    TrafficUnit& bucket = units.back();
    bucket.parts.insert(bucket.parts.begin(), part_name(*entry));
    bucket.held += layout.parameters(stage, *entry);
  }
  units.back().held += beside_parts(layout, stage);
  return units;
}

double bucket_elements(const TrainingJob& job, const Layout& layout) {
  if (job.bucket > 0) return job.bucket;
  // megatron/core/distributed/distributed_data_parallel.py: so that a bucket's share of a rank
  // stays large enough for the network
  const Degrees& degrees = layout.grid().degrees();
  return std::max(40e6, 1e6 * degrees.data * degrees.context);
}

/// Appends collectives to a plan and finds the nodes between which they lie.
class ShardTraffic::Writer {
 public:
  /// Of a `pair` of chunks, the writer sees the nodes of one half.
  Writer(ChunkPlan& plan, bool backward, bool pair) : plan_(plan), backward_(backward) {
    for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
      const Node& node = plan.nodes[i];
      if (node.lane != Lane::compute) continue;
      if (pair && backward == (node.pass == workload::Pass::forward)) continue;
      const auto [at, is_new] = parts_.try_emplace(node.part, i, i);
      if (!is_new) at->second.second = i;
    }
  }

  /// First and last kernel of a unit, -1 where the chunk has none of it.
  [[nodiscard]] int first_kernel(const TrafficUnit& unit) const {
    int found = -1;
    for (const std::string& part : unit.parts) {
      const auto at = parts_.find(part);
      if (at == parts_.end()) continue;
      const int node = static_cast<int>(at->second.first);
      if (found < 0 || node < found) found = node;
    }
    return found;
  }
  [[nodiscard]] int last_kernel(const TrafficUnit& unit) const {
    int found = -1;
    for (const std::string& part : unit.parts) {
      const auto at = parts_.find(part);
      if (at != parts_.end()) found = std::max(found, static_cast<int>(at->second.second));
    }
    return found;
  }

  /// Weights that `unit` waits for; `after`: a node that must have ended first, -1: none.
  void gather(const std::vector<const NetworkCost*>& costs,
              const std::vector<const KernelCost*>& before, const TrafficUnit& unit, int after) {
    for (const KernelCost* cost : before) append(kGather, after).kernel = cost;
    for (const NetworkCost* cost : costs) append(*cost, kGather, after);
    const int first = first_kernel(unit);
    if (!costs.empty() && first >= 0) {
      plan_.nodes[static_cast<std::size_t>(first)].gathered =
          static_cast<int>(plan_.nodes.size()) - 1;
    }
  }
  void reduce(const std::vector<const NetworkCost*>& costs,
              const std::vector<const KernelCost*>& before, const TrafficUnit& unit,
              const char* name) {
    for (const KernelCost* cost : before) append(name, last_kernel(unit)).kernel = cost;
    for (const NetworkCost* cost : costs) append(*cost, name, last_kernel(unit));
  }

 private:
  void append(const NetworkCost& cost, const char* name, int after) {
    append(name, after).network = &cost;
  }
  Node& append(const char* name, int after) {
    Node node;
    node.part = "sharding";
    node.name = name;
    node.category = "communication";
    node.lane = Lane::sharding;
    node.pass = backward_ ? workload::Pass::weight_gradient : workload::Pass::forward;
    node.after = after;
    plan_.nodes.push_back(std::move(node));
    return plan_.nodes.back();
  }

  ChunkPlan& plan_;
  bool backward_;
  std::map<std::string, std::pair<std::size_t, std::size_t>> parts_;
};

ShardTraffic::ShardTraffic(const TrainingJob& job, const Layout& layout, NetworkTimer& network,
                           CostTable& kernels)
    : job_(job), layout_(layout), network_(network), kernels_(kernels) {
  find_ends();
  time_stages();
}

const NetworkCost* ShardTraffic::collective(Kind kind, const std::vector<int>& gpus, double bytes) {
  const Bytes size{std::llround(bytes)};
  const auto key = std::tuple{kind, gpus, size.value()};
  const auto found = costs_.find(key);
  if (found != costs_.end()) return &found->second;
  NetworkCost cost;
  switch (kind) {
    case Kind::gather:
      cost = network_.all_gather(gpus, size);
      break;
    case Kind::scatter:
      cost = network_.reduce_scatter(gpus, size);
      break;
    case Kind::reduce:
      cost = network_.all_reduce(gpus, size);
      break;
  }
  return &costs_.emplace(key, cost).first->second;
}

std::vector<const NetworkCost*> ShardTraffic::gather(int stage, const ParameterCount& held) {
  const DataType low = job_.gather_low_precision ? job_.precision.linear : DataType::bf16;
  std::vector<const NetworkCost*> costs;
  const auto add = [&](std::vector<int> gpus, int shards, double bytes) {
    if (bytes <= 0 || shards <= 1) return;
    if (shards < static_cast<int>(gpus.size())) gpus = first(gpus, shards);
    costs.push_back(collective(Kind::gather, gpus, bytes));
  };
  add(layout_.dense_group(stage), layout_.dense_shards(stage),
      held.low_precision * workload::weight_bytes(low) +
          held.high_precision * workload::weight_bytes(DataType::bf16));
  add(layout_.routed_group(stage), layout_.routed_shards(stage),
      held.routed * workload::weight_bytes(low));
  return costs;
}

std::vector<const NetworkCost*> ShardTraffic::reduce(int stage, const ParameterCount& held) {
  const double width = workload::weight_bytes(job_.reduce_in.value_or(job_.precision.gradients));
  std::vector<const NetworkCost*> costs;
  const auto add = [&](const std::vector<int>& gpus, int shards, double bytes) {
    const auto ranks = static_cast<int>(gpus.size());
    if (bytes <= 0 || ranks <= 1) return;
    if (shards == ranks) {
      costs.push_back(collective(Kind::scatter, gpus, bytes));
    } else if (shards == 1) {
      costs.push_back(collective(Kind::reduce, gpus, bytes));
    } else {  // inside of a copy, then the shards of all copies
      costs.push_back(collective(Kind::scatter, first(gpus, shards), bytes));
      costs.push_back(collective(Kind::reduce, every(gpus, shards), bytes / shards));
    }
  };
  add(layout_.dense_group(stage), layout_.dense_shards(stage), dense(held) * width);
  add(layout_.routed_group(stage), layout_.routed_shards(stage), held.routed * width);
  return costs;
}

std::vector<const KernelCost*> ShardTraffic::prepare_weights(int stage,
                                                             const ParameterCount& held) {
  const int ranks = layout_.dense_shards(stage);
  if (!job_.framework.eager || ranks <= 1) return {};
  return {&kernels_.kernel(workload::Stream{.kind = workload::StreamKind::copy,
                                            .rows = std::llround(dense(held) / ranks),
                                            .columns = 1,
                                            .input = job_.precision.master_weights,
                                            .output = DataType::bf16},
                           0)};
}

std::vector<const KernelCost*> ShardTraffic::prepare_gradients(int stage,
                                                               const ParameterCount& held) {
  const int ranks = layout_.dense_shards(stage);
  if (!job_.framework.eager || ranks <= 1) return {};
  const DataType wire = job_.reduce_in.value_or(job_.precision.gradients);
  const auto pass = [&](DataType from) {
    return &kernels_.kernel(workload::Stream{.kind = workload::StreamKind::copy,
                                             .rows = std::llround(dense(held)),
                                             .columns = 1,
                                             .input = from,
                                             .output = wire},
                            0);
  };
  std::vector<const KernelCost*> costs;
  if (wire != DataType::bf16) costs.push_back(pass(DataType::bf16));
  // Part of the division by the number of ranks comes before the sum (default_hooks.py,
  // DefaultState: more than 1 of any two ranks).
  costs.push_back(pass(wire));
  return costs;
}

void ShardTraffic::find_ends() {
  for (int rank = 0; rank < layout_.ranks(); ++rank) {
    std::map<std::pair<int, int>, Chunk> forward, backward;  // by stage and copy
    for (const Instruction& i : layout_.program(rank)) {
      if (runs_forward(i.action)) forward.try_emplace({i.forward.stage, i.forward.copy}, i.forward);
      if (runs_weight_gradient(i.action)) {
        backward[{i.backward.stage, i.backward.copy}] = i.backward;
      }
    }
    for (const auto& [stage, chunk] : forward) first_forward_.push_back(chunk);
    for (const auto& [stage, chunk] : backward) last_backward_.push_back(chunk);
  }
  std::sort(first_forward_.begin(), first_forward_.end());
  std::sort(last_backward_.begin(), last_backward_.end());
}

void ShardTraffic::time_stages() {
  const double tied = layout_.tied_elements();
  const int stages = layout_.placement().stages();
  for (int stage = 0; stage < stages; ++stage) {
    const ParameterCount held = layout_.parameters(stage);
    std::vector<NetworkCost>& reductions = reductions_.emplace_back();
    std::vector<NetworkCost>& gathers = gathers_.emplace_back();
    const auto take = [](std::vector<NetworkCost>& to,
                         const std::vector<const NetworkCost*>& from) {
      for (const NetworkCost* cost : from) to.push_back(*cost);
    };
    const bool in_chunks =
        shards_gradients(job_.sharding) || job_.reduction == ReductionOverlap::bucketed;
    if (!in_chunks) take(reductions, reduce(stage, held));
    if (tied > 0 && (stage == 0 || stage == stages - 1)) {
      const double bytes = tied * workload::weight_bytes(job_.precision.gradients);
      reductions.push_back(*collective(Kind::reduce, layout_.grid().embedding_group(0), bytes));
    }
    const bool gathers_late = job_.sharding == Sharding::zero1 || job_.sharding == Sharding::zero2;
    if (gathers_late && job_.gather == GatherOverlap::exposed) take(gathers, gather(stage, held));
    std::vector<NetworkCost>& hidden = hidden_gathers_.emplace_back();
    if (gathers_late && job_.gather == GatherOverlap::overlapped && stage > 0) {
      take(hidden, gather(stage, held));
    }
  }
}

ChunkTraffic ShardTraffic::of(const Instruction& instruction) const {
  const auto among = [](const std::vector<Chunk>& chunks, const Chunk& chunk) {
    return std::binary_search(chunks.begin(), chunks.end(), chunk);
  };
  const bool forward = runs_forward(instruction.action);
  const bool backward = runs_weight_gradient(instruction.action);
  const bool input = runs_input_gradient(instruction.action);
  ChunkTraffic traffic;
  const bool first_stage = job_.gather == GatherOverlap::overlapped &&
                           instruction.forward.stage == 0 &&
                           among(first_forward_, instruction.forward);
  traffic.forward_gather = forward && (shards_weights(job_.sharding) || first_stage);
  traffic.backward_gather = input && shards_weights(job_.sharding) && job_.reshard_after_forward;
  traffic.reduce = backward && (shards_gradients(job_.sharding) ||
                                (job_.reduction == ReductionOverlap::bucketed &&
                                 among(last_backward_, instruction.backward)));
  return traffic;
}

void ShardTraffic::add(ChunkPlan& plan, const ChunkTraffic& traffic, int forward_stage,
                       int backward_stage) {
  if (traffic == ChunkTraffic{}) return;
  const bool pair = forward_stage >= 0 && backward_stage >= 0;
  const bool units = shards_weights(job_.sharding);
  assert(!(pair && units) && "weights are not gathered for pairs of chunks");
  if (traffic.forward_gather) {
    Writer writer(plan, false, pair);
    units ? gather_units_forward(writer, forward_stage)
          : gather_buckets_forward(writer, forward_stage);
  }
  if (!traffic.backward_gather && !traffic.reduce) return;
  // Nothing that follows waits for these gradients before the update; under fsdp the next chunk's
  // weights come behind them.
  plan.sharding_trails = !units;
  Writer writer(plan, true, pair);
  shards_gradients(job_.sharding) ? move_units_backward(writer, backward_stage, traffic)
                                  : reduce_buckets_backward(writer, backward_stage);
}

void ShardTraffic::gather_units_forward(Writer& writer, int stage) {
  const std::vector<TrafficUnit> units = layer_units(layout_, stage);
  // At most two units are gathered or in use at once (FSDP's limit_all_gathers); without prefetch
  // one. The root is not counted.
  const std::size_t ahead = job_.prefetch == Prefetch::none ? 1 : 2;
  for (std::size_t u = 0; u < units.size(); ++u) {
    const bool waits = u > ahead;
    writer.gather(gather(stage, units[u].held), prepare_weights(stage, units[u].held), units[u],
                  waits ? writer.last_kernel(units[u - ahead]) : -1);
  }
}

void ShardTraffic::move_units_backward(Writer& writer, int stage, const ChunkTraffic& traffic) {
  const std::vector<TrafficUnit> units = layer_units(layout_, stage);
  const char* name = job_.sharding == Sharding::hsdp ? kReduce : kScatter;
  const bool before_reduction = job_.prefetch == Prefetch::both || job_.prefetch == Prefetch::after;
  const std::size_t ahead = job_.prefetch == Prefetch::both ? 2 : 1;
  const auto fetch = [&](std::size_t u) {
    if (!traffic.backward_gather || u == 0) return;  // the root is still there
    const bool waits = u + ahead < units.size();
    writer.gather(gather(stage, units[u].held), prepare_weights(stage, units[u].held), units[u],
                  waits ? writer.last_kernel(units[u + ahead]) : -1);
  };
  // One process group runs its collectives in the order of issue: the next unit's gather goes
  // before this one's reduction (arXiv 2304.11277, section 3.3.2).
  const std::size_t last = units.size() - 1;
  if (last > 0) fetch(last);
  for (std::size_t u = units.size(); u-- > 0;) {
    if (u > 0 && before_reduction) fetch(u - 1);
    if (traffic.reduce) {
      writer.reduce(reduce(stage, units[u].held), prepare_gradients(stage, units[u].held), units[u],
                    name);
    }
    if (u > 0 && !before_reduction) fetch(u - 1);
  }
}

void ShardTraffic::gather_buckets_forward(Writer& writer, int stage) {
  std::vector<TrafficUnit> units = buckets(layout_, stage, bucket_elements(job_, layout_));
  std::reverse(units.begin(), units.end());
  // A bucket is asked for when the one before it is first used.
  for (std::size_t u = 0; u < units.size(); ++u) {
    writer.gather(gather(stage, units[u].held), {}, units[u],
                  u < 2 ? -1 : writer.last_kernel(units[u - 2]));
  }
}

void ShardTraffic::reduce_buckets_backward(Writer& writer, int stage) {
  const char* name = job_.sharding == Sharding::none ? kReduce : kScatter;
  for (const TrafficUnit& bucket : buckets(layout_, stage, bucket_elements(job_, layout_))) {
    writer.reduce(reduce(stage, bucket.held), prepare_gradients(stage, bucket.held), bucket, name);
  }
}

}  // namespace tessera::training
