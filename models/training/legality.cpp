#include "models/training/legality.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

/// "nearest legal: 32 or 64": the closest values on both sides for which `legal` holds.
std::string nearest(std::int64_t found, std::int64_t most,
                    const std::function<bool(std::int64_t)>& legal) {
  std::vector<std::string> values;
  for (std::int64_t v = std::min(found - 1, most); v >= 1; --v) {
    if (!legal(v)) continue;
    values.push_back(std::to_string(v));
    break;
  }
  for (std::int64_t v = found + 1; v <= most; ++v) {
    if (!legal(v)) continue;
    values.push_back(std::to_string(v));
    break;
  }
  return fmt::format("nearest legal: {}", fmt::join(values, " or "));
}

bool divides(std::int64_t divisor, std::int64_t value) { return value % divisor == 0; }

/// Collects contradictions in the order in which a reader would look for them.
class Checker {
 public:
  explicit Checker(const TrainingJob& job) : job_(job) {}

  std::vector<Contradiction> run() {
    check_copies();
    check_model();
    check_virtual();
    check_sequence();
    check_sharding();
    check_overlaps();
    check_sms();
    if (!copies_fit_) return std::move(found_);
    check_experts();
    check_batch();
    check_custom();
    check_shard();
    return std::move(found_);
  }

 private:
  void add(std::string key, std::string against, std::string reason) {
    found_.push_back({std::move(key), std::move(against), std::move(reason)});
  }
  [[nodiscard]] std::int64_t data() const { return job_.gpus / model_gpus(job_); }
  /// GPUs of one pipeline rank.
  [[nodiscard]] std::int64_t members() const { return job_.gpus / job_.pipeline; }

  void check_copies() {
    const std::int64_t model = model_gpus(job_);
    copies_fit_ = divides(model, job_.gpus);
    if (copies_fit_) return;
    const std::int64_t below = job_.gpus / model * model;
    add("parallelism", "cluster",
        fmt::format("tensor {} x pipeline {} x context {} = {} GPUs hold one copy of the model, "
                    "which does not divide the cluster's {} GPUs; nearest legal: {}{} GPUs",
                    job_.tensor, job_.pipeline, job_.context, model, job_.gpus,
                    below > 0 ? fmt::format("{} or ", below) : "", below + model));
  }

  void must_divide(const std::string& key, std::int64_t degree, std::int64_t whole,
                   const std::string& what, const std::string& against = "architecture") {
    if (divides(degree, whole)) return;
    add(key, against,
        fmt::format("found {}, which does not divide {}; {}", degree, what,
                    nearest(degree, whole, [&](std::int64_t v) { return divides(v, whole); })));
  }

  void check_model();
  void check_virtual();
  void check_sequence();
  void check_sharding();
  void check_overlaps();
  void check_sms();
  void check_experts();
  void check_batch();
  void check_custom();
  void check_shard();

  const TrainingJob& job_;
  bool copies_fit_ = false;
  std::vector<Contradiction> found_;
};

void Checker::check_model() {
  const workload::Architecture& a = job_.architecture;
  const std::int64_t heads = a.heads();
  must_divide("parallelism.tensor", job_.tensor, heads,
              fmt::format("the {} attention heads of {}", heads, a.name));
  if (const auto* shared = std::get_if<workload::GroupedQueryAttention>(&a.attention);
      shared && divides(job_.tensor, heads) && !divides(job_.tensor, shared->kv_heads) &&
      !divides(shared->kv_heads, job_.tensor)) {
    const auto fits = [&](std::int64_t v) {
      return divides(v, heads) && (divides(v, shared->kv_heads) || divides(shared->kv_heads, v));
    };
    add("parallelism.tensor", "architecture",
        fmt::format("found {}, which neither divides the {} key and value heads of {} nor is a "
                    "multiple of them; {}",
                    job_.tensor, shared->kv_heads, a.name, nearest(job_.tensor, heads, fits)));
  }
  if (a.has_dense_layers()) {
    must_divide("parallelism.tensor", job_.tensor, a.dense.intermediate,
                fmt::format("the MLP width {} of {}", a.dense.intermediate, a.name));
  }
  const std::int64_t stages = std::int64_t{job_.pipeline} * job_.virtual_stages;
  if (stages > a.layers + 2) {
    add("parallelism.pipeline", "architecture",
        fmt::format("pipeline {} x virtual {} = {} stages, but {} has {} layers, an embedding and "
                    "a head; nearest legal: pipeline {}",
                    job_.pipeline, job_.virtual_stages, stages, a.name, a.layers,
                    std::max<std::int64_t>(1, (a.layers + 2) / job_.virtual_stages)));
  }
}

