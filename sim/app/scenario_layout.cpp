#include "sim/app/scenario_layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "models/training/layout.hpp"
#include "models/training/legality.hpp"
#include "models/training/schedule_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using core::ConfigDocument;
using core::ConfigNode;
using core::DataType;
using training::StageEntry;

// Bounds that keep arithmetic sane; far outside of any machine or model.
constexpr std::int64_t kMaxGpus = 10'000'000;
constexpr std::int64_t kMaxSequences = 1'000'000'000;
constexpr std::int64_t kMaxSequenceLength = 100'000'000;
constexpr std::int64_t kMaxMicroBatchGroup = 1'000'000;

void read_batch(const ConfigNode& node, training::TrainingJob& job) {
  job.sequences = node.integer("sequences", 1, kMaxSequences);
  job.sequence_length = node.integer("sequence_length", 1, kMaxSequenceLength);
  job.micro_batch = node.integer("micro_batch", 1, kMaxSequences);
}

void read_overlap(const ConfigNode& node, training::TrainingJob& job) {
  using training::GatherOverlap;
  using training::ReductionOverlap;
  constexpr double kMaxParameters = 1e15;
  job.reduction = node.choice_or<ReductionOverlap>("gradients",
                                                   {{"exposed", ReductionOverlap::exposed},
                                                    {"overlapped", ReductionOverlap::overlapped},
                                                    {"bucketed", ReductionOverlap::bucketed}},
                                                   job.reduction);
  job.gather = node.choice_or<GatherOverlap>(
      "parameters",
      {{"exposed", GatherOverlap::exposed}, {"overlapped", GatherOverlap::overlapped}}, job.gather);
  job.bucket = node.number_or("bucket", 1, kMaxParameters, job.bucket);
}

void read_data(const ConfigNode& node, training::TrainingJob& job) {
  using training::Sharding;
  job.sharding = node.choice<Sharding>("sharding", {{"none", Sharding::none},
                                                    {"zero1", Sharding::zero1},
                                                    {"zero2", Sharding::zero2},
                                                    {"zero3", Sharding::zero3},
                                                    {"fsdp", Sharding::fsdp},
                                                    {"hsdp", Sharding::hsdp}});
  job.shard = static_cast<int>(node.integer_or("shard", 1, kMaxGpus, job.shard));
  job.reshard_after_forward = node.boolean_or("reshard", job.reshard_after_forward);
  job.prefetch = node.choice_or<training::Prefetch>("prefetch",
                                                    {{"none", training::Prefetch::none},
                                                     {"forward", training::Prefetch::forward},
                                                     {"after", training::Prefetch::after},
                                                     {"both", training::Prefetch::both}},
                                                    job.prefetch);
  read_overlap(node.optional_object("overlap"), job);
  if (node.has("reduce_in"))
    job.reduce_in =
        node.choice<DataType>("reduce_in", {{"fp32", DataType::fp32}, {"bf16", DataType::bf16}});
  // Megatron-Core gathers FP8 weights as they are, MXFP8 and NVFP4 ones before they are quantised
  // (--reuse-grad-buf-for-mxfp8-param-ag).
  job.gather_low_precision =
      node.boolean_or("gather_low_precision", job.precision.linear != DataType::nvfp4 &&
                                                  job.precision.linear != DataType::mxfp8);
}

void read_parallelism(const ConfigNode& node, training::TrainingJob& job) {
  using training::Placement;
  using workload::ContextKind;
  const auto degree = [&](std::string_view key) {
    return static_cast<int>(node.integer_or(key, 1, kMaxGpus, 1));
  };
  job.tensor = degree("tensor");
  job.sequence_parallel = node.boolean_or("sequence", false);
  job.pipeline = degree("pipeline");
  job.virtual_stages = degree("virtual");
  job.expert = degree("expert");
  job.expert_tensor = degree("expert_tensor");
  job.context = degree("context");
  job.tensor_overlap = node.boolean_or("tensor_overlap", job.tensor_overlap);
  job.context_kind = node.choice_or<ContextKind>(
      "context_kind", {{"ring", ContextKind::ring}, {"all_to_all", ContextKind::all_to_all}},
      job.context_kind);
  read_data(node.object("data"), job);
  job.placement = node.choice_or<Placement>(
      "placement",
      {{"expert_first", Placement::expert_first}, {"pipeline_first", Placement::pipeline_first}},
      job.placement);
}

