#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

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
  std::string fidelity = "analytical";
  std::string format = "table";
  bool layers = false;
  bool experts = false;
};

RoutingQuestion question_of(const RouteArguments& arguments) {
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
  question.ranks_per_node = std::min(arguments.ranks_per_node, arguments.ranks);
  question.layers = question.spec.layers;
  if (question.ranks % question.ranks_per_node != 0)
    throw core::ConfigError({"tessera", 0, 0},
                            fmt::format("--ranks-per-node: found {}; expected a divisor of the {} "
                                        "ranks",
                                        question.ranks_per_node, question.ranks));
  return question;
}

/// Costs of each placement's typical layer; empty without a cluster.
std::vector<LayerCost> costs_of(const RouteArguments& arguments, RoutingQuestion& question,
                                const std::optional<device::ClusterSpec>& cluster,
                                const std::vector<PlacedLayers>& placements) {
  std::vector<LayerCost> costs;
  if (!cluster) return costs;
  LayerCosts model(
      *cluster, arguments.fidelity == "cycle" ? gpu::Fidelity::cycle : gpu::Fidelity::analytical);
  LayerChoice choice;
  if (arguments.exchange == "normal") choice.exchange = fabric::ExchangeKind::normal;
  for (const PlacedLayers& placed : placements)
    costs.push_back(model.cost(question.architecture, placed.typical,
                               static_cast<double>(question.tokens_per_rank), choice));
  return costs;
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
void print_experts(const PlacedLayers& placed) {
  const SlotLoad& load = placed.typical;
  fmt::print("  rank      rows  its experts and their rows, layer {}\n", placed.typical_layer);
  for (std::int64_t rank = 0; rank < load.ranks(); ++rank) {
    std::string slots;
    for (std::int64_t s = rank * load.experts_per_rank; s < (rank + 1) * load.experts_per_rank; ++s)
      slots += fmt::format(" {}:{}", load.expert_of_slot[static_cast<std::size_t>(s)],
                           load.rows[static_cast<std::size_t>(s)]);
    fmt::print("  {:>4}{:>10} {}\n", rank, load.total_on(rank), slots);
  }
}

void print_table(const RouteArguments& arguments, const RoutingQuestion& question,
                 const std::vector<PlacedLayers>& placements, const std::vector<LayerCost>& costs) {
  const workload::MixtureOfExperts& moe = question.architecture.moe;
  fmt::print("{}: {} experts, {} a token, over {} ranks, {} a node; {} tokens a rank; {} layer{}\n",
             question.architecture.name, moe.experts, moe.top_k, question.ranks,
             question.ranks_per_node, question.tokens_per_rank, question.layers,
             question.layers == 1 ? "" : "s");
  fmt::print("Loads: {}\n", describe_loads(question.spec));
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const PlacedLayers& placed = placements[i];
    fmt::print("\n{}\n  {:<12}{:>12}{:>14}{:>14}\n", describe_placement(question, placed), "rows",
               "mean", "st. deviation", "imbalance");
    print_spread("by expert", placed.spreads.experts);
    if (placed.typical.rows.size() != placed.typical.expert_rows.size())
      print_spread("by slot", placed.spreads.slots);
    print_spread("by rank", placed.spreads.ranks);
    fmt::print(
        "  typical layer {}: hottest rank {}, {} rows, {:.3f} of the mean; a token reaches "
        "{:.2f} ranks, {:.2f} nodes\n",
        placed.typical_layer, placed.typical.hottest_rank,
        placed.typical.total_on(placed.typical.hottest_rank), placed.typical.skew,
        placed.typical.ranks_per_token, placed.typical.nodes_per_token);
    if (!costs.empty()) print_cost(costs[i]);
    if (arguments.layers) print_layers(placed);
    if (arguments.experts) print_experts(placed);
  }
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

void print_json(const RoutingQuestion& question, const std::vector<PlacedLayers>& placements,
                const std::vector<LayerCost>& costs) {
  ordered_json json{
      {"architecture", question.architecture.name}, {"ranks", question.ranks},
      {"ranks_per_node", question.ranks_per_node},  {"tokens_per_rank", question.tokens_per_rank},
      {"loads", describe_loads(question.spec)},     {"placements", ordered_json::array()}};
  for (std::size_t i = 0; i < placements.size(); ++i) {
    const PlacedLayers& placed = placements[i];
    ordered_json one{{"placement", describe_placement(question, placed)},
                     {"by_expert", spread_json(placed.spreads.experts)},
                     {"by_slot", spread_json(placed.spreads.slots)},
                     {"by_rank", spread_json(placed.spreads.ranks)},
                     {"typical_layer", placed.typical_layer},
                     {"hottest_rank", placed.typical.hottest_rank},
                     {"skew", placed.typical.skew},
                     {"ranks_per_token", placed.typical.ranks_per_token},
                     {"nodes_per_token", placed.typical.nodes_per_token},
                     {"layers", ordered_json::array()}};
    for (const SlotLoad& load : placed.layers)
      one["layers"].push_back({{"expert_of_slot", load.expert_of_slot}, {"rows", load.rows}});
    if (!costs.empty()) one["cost"] = cost_json(costs[i]);
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
        fmt::print("{},{},{},{},{},{}\n",
                   placed.placement == workload::RoutingSpec::Placement::linear ? "linear" : "eplb",
                   layer, static_cast<std::int64_t>(slot) / load.experts_per_rank, slot,
                   load.expert_of_slot[slot], load.rows[slot]);
    }
}

void route(const RouteArguments& arguments) {
  RoutingQuestion question = question_of(arguments);
  std::optional<device::ClusterSpec> cluster;
  if (!arguments.cluster.empty()) {
    cluster = device::load_cluster(arguments.cluster);
    question.ranks_per_node = std::min<std::int64_t>(cluster->gpus_per_domain, question.ranks);
    if (question.ranks % question.ranks_per_node != 0)
      throw core::Refusal(core::RefusalKind::illegal_combination,
                          fmt::format("{} ranks do not fill NVLink domains of {} GPUs",
                                      question.ranks, question.ranks_per_node));
  }
  const std::vector<PlacedLayers> placements = study_routing(question);
  const std::vector<LayerCost> costs = costs_of(arguments, question, cluster, placements);
  if (arguments.format == "csv") return print_csv(placements);
  if (arguments.format == "json") return print_json(question, placements, costs);
  print_table(arguments, question, placements, costs);
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
