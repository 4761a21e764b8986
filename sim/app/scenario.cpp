#include "sim/app/scenario.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "models/device/cluster_file.hpp"
#include "models/device/price_list.hpp"
#include "models/training/layout.hpp"
#include "models/training/legality.hpp"
#include "models/training/schedule_file.hpp"
#include "models/workload/architecture_file.hpp"
#include "models/workload/hf_config.hpp"
#include "sim/app/reliability_section.hpp"
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
constexpr double kMaxTokens = 1e18;

constexpr std::string_view kYaml = ".yaml";

enum class JobKind { training, prefill, decode, serving, study };

void check_job(const ConfigNode& root) {
  const auto job = root.choice<JobKind>("job", {{"training", JobKind::training},
                                                {"prefill", JobKind::prefill},
                                                {"decode", JobKind::decode},
                                                {"serving", JobKind::serving},
                                                {"study", JobKind::study}});
  if (root.sound() && job != JobKind::training)
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("job {} is not simulated; training is", root.text("job")));
}

/// What a recipe is before its fields are changed one by one.
workload::PrecisionRecipe recipe_of(DataType linear) {
  switch (linear) {
    case DataType::fp8_block:
      return workload::PrecisionRecipe::fp8_block();
    case DataType::fp8:
      return workload::PrecisionRecipe::fp8(workload::TensorScaling::delayed);
    case DataType::mxfp8:
      return workload::PrecisionRecipe::mxfp8();
    case DataType::nvfp4:
      return workload::PrecisionRecipe::nvfp4();
    default:
      return {};
  }
}

workload::PrecisionRecipe read_precision(const ConfigNode& node) {
  using Table = std::vector<std::pair<std::string, DataType>>;
  using workload::TensorScaling;
  constexpr std::int64_t kMaxLayers = 100'000;
  const Table linear{{"bf16", DataType::bf16},
                     {"fp8", DataType::fp8},
                     {"fp8_block", DataType::fp8_block},
                     {"mxfp8", DataType::mxfp8},
                     {"nvfp4", DataType::nvfp4}};
  const Table wire{{"bf16", DataType::bf16}, {"fp8_block", DataType::fp8_block}};
  const Table sixteen{{"bf16", DataType::bf16}};
  const Table state{{"fp32", DataType::fp32}, {"bf16", DataType::bf16}};
  workload::PrecisionRecipe recipe = recipe_of(node.choice("recipe", linear));
  recipe.attention = node.choice_or("attention", sixteen, recipe.attention);
  recipe.dispatch = node.choice_or("dispatch", wire, recipe.dispatch);
  recipe.combine = node.choice_or("combine", wire, recipe.combine);
  recipe.master_weights = node.choice_or("master_weights", state, recipe.master_weights);
  recipe.gradients = node.choice_or("gradients", state, recipe.gradients);
  recipe.moments = node.choice_or("moments", state, recipe.moments);
  recipe.scaling = node.choice_or<TensorScaling>(
      "scaling", {{"delayed", TensorScaling::delayed}, {"current", TensorScaling::current}},
      recipe.scaling);
  recipe.bf16_first_layers =
      node.integer_or("bf16_first_layers", 0, kMaxLayers, recipe.bf16_first_layers);
  recipe.bf16_last_layers =
      node.integer_or("bf16_last_layers", 0, kMaxLayers, recipe.bf16_last_layers);
  return recipe;
}

/// none, selective, full, or a list of what is computed again.
workload::RecomputeChoice read_recompute(const ConfigNode& root) {
  workload::RecomputeChoice choice;
  if (!root.has("recompute")) return choice;
  const ConfigNode node = root.at("recompute");
  using Member = bool workload::RecomputeChoice::*;
  if (node.present() && !node.is_list()) {
    const auto chosen =
        node.choice<Member>({{"none", nullptr},
                             {"selective", &workload::RecomputeChoice::core_attention},
                             {"full", &workload::RecomputeChoice::full}});
    if (chosen) choice.*chosen = true;
    return choice;
  }
  for (const ConfigNode& item : root.optional_list("recompute")) {
    choice.*
        item.choice<Member>({{"norm", &workload::RecomputeChoice::rms_norm},
                             {"rms_norm", &workload::RecomputeChoice::rms_norm},
                             {"mla_up_projection", &workload::RecomputeChoice::mla_up_projection},
                             {"activation", &workload::RecomputeChoice::swiglu},
                             {"swiglu", &workload::RecomputeChoice::swiglu},
                             {"core_attention", &workload::RecomputeChoice::core_attention},
                             {"mlp", &workload::RecomputeChoice::mlp}}) = true;
  }
  return choice;
}

