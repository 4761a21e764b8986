#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "models/device/cluster_file.hpp"
#include "models/workload/architecture_file.hpp"
#include "reports/format.hpp"
#include "sim/app/command.hpp"
#include "sim/app/routing_cost.hpp"
#include "sim/app/routing_section.hpp"
#include "sim/app/routing_study.hpp"

namespace tessera::app {
namespace {

using nlohmann::ordered_json;
using workload::LoadSpread;
using workload::SlotLoad;

struct RouteArguments {
  std::string architecture;
  std::string routing;
  std::vector<std::string> set;
  std::int64_t ranks = 0;
  std::int64_t ranks_per_node = 8;
  std::int64_t tokens = 128;
  std::string cluster;
  std::string exchange = "low_latency";
  std::string type = "fp8_block";
  std::string fidelity = "analytical";
  std::string format = "table";
  bool layers = false;
  bool experts = false;
};

/// One placement with all that is said of it.
struct ShownPlacement {
  PlacedLayers placed;
  LayerSpreads spreads;
  std::size_t typical_layer = 0;
  workload::RoutedLoad typical;
  std::optional<LayerCost> cost;  ///< Of the typical layer; none without a cluster.
};

[[noreturn]] void fail(const std::string& message) {
  throw core::ConfigError({"tessera", 0, 0}, message);
}

/// Throws core::ConfigError for options that what is printed would not show.
void check_options(const RouteArguments& arguments) {
  const auto refuse = [&](bool given, const char* option) {
    if (given)
      fail(fmt::format("{}: found with --format {}; expected {}", option, arguments.format,
                       arguments.format == "csv" ? "table or json" : "table"));
  };
  if (arguments.format == "csv") refuse(!arguments.cluster.empty(), "--cluster");
  if (arguments.format == "table") return;
  refuse(arguments.layers, "--layers");
  refuse(arguments.experts, "--experts");
}

/// The expert-parallel ranks of a node: those of an NVLink domain, or what --ranks-per-node says.
std::int64_t ranks_of_node(const RouteArguments& arguments,
                           const std::optional<device::ClusterSpec>& cluster) {
  const std::int64_t ranks = arguments.ranks;
  const std::int64_t of_node =
      std::min(ranks, cluster ? cluster->gpus_per_domain : arguments.ranks_per_node);
  if (ranks % of_node == 0) return of_node;
  if (cluster)
    throw core::Refusal(
        core::RefusalKind::illegal_combination,
        fmt::format("{} ranks do not fill NVLink domains of {} GPUs", ranks, of_node));
  fail(fmt::format("--ranks: found {}; expected a multiple of the {} of --ranks-per-node", ranks,
                   of_node));
}

RoutingQuestion question_of(const RouteArguments& arguments,
                            const std::optional<device::ClusterSpec>& cluster) {
  RoutingQuestion question;
  core::LoadOptions named;
  named.kind = "architecture";
  named.folder = workload::kArchitectureFolder;
  question.architecture = workload::load_architecture(arguments.architecture, named);
  if (!question.architecture.has_experts())
    throw core::Refusal(core::RefusalKind::outside_model,
                        question.architecture.name + " has no experts to route to");
  core::LoadOptions options;
  options.kind = "routing";
  options.folder = "workloads/routing";
  options.overrides = core::parse_overrides(arguments.set);
  const core::ConfigDocument document =
      arguments.routing.empty()
          ? core::ConfigDocument::from_text("kind: uniform\n", "routing", options)
          : core::ConfigDocument::load(arguments.routing, options);
  question.spec = read_routing(document.root(), question.architecture, 1);
  document.finish();
  question.tokens_per_rank = arguments.tokens;
  question.ranks = arguments.ranks;
  question.ranks_per_node = ranks_of_node(arguments, cluster);
  question.layers = question.spec.layers;
  return question;
}

/// Adds what the typical layers cost on the cluster.
void add_costs(std::vector<ShownPlacement>& placements, const RouteArguments& arguments,
               const RoutingQuestion& question, const device::ClusterSpec& cluster) {
  LayerCosts model(
      cluster, arguments.fidelity == "cycle" ? gpu::Fidelity::cycle : gpu::Fidelity::analytical);
  LayerChoice choice;
  if (arguments.exchange == "normal") choice.exchange = fabric::ExchangeKind::normal;
  if (arguments.type == "bf16") choice.type = core::DataType::bf16;
  for (ShownPlacement& shown : placements)
    shown.cost = model.cost(question.architecture, shown.typical,
                            static_cast<double>(question.tokens_per_rank), choice);
}

std::vector<ShownPlacement> placements_of(const RoutingQuestion& question) {
  std::vector<ShownPlacement> all;
  for (PlacedLayers& placed : study_routing(question)) {
    LayerSpreads spreads = spreads_of(placed.layers);
    const std::size_t layer = workload::most_typical(placed.layers);
    workload::RoutedLoad typical = typical_load(question, placed);
    all.push_back({std::move(placed), spreads, layer, std::move(typical), std::nullopt});
  }
  return all;
}

void print_spread(const char* what, const LoadSpread& spread) {
  fmt::print("  {:<12}{:>12.1f}{:>14.1f}{:>14.3f}\n", what, spread.mean, spread.standard_deviation,
             spread.imbalance);
}

void print_cost(const LayerCost& cost) {
  using reports::quantity;
  const auto seconds = [](core::Time time) { return core::to_seconds(time).value(); };
  fmt::print(
      "  layer, nothing overlapped: {}: dispatch {} ({}), gate and up {}, down {}, combine {} "
      "({})\n",
      quantity(cost.seconds(), "s"), quantity(seconds(cost.dispatch.time), "s"),
      cost.dispatch.binding, quantity(cost.gate_up_seconds, "s"), quantity(cost.down_seconds, "s"),
      quantity(seconds(cost.combine.time), "s"), cost.combine.binding);
  for (const auto& [link, load] : cost.dispatch.links)
    fmt::print("  dispatch over {}: busiest {}, mean {}\n", to_string(link),
               quantity(load.busiest, "B"), quantity(load.mean, "B"));
}

void print_layers(const PlacedLayers& placed) {
  fmt::print("  layer  hottest rank  rows of it  st. dev. by rank  imbalance by rank  by slot\n");
  for (std::size_t i = 0; i < placed.layers.size(); ++i) {
    const SlotLoad& load = placed.layers[i];
    const LayerSpreads spreads = spreads_of({load});
    fmt::print("  {:>5}{:>14}{:>12}{:>18.1f}{:>19.3f}{:>9.3f}\n", i, load.hottest_rank,
               load.total_on(load.hottest_rank), spreads.ranks.standard_deviation,
               spreads.ranks.imbalance, spreads.slots.imbalance);
  }
}

/// Rows of every rank's slots, "expert:rows".
void print_experts(const ShownPlacement& shown) {
  const SlotLoad& load = shown.typical;
  fmt::print("  rank      rows  its experts and their rows, layer {}\n", shown.typical_layer);
  for (std::int64_t rank = 0; rank < load.ranks(); ++rank) {
    std::string slots;
    for (std::int64_t s = rank * load.experts_per_rank; s < (rank + 1) * load.experts_per_rank; ++s)
      slots += fmt::format(" {}:{}", load.expert_of_slot[static_cast<std::size_t>(s)],
                           load.rows[static_cast<std::size_t>(s)]);
    fmt::print("  {:>4}{:>10} {}\n", rank, load.total_on(rank), slots);
  }
}

void print_placement(const RouteArguments& arguments, const ShownPlacement& shown) {
  const workload::RoutedLoad& typical = shown.typical;
  fmt::print("\n{}\n  {:<12}{:>12}{:>14}{:>14}\n", describe_placement(shown.placed), "rows", "mean",
             "st. deviation", "imbalance");
  print_spread("by expert", shown.spreads.experts);
  if (typical.rows.size() != typical.expert_rows.size())
    print_spread("by slot", shown.spreads.slots);
  print_spread("by rank", shown.spreads.ranks);
  fmt::print(
      "  typical layer {}: hottest rank {}, {} rows, {:.3f} of the mean; a token reaches "
      "{:.2f} ranks, {:.2f} nodes\n",
      shown.typical_layer, typical.hottest_rank, typical.total_on(typical.hottest_rank),
      typical.skew, typical.ranks_per_token, typical.nodes_per_token);
  if (shown.cost) print_cost(*shown.cost);
  if (arguments.layers) print_layers(shown.placed);
  if (arguments.experts) print_experts(shown);
}

void print_table(const RouteArguments& arguments, const RoutingQuestion& question,
                 const std::vector<ShownPlacement>& placements) {
  const workload::MixtureOfExperts& moe = question.architecture.moe;
  const auto plural = [](std::int64_t count) { return count == 1 ? "" : "s"; };
  fmt::print(
      "{}: {} experts, {} a token, over {} rank{}, {} a node; {} token{} a rank; {} layer{}\n",
      question.architecture.name, moe.experts, moe.top_k, question.ranks, plural(question.ranks),
      question.ranks_per_node, question.tokens_per_rank, plural(question.tokens_per_rank),
      question.layers, plural(question.layers));
  fmt::print("Loads: {}\n", describe_loads(question.spec));
  for (const ShownPlacement& shown : placements) print_placement(arguments, shown);
  fmt::print(
      "\nimbalance: (largest - mean) / mean; each figure is the mean over layers of the "
      "layer's own\n");
}

ordered_json spread_json(const LoadSpread& spread) {
  return {{"mean", spread.mean},
          {"standard_deviation", spread.standard_deviation},
          {"imbalance", spread.imbalance}};
}

ordered_json cost_json(const LayerCost& cost) {
  ordered_json links = ordered_json::object();
  for (const auto& [link, load] : cost.dispatch.links)
    links[to_string(link)] = {{"busiest_bytes", load.busiest}, {"mean_bytes", load.mean}};
  return {{"seconds", cost.seconds()},
          {"dispatch_seconds", core::to_seconds(cost.dispatch.time).value()},
          {"gate_up_seconds", cost.gate_up_seconds},
          {"down_seconds", cost.down_seconds},
          {"combine_seconds", core::to_seconds(cost.combine.time).value()},
          {"dispatch_links", links}};
}

void print_json(const RoutingQuestion& question, const std::vector<ShownPlacement>& placements) {
  ordered_json json{
      {"architecture", question.architecture.name}, {"ranks", question.ranks},
      {"ranks_per_node", question.ranks_per_node},  {"tokens_per_rank", question.tokens_per_rank},
      {"loads", describe_loads(question.spec)},     {"placements", ordered_json::array()}};
  for (const ShownPlacement& shown : placements) {
    ordered_json one{{"placement", describe_placement(shown.placed)},
                     {"by_expert", spread_json(shown.spreads.experts)},
                     {"by_slot", spread_json(shown.spreads.slots)},
                     {"by_rank", spread_json(shown.spreads.ranks)},
                     {"typical_layer", shown.typical_layer},
                     {"hottest_rank", shown.typical.hottest_rank},
                     {"skew", shown.typical.skew},
                     {"ranks_per_token", shown.typical.ranks_per_token},
                     {"nodes_per_token", shown.typical.nodes_per_token},
                     {"layers", ordered_json::array()}};
    for (const SlotLoad& load : shown.placed.layers)
      one["layers"].push_back({{"expert_of_slot", load.expert_of_slot}, {"rows", load.rows}});
    if (shown.cost) one["cost"] = cost_json(*shown.cost);
    json["placements"].push_back(std::move(one));
  }
  fmt::print("{}\n", json.dump(2));
}

void print_csv(const std::vector<PlacedLayers>& placements) {
  fmt::print("placement,layer,rank,slot,expert,rows\n");
  for (const PlacedLayers& placed : placements)
    for (std::size_t layer = 0; layer < placed.layers.size(); ++layer) {
      const SlotLoad& load = placed.layers[layer];
      for (std::size_t slot = 0; slot < load.rows.size(); ++slot)
        fmt::print("{},{},{},{},{},{}\n", placed.is_linear() ? "linear" : "eplb", layer,
                   static_cast<std::int64_t>(slot) / load.experts_per_rank, slot,
                   load.expert_of_slot[slot], load.rows[slot]);
    }
}

void route(const RouteArguments& arguments) {
  check_options(arguments);
  std::optional<device::ClusterSpec> cluster;
  if (!arguments.cluster.empty()) cluster = device::load_cluster(arguments.cluster);
  const RoutingQuestion question = question_of(arguments, cluster);
  if (arguments.format == "csv") return print_csv(study_routing(question));
  std::vector<ShownPlacement> placements = placements_of(question);
  if (cluster) add_costs(placements, arguments, question, *cluster);
  if (arguments.format == "json") return print_json(question, placements);
  print_table(arguments, question, placements);
}

}  // namespace

void add_route_command(CLI::App& program) {
  auto arguments = std::make_shared<RouteArguments>();
  CLI::App* command =
      program.add_subcommand("route", "Where tokens of a mixture of experts go, and what it costs");
  command->add_option("architecture", arguments->architecture, "A name, or a path")->required();
  command->add_option("--ranks", arguments->ranks, "Of the expert-parallel group")
      ->required()
      ->check(CLI::Range(1, 100'000));
  CLI::Option* per_node =
      command->add_option("--ranks-per-node", arguments->ranks_per_node, "Ranks that share a node")
          ->check(CLI::Range(1, 100'000))
          ->capture_default_str();
  command->add_option("--tokens", arguments->tokens, "Of each rank, in one batch")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  command->add_option("--routing", arguments->routing,
                      "A file, or a name of workloads/routing, with a scenario's section routing; "
                      "without one: uniform");
  command->add_option("--set", arguments->set, "Change a value of it: kind=power_law")
      ->take_all()
      ->allow_extra_args(false);
  CLI::Option* cluster =
      command
          ->add_option("--cluster", arguments->cluster,
                       "Also the time of a layer on the first ranks of this cluster, whose NVLink "
                       "domains are the nodes")
          ->excludes(per_node);
  command->add_option("--exchange", arguments->exchange, "How DeepEP sends tokens")
      ->check(CLI::IsMember({"low_latency", "normal"}))
      ->needs(cluster)
      ->capture_default_str();
  command->add_option("--type", arguments->type, "Of the experts' products and what they are sent")
      ->check(CLI::IsMember({"fp8_block", "bf16"}))
      ->needs(cluster)
      ->capture_default_str();
  command->add_option("--fidelity", arguments->fidelity, "Of the experts' products")
      ->check(CLI::IsMember({"cycle", "analytical"}))
      ->needs(cluster)
      ->capture_default_str();
  command->add_option("--format", arguments->format, "What to print")
      ->check(CLI::IsMember({"table", "json", "csv"}))
      ->capture_default_str();
  command->add_flag("--layers", arguments->layers, "Also every layer");
  command->add_flag("--experts", arguments->experts, "Also every rank's experts");
  command->callback([arguments] { route(*arguments); });
}

}  // namespace tessera::app