/// The value at a dotted path, present or not.
ConfigNode below(ConfigNode node, std::string_view path) {
  for (std::size_t dot; (dot = path.find('.')) != std::string_view::npos;
       path.remove_prefix(dot + 1))
    node = node.at(path.substr(0, dot));
  return node.at(path);
}

/// What the job's numbers say of each other, at the places where they were written.
void check_legality(const ConfigNode& root, const training::TrainingJob& job) {
  for (const training::Contradiction& c : training::contradictions(job)) {
    const ConfigNode where = below(root, c.key);
    if (c.against.empty() || !below(root, c.against).present())
      where.fail(c.reason);
    else
      where.fail_against(below(root, c.against), c.reason);
  }
}

void check_degree(const ConfigNode& node, const training::TrainingJob& job,
                  const ConfigNode& cluster) {
  const std::int64_t data = job.gpus / training::model_gpus(job);
  if (const auto stated = node.optional_object("data").optional_integer("degree", 1, kMaxGpus);
      stated && *stated != data)
    node.at("data").at("degree").fail_against(
        cluster, fmt::format("found {}; expected {}: tensor {} x pipeline {} x context {} x data "
                             "must be the cluster's {} GPUs",
                             *stated, data, job.tensor, job.pipeline, job.context, job.gpus));
}

StageEntry read_stage_entry(const ConfigNode& node, std::int64_t layers) {
  const std::string text = node.text();
  if (text == "embedding") return {StageEntry::Kind::embedding, 0};
  if (text == "head") return {StageEntry::Kind::head, 0};
  if (text == "mtp") return {StageEntry::Kind::mtp, 0};
  std::int64_t layer = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc{} || end != text.data() + text.size() || layer < 0 || layer >= layers)
    node.fail(fmt::format("found '{}'; expected a layer number in [0, {}], embedding, mtp or head",
                          text, layers - 1));
  return {StageEntry::Kind::layer, layer};
}

/// Every part of the model on exactly one stage, layers in their order.
class StageCheck {
 public:
  explicit StageCheck(const workload::Architecture& architecture) : architecture_(architecture) {}

  void place(StageEntry& entry, const ConfigNode& node) {
    if (entry.kind == StageEntry::Kind::mtp) {
      entry.layer = modules_++;  // they are written without numbers
      if (entry.layer >= architecture_.mtp_modules)
        return node.fail(fmt::format("found more mtp entries than the {} that {} has",
                                     architecture_.mtp_modules, architecture_.name));
    }
    const auto [earlier, is_new] = places_.emplace(entry, node);
    if (!is_new)
      return node.fail_against(earlier->second, fmt::format("{} is placed twice", name_of(entry)));
    if (entry.kind != StageEntry::Kind::layer) return;
    if (entry.layer < last_layer_)
      node.fail(fmt::format("found layer {} after layer {}; expected the order of the forward pass",
                            entry.layer, last_layer_));
    last_layer_ = entry.layer;
  }

  void finish(const ConfigNode& stages) const {
    const auto need = [&](StageEntry entry) {
      if (!places_.contains(entry)) stages.fail(fmt::format("{} is on no stage", name_of(entry)));
    };
    need({StageEntry::Kind::embedding, 0});
    for (std::int64_t layer = 0; layer < architecture_.layers; ++layer)
      need({StageEntry::Kind::layer, layer});
    need({StageEntry::Kind::head, 0});
    for (std::int64_t m = 0; m < architecture_.mtp_modules; ++m) need({StageEntry::Kind::mtp, m});
  }

 private:
  static std::string name_of(const StageEntry& entry) {
    if (entry.kind == StageEntry::Kind::layer) return fmt::format("layer {}", entry.layer);
    return training::to_string(entry);
  }

  const workload::Architecture& architecture_;
  std::map<StageEntry, ConfigNode> places_;
  std::int64_t last_layer_ = -1;
  std::int64_t modules_ = 0;
};