void read_framework(const ConfigNode& node, training::TrainingJob& job) {
  using core::literals::operator""_ms;
  workload::KernelChoice& choice = job.framework;
  choice.flash_attention = node.boolean_or("flash_attention", choice.flash_attention);
  choice.dropout = node.boolean_or("dropout", choice.dropout);
  using workload::Dispatcher;
  choice.dispatcher = node.choice_or<Dispatcher>(
      "dispatcher",
      {{"once_a_place", Dispatcher::once_a_place}, {"all_to_all", Dispatcher::all_to_all}},
      choice.dispatcher);
  job.enqueue = node.quantity_or<core::Time>("enqueue", core::Time{0}, 1_ms, job.enqueue);
}

std::vector<std::string> read_kernels(const ConfigNode& root) {
  const std::vector<std::string> known = core::names_in("hw_configs/kernels");
  std::vector<std::string> names;
  for (const ConfigNode& item : root.optional_list("kernels")) {
    const std::string name = item.text();
    if (item.present() &&
        (name == "measured_as" || std::find(known.begin(), known.end(), name) == known.end()))
      item.fail(
          fmt::format("found '{}'; expected one of those that `tessera list kernels` names", name));
    names.push_back(name);
  }
  return names;
}

workload::RoutingSpec read_routing(const ConfigNode& node, std::uint64_t seed) {
  using Kind = workload::RoutingSpec::Kind;
  constexpr double kMaxAlpha = 10;
  workload::RoutingSpec routing;
  routing.kind =
      node.choice<Kind>("kind", {{"uniform", Kind::uniform}, {"power_law", Kind::power_law}});
  routing.seed = seed;
  if (routing.kind == Kind::power_law) {
    routing.alpha = node.number("alpha", 0.01, kMaxAlpha);
    routing.seed = static_cast<std::uint64_t>(
        node.integer_or("seed", 0, INT64_MAX, static_cast<std::int64_t>(seed)));
  }
  routing.node_limit = node.integer_or("node_limit", 0, kMaxGpus, 0);
  return routing;
}

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

/// Units of published figures, as the factor to the unit in which results are kept.
struct PublishedUnit {
  std::string_view name;
  std::string_view unit;
  double factor;
};
constexpr PublishedUnit kPublishedUnits[] = {
    {"s", "s", 1},     {"ms", "s", 1e-3},
    {"us", "s", 1e-6}, {"GPU-h", "GPU-h", 1},
    {"USD", "USD", 1}, {"tokens/s", "tokens/s", 1},
    {"%", "1", 0.01},  {"TFLOP/s", "FLOP/s", 1e12},
    {"MWh", "MWh", 1}, {"W", "W", 1},
    {"d", "d", 1},     {"times", "1", 1},
};

core::PublishedRow read_published_row(const ConfigNode& node) {
  core::PublishedRow row;
  row.quantity = node.text("quantity");
  row.source = node.text("source");
  const std::string text = node.text("value");
  const core::NumberWithUnit parts = core::split_unit(text);
  const auto number = core::parse_number(parts.number);
  for (const PublishedUnit& unit : kPublishedUnits) {
    if (!number || unit.name != parts.unit) continue;
    row.unit = unit.unit;
    row.published = *number * unit.factor;
    return row;
  }
  if (node.has("value"))
    node.at("value").fail(
        fmt::format("found '{}'; expected a number with a unit: s, ms, us, tokens/s, GPU-h, USD, "
                    "%, TFLOP/s, MWh, W, d or times",
                    text));
  return row;
}

device::Price stated(double value, const char* unit) {
  return {{value, value, value, unit, core::Grade::assumed}, "the scenario", ""};
}

