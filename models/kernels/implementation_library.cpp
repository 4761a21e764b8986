#include "models/kernels/implementation_library.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "sim/core/config.hpp"

namespace tessera::kernels {
namespace {

using core::ConfigNode;
using device::Generation;

const std::vector<std::pair<std::string, Generation>> kGenerations = {
    {"ampere", Generation::ampere},
    {"ada", Generation::ada},
    {"hopper", Generation::hopper},
    {"blackwell", Generation::blackwell},
    {"blackwell_client", Generation::blackwell_client}};
const std::vector<std::pair<std::string, GemmSchedule>> kSchedules = {
    {"multistage", GemmSchedule::multistage},
    {"cooperative", GemmSchedule::cooperative},
    {"pingpong", GemmSchedule::pingpong},
    {"tmem", GemmSchedule::tmem}};
const std::vector<std::pair<std::string, Accumulation>> kAccumulations = {
    {"loaded", Accumulation::loaded}, {"reducing_store", Accumulation::reducing_store}};
const std::vector<std::pair<std::string, ValueWidth>> kValueWidths = {
    {"own", ValueWidth::own}, {"widened", ValueWidth::widened}, {"padded", ValueWidth::padded}};
const std::vector<std::pair<std::string, std::string>> kFamilies = {
    {"gemm", "gemm"},
    {"grouped_gemm", "grouped_gemm"},
    {"attention", "attention"},
    {"absorbed_attention", "absorbed_attention"},
    {"stream", "stream"},
    {"exchange", "exchange"},
    {"index_scores", "index_scores"},
    {"select_top_k", "select_top_k"}};
const std::vector<std::pair<std::string, KeyPartition>> kPartitions = {
    {"whole", KeyPartition::whole},
    {"even", KeyPartition::even},
    {"efficient", KeyPartition::efficient},
    {"balanced", KeyPartition::balanced}};
const std::vector<std::pair<std::string, Combination>> kCombinations = {
    {"in_kernel", Combination::in_kernel},
    {"if_split", Combination::if_split},
    {"always", Combination::always}};
const std::vector<std::pair<std::string, TileChoice>> kChoices = {
    {"fastest", TileChoice::fastest},
    {"fewest_waves", TileChoice::fewest_waves},
    {"paired_waves", TileChoice::paired_waves},
    {"data_paths", TileChoice::data_paths},
    {"scored", TileChoice::scored},
    {"near_planned", TileChoice::near_planned}};
const std::vector<std::pair<std::string, ClusterSide>> kSides = {{"rows", ClusterSide::rows},
                                                                 {"columns", ClusterSide::columns}};
const std::vector<std::pair<std::string, Pairing>> kPairings = {{"columns", Pairing::columns},
                                                                {"longer", Pairing::longer}};
const std::vector<std::pair<std::string, KeySplit>> kKeySplits = {
    {"none", KeySplit::none},
    {"fill", KeySplit::fill},
    {"efficient", KeySplit::efficient},
    {"cover", KeySplit::cover}};
const std::vector<std::pair<std::string, TileUse>> kTileUses = {
    {"any", TileUse::any}, {"whole", TileUse::whole}, {"cut", TileUse::cut}};
const std::vector<std::pair<std::string, TileOrder>> kTileOrders = {
    {"longest_first", TileOrder::longest_first},
    {"by_sequence", TileOrder::by_sequence},
    {"as_numbered", TileOrder::as_numbered}};
const std::vector<std::pair<std::string, TileMask>> kTileMasks = {
    {"any", TileMask::any}, {"masked", TileMask::masked}, {"unmasked", TileMask::unmasked}};
constexpr double kMostCycles = 1e6;

std::set<core::DataType> read_types(const ConfigNode& node) {
  std::set<core::DataType> types;
  for (const ConfigNode& item : node.list()) {
    const auto type = core::parse_data_type(item.text());
    if (type) {
      types.insert(*type);
    } else {
      item.fail(fmt::format("found '{}'; expected a data type", item.text()));
    }
  }
  return types;
}

TileShape read_tile(const ConfigNode& node, int k_bytes, int ctas_per_sm) {
  TileShape tile;
  tile.ctas_per_sm = static_cast<int>(node.integer_or("ctas_per_sm", 1, 32, ctas_per_sm));
  tile.m = static_cast<int>(node.integer("m", 8, 1024));
  tile.n = static_cast<int>(node.integer("n", 8, 1024));
  tile.k_bytes = static_cast<int>(node.integer_or("k_bytes", 32, 1024, k_bytes));
  tile.cluster = static_cast<int>(node.integer_or("cluster", 1, 16, 1));
  if (node.has("side")) tile.side = node.choice("side", kSides);
  tile.swapped = node.boolean_or("swapped", false);
  tile.stages = static_cast<int>(node.integer_or("stages", 0, 64, 0));
  tile.consumers = static_cast<int>(node.integer_or("consumers", 0, 8, 0));
  tile.rows_from = static_cast<int>(node.integer_or("rows_from", 0, 1 << 30, 0));
  tile.rows_to = static_cast<int>(node.integer_or("rows_to", 0, 1 << 30, 0));
  tile.head_from = static_cast<int>(node.integer_or("head_from", 0, 1 << 20, 0));
  tile.head_to = static_cast<int>(node.integer_or("head_to", 0, 1 << 20, 0));
  tile.element_bits = static_cast<int>(node.integer_or("element_bits", 0, 32, 0));
  if (node.has("types")) tile.types = read_types(node.at("types"));
  if (node.has("mask")) tile.mask = node.choice("mask", kTileMasks);
  tile.chunks = static_cast<int>(node.integer_or("chunks", 1, 64, 1));
  tile.spilled = static_cast<int>(node.integer_or("spilled", 0, 1024, 0));
  if (node.has("chain")) tile.chain_cycles = node.quantity_in("chain", "cycles", 0, kMostCycles);
  if (node.has("use")) tile.use = node.choice("use", kTileUses);
  tile.schedule = node.choice("schedule", kSchedules);
  return tile;
}

ImplementationCosts read_costs(const ConfigNode& node) {
  const auto cycles = [&](const char* key) {
    return node.has(key) ? node.quantity_in(key, "cycles", 0, kMostCycles) : 0.0;
  };
  ImplementationCosts costs;
  costs.prologue_cycles = cycles("prologue");
  costs.epilogue_cycles = cycles("epilogue");
  costs.step_cycles = cycles("step");
  costs.chain_cycles = cycles("chain");
  costs.issue_cycles = cycles("issue");
  costs.reduction_cycles = cycles("reduction");
  costs.mma_latency_cycles = cycles("mma_latency");
  costs.tensor_scale = node.number_or("tensor_scale", 1, 10, 1);
  return costs;
}

AttentionTraits read_attention(const ConfigNode& node) {
  AttentionTraits traits;
  if (node.has("order")) traits.order = node.choice("order", kTileOrders);
  traits.overlaps_products = node.boolean_or("overlaps_products", traits.overlaps_products);
  traits.packs_always = node.boolean_or("packs_always", traits.packs_always);
  traits.head_granule_bytes =
      static_cast<int>(node.integer_or("head_granule_bytes", 0, 1024, traits.head_granule_bytes));
  return traits;
}

WarpTraits read_warps(const ConfigNode& node) {
  return {.packs_queries = node.boolean_or("packs_queries", false),
          .plans_parts = node.boolean_or("plans_parts", false),
          .pads_heads = node.boolean_or("pads_heads", false),
          .tensor_share = node.number_or("tensor_share", 0.01, 1, 1)};
}

DecodeTraits read_decode(const ConfigNode& node) {
  const auto count = [&](const char* key, int most, int otherwise) {
    return static_cast<int>(node.integer_or(key, 1, most, otherwise));
  };
  DecodeTraits traits;
  traits.packed_heads = count("packed_heads", 1024, traits.packed_heads);
  traits.split = node.choice("split", kKeySplits);
  traits.least_tiles = count("least_tiles", 1024, traits.least_tiles);
  traits.most_splits = count("most_splits", 1024, traits.most_splits);
  traits.stages = count("stages", 64, traits.stages);
  traits.turns_values = node.boolean_or("turns_values", traits.turns_values);
  traits.scanned_sequences = count("scanned_sequences", 1024, traits.scanned_sequences);
  return traits;
}

}  // namespace

namespace {

/// What the file extends, and which costs and parameters it states itself.
void read_inheritance(const core::ConfigDocument& document, Implementation& result) {
  if (document.files().size() < 2) return;
  result.base = document.files()[1].stem().string();
  for (const char* section : {"costs", "parameters"}) {
    if (!document.root().has(section)) continue;
    const ConfigNode node = document.root().object(section);
    for (const std::string& key : node.keys())
      if (node.origin(key).file == document.file()) result.stated.insert(key);
  }
}

}  // namespace

Implementation read_implementation(const core::ConfigDocument& document) {
  const ConfigNode root = document.root();
  Implementation result;
  result.name = document.name();
  result.library = root.text("library");
  result.family = root.choice("family", kFamilies);
  for (const ConfigNode& item : root.list("generations"))
    result.generations.insert(item.choice(kGenerations));
  if (root.has("types")) result.types = read_types(root.at("types"));
  if (root.has("default_for")) result.default_for = read_types(root.at("default_for"));
  const auto k_bytes = static_cast<int>(root.integer_or("k_bytes", 32, 1024, 128));
  result.ctas_per_sm = static_cast<int>(root.integer_or("ctas_per_sm", 1, 32, 1));
  for (const ConfigNode& item : root.optional_list("tiles"))
    result.tiles.push_back(read_tile(item, k_bytes, result.ctas_per_sm));
  if (root.has("splits")) {
    result.splits.clear();
    for (const std::int64_t split : root.integers("splits", 1, 64))
      result.splits.push_back(static_cast<int>(split));
  }
  result.on_request = root.boolean_or("on_request", false);
  result.persistent = root.boolean_or("persistent", false);
  result.threads = static_cast<int>(root.integer_or("threads", 32, 1024, 384));
  result.promotion_k = static_cast<int>(root.integer_or("promotion_k", 0, 4096, 0));
  if (root.has("promotes")) result.promoted_types = read_types(root.at("promotes"));
  if (root.has("accumulation")) result.accumulation = root.choice("accumulation", kAccumulations);
  if (root.has("values")) result.values = root.choice("values", kValueWidths);
  if (root.has("partition")) result.partition = root.choice("partition", kPartitions);
  if (root.has("combination")) result.combination = root.choice("combination", kCombinations);
  if (root.has("choice")) result.choice = root.choice("choice", kChoices);
  result.swizzled_store = root.boolean_or("swizzled_store", true);
  result.awaited_store = root.boolean_or("awaited_store", false);
  if (root.has("pairing")) {
    const ConfigNode pairing = root.object("pairing");
    result.pairing = pairing.choice("along", kPairings);
    result.pairing_rows = static_cast<int>(pairing.integer("rows_from", 1, 1 << 30));
  }
  if (root.has("attention")) result.attention = read_attention(root.object("attention"));
  if (root.has("decode")) result.decode = read_decode(root.object("decode"));
  if (root.has("warps")) result.warps = read_warps(root.object("warps"));
  result.group_rows = static_cast<int>(root.integer_or("group_rows", 0, 1024, 0));
  if (root.has("costs")) result.costs = read_costs(root.object("costs"));
  if (root.has("parameters")) {
    const ConfigNode parameters = root.object("parameters");
    for (const std::string& key : parameters.keys())
      result.parameters[key] = parameters.number(key, -1e9, 1e9);
  }
  read_inheritance(document, result);
  result.text = document.resolved(false).dump();
  document.finish();
  return result;
}

Implementation load_implementation(const std::string& name_or_path,
                                   const std::filesystem::path& data_root) {
  core::LoadOptions options;
  options.kind = "kernel";
  options.folder = "hw_configs/kernels";
  options.data_root = data_root;
  return read_implementation(core::ConfigDocument::load(name_or_path, options));
}

ImplementationLibrary ImplementationLibrary::load(const std::filesystem::path& data_root) {
  std::vector<Implementation> implementations;
  for (const std::string& name : core::names_in("hw_configs/kernels", data_root))
    if (name != "measured_as") implementations.push_back(load_implementation(name, data_root));
  return ImplementationLibrary{std::move(implementations)};
}

std::string ImplementationLibrary::add(const std::string& name_or_path) {
  const bool is_path = name_or_path.find('/') != std::string::npos ||
                       name_or_path.ends_with(".yaml") || find(name_or_path) == nullptr;
  if (!is_path) return name_or_path;
  Implementation own = load_implementation(name_or_path);  // or the error that suggests a name
  if (find(own.name) != nullptr)
    throw core::ConfigError({name_or_path, 0, 0},
                            fmt::format("an implementation called '{}' ships with the program; "
                                        "expected a file name of its own",
                                        own.name));
  implementations_.push_back(std::move(own));
  return implementations_.back().name;
}

const Implementation* ImplementationLibrary::find(const std::string& name) const {
  const auto found = std::find_if(implementations_.begin(), implementations_.end(),
                                  [&](const Implementation& each) { return each.name == name; });
  return found == implementations_.end() ? nullptr : &*found;
}

const Implementation& ImplementationLibrary::choose(const workload::Operator& op,
                                                    const device::DeviceSpec& device,
                                                    const std::string& name) const {
  for (const Implementation& implementation : implementations_) {
    if (name.empty() ? implementation.is_default(op, device) : implementation.name == name) {
      if (implementation.can_run(op, device)) return implementation;
      throw core::Refusal(core::RefusalKind::outside_model,
                          fmt::format("implementation '{}' cannot run {} on {}", name,
                                      workload::describe(op), device.name));
    }
  }
  if (name.empty())
    throw core::Refusal(
        core::RefusalKind::outside_model,
        fmt::format("no kernel implementation for {} on {} ({})", workload::describe(op),
                    device.name, device::to_string(device.generation)));
  std::vector<std::string> known;
  for (const Implementation& implementation : implementations_)
    known.push_back(implementation.name);
  throw core::Refusal(core::RefusalKind::outside_model,
                      fmt::format("no kernel implementation is called '{}'; known: {}", name,
                                  fmt::join(known, ", ")));
}

}  // namespace tessera::kernels