void Checker::check_virtual() {
  const int found = job_.virtual_stages;
  const char* const key = "parallelism.virtual";
  switch (job_.schedule) {
    case ScheduleKind::interleaved:
      if (job_.pipeline == 1) {
        add(key, "parallelism.pipeline",
            fmt::format("found {} with one pipeline rank, which has nothing to interleave; nearest "
                        "legal: schedule.kind 1f1b, or pipeline 2",
                        found));
      } else if (found == 1) {
        add("schedule.kind", key,
            "found interleaved with one stage a rank; nearest legal: 1f1b, or virtual 2");
      }
      return;
    case ScheduleKind::zb_v:
    case ScheduleKind::dualpipev:
      if (found <= 2) return;  // 1 is the default
      add(key, "schedule.kind",
          fmt::format("found {}, but a rank of a V-shaped schedule has two stages; nearest legal: "
                      "2, or schedule.kind interleaved",
                      found));
      return;
    case ScheduleKind::gpipe:
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::zb_h1:
    case ScheduleKind::dualpipe:
    case ScheduleKind::custom:
      if (found == 1) return;
      add(key, "schedule.kind",
          fmt::format("found {}, but only an interleaved schedule takes it; nearest "
                      "legal: 1, or schedule.kind interleaved",
                      found));
      return;
  }
}

void Checker::check_sequence() {
  const std::int64_t split = job_.sequence_parallel ? job_.tensor : 1;
  // A causal sequence is cut into 2 x context pieces, the first and the last on one rank.
  const std::int64_t pieces = split * (job_.context > 1 ? 2 * job_.context : 1);
  if (divides(pieces, job_.sequence_length)) return;
  const std::int64_t below = job_.sequence_length / pieces * pieces;
  add("batch.sequence_length", "parallelism",
      fmt::format(
          "found {}, which does not divide into {} pieces (2 x context {}, sequence-parallel "
          "tensor {}); nearest legal: {}{}",
          job_.sequence_length, pieces, job_.context, split,
          below > 0 ? fmt::format("{} or ", below) : "", below + pieces));
}

void Checker::check_sharding() {
  if (job_.pipeline > 1 && shards_gradients(job_.sharding)) {
    add("parallelism.data.sharding", "parallelism.pipeline",
        fmt::format("found {} with pipeline {}: {} would move for every micro-batch of every "
                    "stage; nearest legal: zero1, or pipeline 1",
                    to_string(job_.sharding), job_.pipeline,
                    shards_weights(job_.sharding) ? "weights and gradients" : "gradients"));
  }
  if (job_.shard != 0 && job_.sharding != Sharding::hsdp) {
    add("parallelism.data.shard", "parallelism.data.sharding",
        fmt::format("found {} with {} sharding; only hsdp has a shard size: nearest legal: hsdp",
                    job_.shard, to_string(job_.sharding)));
  }
  if (!job_.reshard_after_forward && !shards_weights(job_.sharding)) {
    add("parallelism.data.reshard", "parallelism.data.sharding",
        fmt::format("found false with {} sharding, which never gives weights up; nearest legal: "
                    "true, or fsdp",
                    to_string(job_.sharding)));
  }
  if (job_.prefetch != Prefetch::both && !shards_weights(job_.sharding)) {
    add("parallelism.data.prefetch", "parallelism.data.sharding",
        fmt::format("found a choice with {} sharding, which gathers no layer; nearest legal: both "
                    "(the default), or fsdp",
                    to_string(job_.sharding)));
  }
}

void Checker::check_overlaps() {
  if (job_.bucket > 0 && job_.reduction != ReductionOverlap::bucketed &&
      job_.gather != GatherOverlap::overlapped) {
    add("parallelism.data.overlap.bucket", "parallelism.data.overlap.gradients",
        "found a bucket size, which only bucketed gradients and overlapped parameters have; "
        "nearest legal: gradients: bucketed");
  }
}

void Checker::check_sms() {
  const int sms = job_.device.sm.count;
  if (job_.communication_sms < 1 && job_.expert > 1) {
    add("schedule.communication_sms", "parallelism.expert",
        "found 0; exchanges with experts need SMs; nearest legal: 1");
  }
  if (job_.communication_sms >= sms) {
    add("schedule.communication_sms", "cluster",
        fmt::format("found {}, which leaves none of {}'s {} SMs for computation; nearest legal: {}",
                    job_.communication_sms, job_.device.name, sms, sms - 1));
  }
}