std::optional<device::PriceList> read_price_list(const ConfigNode& cost) {
  const core::LoadOptions options = cost.at("prices").reference("price list", "hw_configs");
  std::string name = cost.text("prices");
  // A bare file name is a list of hw_configs, as the name without the ending is.
  if (name.ends_with(kYaml) && name.find('/') == std::string::npos)
    name.resize(name.size() - kYaml.size());
  try {
    return device::read_prices(ConfigDocument::load(name, options));
  } catch (const core::ConfigError& error) {
    if (cost.has("prices")) cost.absorb(error);
    return std::nullopt;
  }
}

void read_cost(const ConfigNode& node, const std::string& device, bool own_cluster,
               Scenario& scenario) {
  const auto prices = read_price_list(node);
  const auto optional = [&](std::string_view key, const char* unit, double min, double max) {
    return node.has(key) ? std::optional(node.quantity_in(key, unit, min, max)) : std::nullopt;
  };
  // Bounds far outside of any market.
  const auto rental = optional("rental", "USD/GPU/h", 0.001, 1000);
  const auto electricity = optional("electricity", "USD/kWh", 0.0001, 100);
  const auto pue = node.optional_number("pue", 1, 10);
  if (!prices || !node.sound()) return;
  const auto listed = prices->rental.find(device);
  scenario.rental_is_stated = rental && own_cluster;
  if (scenario.rental_is_stated)
    scenario.cost.rental = stated(*rental, "USD/GPU/h");
  else if (listed != prices->rental.end())
    scenario.cost.rental = listed->second;
  else
    node.at("prices").fail(
        fmt::format("'{}' has no rental of {}; expected one there or in cost.rental",
                    node.text("prices"), device));
  scenario.cost.pue = pue ? stated(*pue, "1") : prices->pue;
  scenario.cost.electricity = electricity ? stated(*electricity, "USD/kWh") : prices->electricity;
}

/// Loads what a value names and takes its mistakes over; a default-made T when there are any.
template <class T, class Load>
T load_named(const ConfigNode& node, const Load& load) {
  try {
    return load(node.text());
  } catch (const core::ConfigError& error) {
    if (node.present()) node.absorb(error);
    return T{};
  }
}

std::string resolved_json(const ConfigDocument& document,
                          const std::vector<core::Override>& overrides) {
  nlohmann::ordered_json json = document.resolved(true);
  nlohmann::ordered_json below = nlohmann::ordered_json::object();
  for (const core::Override& change : overrides) {
    if (change.path.size() < 2 || (change.path[0] != "cluster" && change.path[0] != "architecture"))
      continue;
    std::string path;
    for (const std::string& step : change.path) path += (path.empty() ? "" : ".") + step;
    below[path] = change.value;
  }
  if (!below.empty()) json["overrides"] = below;
  return json.dump();
}

/// Reads a loaded document section by section; later ones check themselves against earlier ones.
class ScenarioReader {
 public:
  ScenarioReader(const ConfigDocument& document, const ScenarioOptions& options)
      : root_(document.root()), options_(options) {}

  Scenario read() {
    check_job(root_);
    read_machine();
    read_model();
    read_layout();
    read_bill();
    return std::move(scenario_);
  }

 private:
  training::TrainingJob& job() { return scenario_.job; }

  void read_machine() {
    const ConfigNode node = root_.at("cluster");
    scenario_.cluster = load_named<device::ClusterSpec>(node, [&](const std::string& name) {
      if (options_.other_cluster) return device::load_cluster(*options_.other_cluster);
      return device::load_cluster(name, node.reference("cluster", "hw_configs/clusters"));
    });
    if (!root_.sound()) return;
    job().device = scenario_.cluster.node.device;
    job().gpus = scenario_.cluster.gpus();
    job().gpus_per_node = scenario_.cluster.gpus_per_domain;
  }

  /// A name, or {import: path to a config.json}.
  workload::Architecture read_architecture() {
    const ConfigNode node = root_.at("architecture");
    const core::LoadOptions named = node.reference("architecture", workload::kArchitectureFolder);
    if (!node.is_object()) {
      return load_named<workload::Architecture>(
          node, [&](const std::string& name) { return workload::load_architecture(name, named); });
    }
    const ConfigNode file = node.at("import");
    return load_named<workload::Architecture>(file, [&](const std::string& path) {
      core::LoadOptions options = file.reference("config.json", workload::kArchitectureFolder);
      options.overrides = named.overrides;
      return workload::load_imported_architecture(path, options);
    });
  }

