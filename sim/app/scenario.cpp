#include "sim/app/scenario.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <type_traits>
#include <utility>

#include "calibrate/host_overhead.hpp"
#include "models/device/cluster_file.hpp"
#include "models/device/fit_file.hpp"
#include "models/device/price_list.hpp"
#include "models/workload/architecture_file.hpp"
#include "models/workload/hf_config.hpp"
#include "sim/app/inference_layout.hpp"
#include "sim/app/reliability_section.hpp"
#include "sim/app/routing_section.hpp"
#include "sim/app/scenario_cost.hpp"
#include "sim/app/scenario_layout.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::app {
namespace {

using core::ConfigDocument;
using core::ConfigNode;
using core::DataType;

// Bounds that keep arithmetic sane; far outside of any machine or model.
constexpr std::int64_t kMaxGpus = 10'000'000;
constexpr double kMaxTokens = 1e18;

constexpr std::string_view kYaml = ".yaml";

enum class JobKind { training, prefill, decode, serving, study, disaggregation };

JobKind read_job(const ConfigNode& root) {
  const auto job = root.choice<JobKind>("job", {{"training", JobKind::training},
                                                {"prefill", JobKind::prefill},
                                                {"decode", JobKind::decode},
                                                {"serving", JobKind::serving},
                                                {"study", JobKind::study},
                                                {"disaggregation", JobKind::disaggregation}});
  if (root.sound() && job == JobKind::disaggregation)
    throw core::Refusal(core::RefusalKind::outside_model,
                        "job disaggregation is two scenarios, which `tessera run` and `tessera "
                        "sweep` put together");
  if (root.sound() && (job == JobKind::serving || job == JobKind::study))
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("job {} is not simulated by itself; training, prefill and "
                                    "decode are",
                                    root.text("job")));
  return job;
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

/// What engines of inference leave unexplained beside their kernels: no training framework was
/// measured.
double unexplained_by_engines() {
  static const double spread =
      calibrate::unmeasured_overhead(calibrate::load_host_overheads(device::kFitFolder)).spread;
  return spread;
}

void read_framework(const ConfigNode& node, training::TrainingJob& job) {
  using core::literals::operator""_ms;
  workload::KernelChoice& choice = job.framework;
  choice.flash_attention = node.boolean_or("flash_attention", choice.flash_attention);
  choice.dropout = node.boolean_or("dropout", choice.dropout);
  choice.eager = node.boolean_or("eager", choice.eager);
  choice.fused_rotary = node.boolean_or("fused_rotary", choice.fused_rotary);
  choice.train_metrics = node.integer_or("train_metrics", 0, 16, choice.train_metrics);
  using workload::Dispatcher;
  choice.dispatcher = node.choice_or<Dispatcher>(
      "dispatcher",
      {{"once_a_place", Dispatcher::once_a_place}, {"all_to_all", Dispatcher::all_to_all}},
      choice.dispatcher);
  job.unexplained = node.number_or("unexplained", 0, 2, unexplained_by_engines());
  job.part_spread = node.number_or("part_spread", 0, 0.2, job.part_spread);
  job.host.launch = node.quantity_or<core::Time>("enqueue", core::Time{0}, 1_ms, job.host.launch);
  job.host.module = node.quantity_or<core::Time>("module", core::Time{0}, 1_ms, job.host.module);
  using Graphs = training::HostCost::Graphs;
  job.host.graphs = node.choice_or<Graphs>(
      "graphs", {{"none", Graphs::none}, {"attention_and_router", Graphs::attention_and_router}},
      job.host.graphs);
  using workload::ExpertLaunches;
  choice.experts = node.choice_or<ExpertLaunches>(
      "experts", {{"together", ExpertLaunches::together}, {"each", ExpertLaunches::each}},
      choice.experts);
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

/// The rent of the scenario's device: quoted, stated, or the list's.
void read_rental(const ConfigNode& node, const device::PriceList& prices,
                 const ScenarioOptions& options, bool take_stated, Scenario& scenario) {
  const std::string& device = scenario.device().name;
  const auto quoted = options.quoted_rental.find(device);
  const auto listed = prices.rental.find(device);
  if (quoted != options.quoted_rental.end())
    scenario.cost.rental = stated_price(quoted->second, kRent, "a quote");
  else if (scenario.stated_rental && take_stated)
    scenario.cost.rental = stated_price(*scenario.stated_rental, kRent);
  else if (listed != prices.rental.end())
    scenario.cost.rental = listed->second;
  else
    node.at("prices").fail(
        fmt::format("'{}' has no rental of {}; expected one there or in cost.rental",
                    node.text("prices"), device));
}

void read_cost(const ConfigNode& node, const ScenarioOptions& options, Scenario& scenario) {
  const auto prices = read_price_list(node);
  const auto optional = [&](std::string_view key, const char* unit, double min, double max) {
    return node.has(key) ? std::optional(node.quantity_in(key, unit, min, max)) : std::nullopt;
  };
  // Bounds far outside of any market.
  scenario.stated_rental = optional("rental", kRent, kLeastRent, kMostRent);
  const auto electricity = optional("electricity", "USD/kWh", 0.0001, 100);
  const auto pue = node.optional_number("pue", 1, 10);
  if (!prices || !node.sound()) return;
  const auto takes = [&](const std::string& key) {
    const std::vector<std::string> path{"cost", key};
    const auto sets = [&](const core::Override& change) { return change.path == path; };
    return !options.other_cluster &&
           (!options.market_prices ||
            std::any_of(options.overrides.begin(), options.overrides.end(), sets));
  };
  read_rental(node, *prices, options, takes("rental"), scenario);
  scenario.cost.pue = pue ? stated_price(*pue, "1") : prices->pue;
  scenario.cost.electricity =
      electricity ? stated_price(*electricity, "USD/kWh") : prices->electricity;
  scenario.stated_server =
      read_ownership(node, *prices, scenario.cluster, takes("server"), scenario.cost);
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
    std::string path;
    for (const std::string& step : change.path) path += (path.empty() ? "" : ".") + step;
    const auto is_below = [&](const std::string& key) { return path.starts_with(key + '.'); };
    if (is_below("cluster") || is_below("architecture") || is_below("cost.prices"))
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
    const JobKind kind = read_job(root_);
    if (kind == JobKind::prefill || kind == JobKind::decode)
      scenario_.job = serving::InferenceJob{
          .phase = kind == JobKind::prefill ? serving::Phase::prefill : serving::Phase::decode};
    read_machine();
    scenario_.kernels = read_kernels(root_);
    if (scenario_.trains()) {
      read_model(job());
      read_layout(root_, job());
      read_weeks(job());
    } else {
      read_model(scenario_.inference());
      read_inference(root_, scenario_.inference());
    }
    read_bill();
    return std::move(scenario_);
  }

 private:
  training::TrainingJob& job() { return scenario_.training(); }

  void read_machine() {
    const ConfigNode node = root_.at("cluster");
    scenario_.cluster = load_named<device::ClusterSpec>(node, [&](const std::string& name) {
      if (options_.other_cluster) return device::load_cluster(*options_.other_cluster);
      return device::load_cluster(name, node.reference("cluster", "hw_configs/clusters"));
    });
    if (!root_.sound()) return;
    std::visit(
        [&](auto& job) {
          job.device = scenario_.cluster.node.device;
          job.gpus = scenario_.cluster.gpus();
          job.gpus_per_node = scenario_.cluster.gpus_per_domain;
        },
        scenario_.job);
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

  template <class Job>
  void read_model(Job& job) {
    job.architecture = read_architecture();
    const auto seed = static_cast<std::uint64_t>(root_.integer_or("seed", 0, INT64_MAX, 1));
    job.routing = workload::usual_routing(job.architecture.moe);
    if (root_.has("routing"))
      job.routing = read_routing(root_.object("routing"), job.architecture, seed);
    if constexpr (std::is_same_v<Job, training::TrainingJob>) {
      job.precision = read_precision(root_.object("precision"));
      // FP8 products on Hopper read both operands along k; later tensor cores read either way.
      job.precision.transposed_copies = job.device.generation == device::Generation::hopper ||
                                        job.device.generation == device::Generation::ampere;
      job.recompute = read_recompute(root_);
      read_framework(root_.optional_object("framework"), job);
      if (job.routing.placement != workload::RoutingSpec::Placement::linear)
        root_.at("routing").fail(
            "placement",
            "found 'eplb' in training; expected linear, since optimizer states stay where they "
            "are");
    }
  }

  void read_weeks(training::TrainingJob& job) {
    if (root_.has("run")) job.tokens = root_.object("run").number("tokens", 1, kMaxTokens);
    if (root_.has("sites")) scenario_.sites = read_sites(root_.object("sites"));
    if (!root_.has("reliability")) return;
    scenario_.reliability = read_reliability(root_.object("reliability"), job);
    if (scenario_.sites)
      root_.at("reliability")
          .fail_against(root_.at("sites"),
                        "failures of several sites together are not modelled; expected one of "
                        "them");
    if (job.tokens <= 0) root_.at("reliability").fail("found without run.tokens; expected them");
  }

  [[nodiscard]] std::string default_title() const {
    const auto name = [](const auto& job) { return job.architecture.name; };
    const std::string what =
        scenario_.trains() ? "training" : serving::to_string(scenario_.inference().phase);
    return fmt::format("{} {} on {}", std::visit(name, scenario_.job), what,
                       scenario_.cluster.name);
  }

  void read_bill() {
    read_cost(root_.object("cost"), options_, scenario_);
    if (scenario_.trains()) scenario_.sensitivity = root_.boolean_or("sensitivity", false);
    for (const ConfigNode& row : root_.optional_list("published"))
      scenario_.published.push_back(read_published_row(row.object()));
    scenario_.title = root_.text_or("title", "");
    if (scenario_.title.empty())
      scenario_.title = default_title();
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
  load.overrides.insert(load.overrides.end(), options.overrides.begin(), options.overrides.end());
  load.references = {"cluster", "architecture", "cost.prices"};
  const ConfigDocument document = ConfigDocument::load(path_or_name, load);
  Scenario scenario = ScenarioReader{document, options}.read();
  document.finish();
  scenario.name = document.name();
  std::visit([&](auto& job) { job.name = scenario.name; }, scenario.job);
  scenario.resolved = resolved_json(document, load.overrides);
  return scenario;
}

}  // namespace tessera::app