std::vector<training::Stage> read_stages(const ConfigNode& schedule,
                                         const workload::Architecture& architecture) {
  std::vector<training::Stage> stages;
  if (!schedule.has("stages")) return stages;
  StageCheck check{architecture};
  for (const ConfigNode& list : schedule.list("stages")) {
    training::Stage& stage = stages.emplace_back();
    for (const ConfigNode& item : list.list()) {
      stage.push_back(read_stage_entry(item, architecture.layers));
      if (schedule.sound()) check.place(stage.back(), item);
    }
  }
  if (schedule.sound()) check.finish(schedule.at("stages"));
  return stages;
}

std::optional<training::CustomSchedule> read_custom_schedule(const ConfigNode& node) {
  const ConfigNode file = node.at("file");
  const std::string name = file.text();
  if (!file.present()) return std::nullopt;
  try {
    return training::load_schedule(name, file.reference("schedule", training::kScheduleFolder));
  } catch (const core::ConfigError& error) {
    file.absorb(error);
    return std::nullopt;
  }
}

void read_schedule(const ConfigNode& node, training::TrainingJob& job) {
  using training::ScheduleKind;
  using training::StageBalance;
  job.schedule = node.choice("kind", training::schedule_kinds());
  if (job.schedule == ScheduleKind::custom) job.custom = read_custom_schedule(node);
  if (job.schedule == ScheduleKind::interleaved)
    job.micro_batch_group =
        static_cast<int>(node.integer_or("micro_batch_group", 1, kMaxMicroBatchGroup, 0));
  if (job.schedule == ScheduleKind::interleaved || job.schedule == ScheduleKind::one_f_one_b)
    job.overlap_exchanges = node.boolean_or("overlap_exchanges", false);
  job.communication_sms =
      static_cast<int>(node.integer_or("communication_sms", 0, job.device.sm.count - 1,
                                       std::min(job.communication_sms, job.device.sm.count - 1)));
  job.balance = node.choice_or<StageBalance>("balance",
                                             {{"automatic", StageBalance::automatic},
                                              {"layers", StageBalance::layers},
                                              {"work", StageBalance::work}},
                                             job.balance);
  job.stages = read_stages(node, job.architecture);
}

void check_stages(const ConfigNode& schedule, const training::TrainingJob& job,
                  const ConfigNode& parallelism) {
  const int expected = training::placement_of(job).stages();
  if (job.stages.empty() || static_cast<int>(job.stages.size()) == expected) return;
  const int each = expected / job.pipeline;
  schedule.at("stages").fail_against(
      parallelism.at("pipeline"),
      fmt::format("found {} stages; expected {}, {} a pipeline rank", job.stages.size(), expected,
                  each == 1 ? "one" : std::to_string(each)));
}

void read_memory(const ConfigNode& node, training::TrainingJob& job) {
  using training::Offload;
  job.reserved = node.quantity_or<core::Bytes>("reserved", core::Bytes{0},
                                               core::Bytes{INT64_MAX / 2}, job.reserved);
  job.offload = node.choice_or<Offload>("offload",
                                        {{"none", Offload::none},
                                         {"optimizer", Offload::optimizer},
                                         {"activations", Offload::activations}},
                                        job.offload);
}

}  // namespace

void read_layout(const ConfigNode& root, training::TrainingJob& job) {
  const ConfigNode parallelism = root.object("parallelism");
  const ConfigNode batch = root.object("batch");
  const ConfigNode schedule = root.object("schedule");
  read_parallelism(parallelism, job);
  read_batch(batch, job);
  // A run of longer sequences than the publication's has a table of positions as long.
  if (job.architecture.positions == workload::Positions::learned)
    job.architecture.learned_positions =
        std::max(job.architecture.learned_positions, job.sequence_length);
  const bool machine_known = job.gpus > 0;
  if (!machine_known) job.device.sm.count = INT32_MAX;  // its mistakes are reported already
  read_schedule(schedule, job);
  read_memory(root.optional_object("memory"), job);
  // Ask for the key, so that it counts as known when the checks below are not reached.
  (void)parallelism.optional_object("data").has("degree");
  if (!root.sound()) return;
  check_legality(root, job);
  if (!root.sound()) return;
  check_degree(parallelism, job, root.at("cluster"));
  check_stages(schedule, job, parallelism);
}

}  // namespace tessera::app