void Checker::check_experts() {
  const workload::Architecture& a = job_.architecture;
  const std::int64_t experts = a.moe.experts;
  const int parts = job_.expert * job_.expert_tensor;
  if (experts == 0) {
    if (job_.expert > 1) {
      add("parallelism.expert", "architecture",
          fmt::format("found {}, but {} has no experts; nearest legal: 1", job_.expert, a.name));
    }
    if (job_.expert_tensor > 1) {
      add("parallelism.expert_tensor", "architecture",
          fmt::format("found {}, but {} has no experts; nearest legal: 1", job_.expert_tensor,
                      a.name));
    }
    return;
  }
  if (job_.tensor > 1 && !job_.sequence_parallel) {
    add("parallelism.sequence", "parallelism.tensor",
        fmt::format("found false with tensor {} and experts: every tensor rank would send the same "
                    "tokens; nearest legal: true, or tensor 1",
                    job_.tensor));
  }
  if (!divides(parts, members())) {
    const auto fits = [&](std::int64_t v) {
      return divides(v * job_.expert_tensor, members()) && divides(v, experts);
    };
    add("parallelism.expert", "",
        job_.expert_tensor == 1
            ? fmt::format("found {}, which does not divide the {} GPUs of a pipeline rank; {}",
                          job_.expert, members(), nearest(job_.expert, experts, fits))
            : fmt::format("found {}, which with expert_tensor {} does not divide the {} GPUs of a "
                          "pipeline rank; {}",
                          job_.expert, job_.expert_tensor, members(),
                          nearest(job_.expert, experts, fits)));
  }
  must_divide("parallelism.expert", job_.expert, experts,
              fmt::format("the {} experts of {}", experts, a.name));
  must_divide("parallelism.expert_tensor", job_.expert_tensor, a.moe.intermediate,
              fmt::format("the expert width {} of {}", a.moe.intermediate, a.name));
}

void Checker::check_batch() {
  const std::int64_t together = data() * job_.micro_batch;
  if (divides(together, job_.sequences)) return;
  const std::int64_t below = job_.sequences / together * together;
  add("batch.sequences", "parallelism",
      fmt::format("found {}; expected a multiple of {}: {} data-parallel ranks x micro_batch {}; "
                  "nearest legal: {}{}",
                  job_.sequences, together, data(), job_.micro_batch,
                  below > 0 ? fmt::format("{} or ", below) : "", below + together));
}

void Checker::check_custom() {
  if (!job_.custom) return;
  const int ranks = job_.custom->schedule.placement.ranks();
  if (ranks != job_.pipeline) {
    add("schedule.file", "parallelism.pipeline",
        fmt::format("found a schedule of {} pipeline ranks, not of {}; nearest legal: pipeline {}",
                    ranks, job_.pipeline, ranks));
  }
  const std::int64_t together = data() * job_.micro_batch;
  const std::int64_t needed = together * job_.custom->micro_batches;
  if (divides(together, job_.sequences) && job_.sequences != needed) {
    add("schedule.file", "batch.sequences",
        fmt::format("found a schedule of {} micro-batches, but the batch has {} on each of {} "
                    "data-parallel ranks; nearest legal: {} sequences",
                    job_.custom->micro_batches, job_.sequences / together, data(), needed));
  }
}

void Checker::check_shard() {
  if (job_.sharding != Sharding::hsdp) return;
  const std::int64_t ranks = data() * job_.context;
  const std::int64_t shard = job_.shard != 0 ? job_.shard : job_.gpus_per_node;
  if (divides(shard, ranks)) return;
  add("parallelism.data.shard", "cluster",
      fmt::format("found {}, which does not divide the {} ranks that hold the same parameters; {}",
                  shard, ranks,
                  nearest(shard, ranks, [&](std::int64_t v) { return divides(v, ranks); })));
}

}  // namespace

std::string to_string(Sharding sharding) {
  switch (sharding) {
    case Sharding::none:
      return "none";
    case Sharding::zero1:
      return "zero1";
    case Sharding::zero2:
      return "zero2";
    case Sharding::zero3:
      return "zero3";
    case Sharding::fsdp:
      return "fsdp";
    case Sharding::hsdp:
      return "hsdp";
  }
  return "none";
}

std::int64_t model_gpus(const TrainingJob& job) {
  return std::int64_t{job.tensor} * job.context * job.pipeline;
}

Degrees degrees_of(const TrainingJob& job) {
  return {.tensor = job.tensor,
          .context = job.context,
          .data = static_cast<int>(job.gpus / model_gpus(job)),
          .pipeline = job.pipeline,
          .expert = job.expert,
          .expert_tensor = job.expert_tensor};
}

std::vector<Contradiction> contradictions(const TrainingJob& job) { return Checker(job).run(); }

void require_legal(const TrainingJob& job) {
  const std::vector<Contradiction> found = contradictions(job);
  if (found.empty()) return;
  throw core::Refusal(core::RefusalKind::illegal_combination,
                      fmt::format("{}: {}", found.front().key, found.front().reason));
}

}  // namespace tessera::training