  void read_model() {
    job().architecture = read_architecture();
    job().precision = read_precision(root_.object("precision"));
    // FP8 products on Hopper read both operands along k; later tensor cores read either way.
    job().precision.transposed_copies = job().device.generation == device::Generation::hopper ||
                                        job().device.generation == device::Generation::ampere;
    job().recompute = read_recompute(root_);
    read_framework(root_.optional_object("framework"), job());
    scenario_.kernels = read_kernels(root_);
    const auto seed = static_cast<std::uint64_t>(root_.integer_or("seed", 0, INT64_MAX, 1));
    if (root_.has("routing")) job().routing = read_routing(root_.object("routing"), seed);
  }

  void read_layout() {
    const ConfigNode parallelism = root_.object("parallelism");
    const ConfigNode batch = root_.object("batch");
    const ConfigNode schedule = root_.object("schedule");
    read_parallelism(parallelism, job());
    read_batch(batch, job());
    // A run of longer sequences than the publication's has a table of positions as long.
    if (job().architecture.positions == workload::Positions::learned)
      job().architecture.learned_positions =
          std::max(job().architecture.learned_positions, job().sequence_length);
    const bool machine_known = job().gpus > 0;
    if (!machine_known) job().device.sm.count = INT32_MAX;  // its mistakes are reported already
    read_schedule(schedule, job());
    const auto memory = root_.optional_object("memory");
    job().reserved = memory.quantity_or<core::Bytes>("reserved", core::Bytes{0},
                                                     core::Bytes{INT64_MAX / 2}, job().reserved);
    using training::Offload;
    job().offload = memory.choice_or<Offload>("offload",
                                              {{"none", Offload::none},
                                               {"optimizer", Offload::optimizer},
                                               {"activations", Offload::activations}},
                                              job().offload);
    // Ask for the key, so that it counts as known when the checks below are not reached.
    (void)parallelism.optional_object("data").has("degree");
    if (!root_.sound()) return;
    check_legality(root_, job());
    if (!root_.sound()) return;
    check_degree(parallelism, job(), root_.at("cluster"));
    check_stages(schedule, job(), parallelism);
  }

  void read_bill() {
    if (root_.has("run")) job().tokens = root_.object("run").number("tokens", 1, kMaxTokens);
    read_cost(root_.object("cost"), job().device.name, !options_.other_cluster, scenario_);
    if (root_.has("sites")) scenario_.sites = read_sites(root_.object("sites"));
    if (root_.has("reliability")) {
      scenario_.reliability = read_reliability(root_.object("reliability"), job());
      if (scenario_.sites)
        root_.at("reliability")
            .fail_against(root_.at("sites"),
                          "failures of several sites together are not modelled; expected one of "
                          "them");
      if (job().tokens <= 0)
        root_.at("reliability").fail("found without run.tokens; expected them");
    }
    scenario_.sensitivity = root_.boolean_or("sensitivity", false);
    for (const ConfigNode& row : root_.optional_list("published"))
      scenario_.published.push_back(read_published_row(row.object()));
    scenario_.title = root_.text_or("title", "");
    if (scenario_.title.empty())
      scenario_.title =
          fmt::format("{} training on {}", job().architecture.name, scenario_.cluster.name);
    else if (options_.other_cluster)
      scenario_.title += fmt::format(", on {}", *options_.other_cluster);
  }

  ConfigNode root_;
  const ScenarioOptions& options_;
  Scenario scenario_;
};

}  // namespace

Scenario read_scenario(const std::string& path_or_name, const ScenarioOptions& options) {
  core::LoadOptions load;
  load.kind = "scenario";
  load.folder = "workloads/scenarios";
  load.overrides = core::parse_overrides(options.set);
  load.references = {"cluster", "architecture"};
  const ConfigDocument document = ConfigDocument::load(path_or_name, load);
  Scenario scenario = ScenarioReader{document, options}.read();
  document.finish();
  scenario.name = document.name();
  scenario.job.name = scenario.name;
  scenario.resolved = resolved_json(document, load.overrides);
  return scenario;
}

}  // namespace tessera::app
