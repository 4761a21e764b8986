#include "models/device/device_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>

#include "sim/core/spelling.hpp"

namespace tessera::device {
namespace {

using core::ConfigNode;
using namespace core::literals;

constexpr Cycles<SmClock> kNoCycles{0};
constexpr Cycles<SmClock> kManyCycles{100'000};
constexpr double kMaxPicojoules = 10'000;  ///< Per operation or byte; no hardware is near.

const std::vector<std::pair<std::string, Generation>> kGenerations = {
    {"ampere", Generation::ampere},
    {"ada", Generation::ada},
    {"hopper", Generation::hopper},
    {"blackwell", Generation::blackwell},
    {"blackwell_client", Generation::blackwell_client},
};

/// A map from number formats to quantities of one unit.
std::map<DataType, double> read_by_type(const ConfigNode& node, std::string_view unit, double min,
                                        double max) {
  std::map<DataType, double> values;
  for (const std::string& key : node.keys()) {
    const double value = node.quantity_in(key, unit, min, max);
    if (const auto type = core::parse_data_type(key))
      values[*type] = value;
    else
      node.fail(key, core::unknown_name(key, core::data_type_names()));
  }
  return values;
}

int read_count(const ConfigNode& node, std::string_view key, int min, int max) {
  return static_cast<int>(node.integer(key, min, max));
}

void check_gpcs(const ConfigNode& node, const SmSpec& sm) {
  if (!node.sound()) return;
  const int sum = std::accumulate(sm.gpc_sizes.begin(), sm.gpc_sizes.end(), 0);
  if (sum != sm.count)
    node.at("gpc_sizes")
        .fail_against(node.at("count"),
                      fmt::format("found sizes that sum to {}; expected the number of SMs, {}", sum,
                                  sm.count));
}

SmSpec read_sm(const ConfigNode& node) {
  SmSpec sm{};
  sm.count = read_count(node, "count", 1, 1024);
  for (const std::int64_t size : node.integers("gpc_sizes", 1, 1024))
    sm.gpc_sizes.push_back(static_cast<int>(size));
  sm.registers = node.quantity<Bytes>("registers", 1_KiB, 16_MiB);
  sm.shared_memory = node.quantity<Bytes>("shared_memory", 1_KiB, 16_MiB);
  sm.shared_memory_per_cta = node.quantity<Bytes>("shared_memory_per_cta", 1_KiB, 16_MiB);
  sm.tensor_memory = node.quantity<Bytes>("tensor_memory", Bytes{0}, 16_MiB);
  sm.max_warps = read_count(node, "max_warps", 1, 1024);
  sm.max_ctas = read_count(node, "max_ctas", 1, 1024);
  sm.fp32_lanes = read_count(node, "fp32_lanes", 1, 65536);
  sm.sfu_lanes = read_count(node, "sfu_lanes", 1, 65536);
  sm.conversion_lanes = read_count(node, "conversion_lanes", 1, 65536);
  sm.shared_memory_rate = node.quantity_in("shared_memory_rate", "B/cycle", 1, 1e6);
  sm.tensor_flops = read_by_type(node.object("tensor_flops"), "FLOP/cycle", 1, 1e9);
  check_gpcs(node, sm);
  if (node.sound() && sm.shared_memory_per_cta > sm.shared_memory)
    node.at("shared_memory_per_cta")
        .fail_against(node.at("shared_memory"), "found more than an SM has");
  return sm;
}

ClockSpec read_clock(const ConfigNode& node) {
  constexpr Hertz kLowest{1e6};
  constexpr Hertz kHighest{1e11};
  const ClockSpec clock{.boost = node.quantity<Hertz>("boost", kLowest, kHighest),
                        .minimum = node.quantity<Hertz>("minimum", kLowest, kHighest),
                        .quoted = node.quantity<Hertz>("quoted", kLowest, kHighest),
                        .memory = node.quantity<Hertz>("memory", kLowest, kHighest)};
  if (node.sound() && clock.minimum > clock.boost)
    node.at("minimum").fail_against(node.at("boost"), "found a clock above the boost clock");
  return clock;
}

L2Spec read_l2(const ConfigNode& node) {
  L2Spec l2{};
  l2.size = node.quantity<Bytes>("size", 1_KiB, 1024_GiB);
  l2.partitions = read_count(node, "partitions", 1, 64);
  l2.slices = read_count(node, "slices", 1, 4096);
  l2.bytes_per_cycle = node.quantity_in("bytes_per_cycle", "B/cycle", 1, 1e9);
  l2.near_latency = node.quantity<Cycles<SmClock>>("near_latency", kNoCycles, kManyCycles);
  l2.far_latency = node.quantity<Cycles<SmClock>>("far_latency", kNoCycles, kManyCycles);
  if (node.sound() && l2.far_latency < l2.near_latency)
    node.at("far_latency")
        .fail_against(node.at("near_latency"), "found a latency below that of the near partition");
  return l2;
}

HbmSpec read_hbm(const ConfigNode& node) {
  return {.size = node.quantity<Bytes>("size", 1_MiB, Bytes{1'000'000'000'000'000}),
          .peak_rate =
              node.quantity<BytesPerSecond>("peak_rate", BytesPerSecond{1e6}, BytesPerSecond{1e16}),
          .reachable = node.number("reachable", 0.01, 1),
          .latency = node.quantity<Cycles<SmClock>>("latency", kNoCycles, kManyCycles)};
}

NvlinkSpec read_nvlink(const ConfigNode& node) {
  return {.rate = node.quantity<BytesPerSecond>("rate", BytesPerSecond{0}, BytesPerSecond{1e15}),
          .reachable = node.number("reachable", 0.01, 1),
          .latency = node.quantity<Time>("latency", 0_ns, 1_s)};
}

PowerSpec read_power(const ConfigNode& node) {
  PowerSpec power{};
  power.limit = node.quantity<Watts>("limit", Watts{1}, Watts{1e5});
  power.response = node.quantity<Time>("response", 0_ns, 10_s);
  power.idle = node.quantity<Watts>("idle", Watts{0}, Watts{1e5});
  power.tensor_pj_per_flop =
      read_by_type(node.object("tensor_energy"), "pJ/FLOP", 0, kMaxPicojoules);
  power.fp32_pj_per_flop = node.quantity_in("fp32_energy", "pJ/FLOP", 0, kMaxPicojoules);
  const auto per_byte = [&](std::string_view key) {
    return node.quantity_in(key, "pJ/B", 0, kMaxPicojoules);
  };
  power.shared_memory_pj_per_byte = per_byte("shared_memory_energy");
  power.l2_pj_per_byte = per_byte("l2_energy");
  power.hbm_pj_per_byte = per_byte("hbm_energy");
  power.nvlink_pj_per_byte = per_byte("nvlink_energy");
  power.voltage_exponent = node.number("voltage_exponent", 0, 4);
  if (node.sound() && power.idle > power.limit)
    node.at("idle").fail_against(node.at("limit"), "found more than the limit");
  return power;
}

DieSpec read_die(const ConfigNode& node) {
  return {.area_mm2 = node.has("area") ? std::optional(node.quantity_in("area", "mm2", 1, 1e5))
                                       : std::nullopt,
          .count = read_count(node, "count", 1, 64),
          .transistors = node.number("transistors", 1e6, 1e15),
          .process = node.text("process"),
          .area_confirmed = node.boolean_or("area_confirmed", false)};
}

std::optional<BytesPerSecond> read_host_link(const ConfigNode& root) {
  if (!root.has("host_link")) return std::nullopt;
  return root.object("host_link")
      .quantity<BytesPerSecond>("rate", BytesPerSecond{0}, BytesPerSecond{1e15});
}

/// Every type with a tensor path must have an energy, or its power would be a silent zero.
void check_energies(const ConfigNode& root, const DeviceSpec& device) {
  if (!root.sound()) return;
  const ConfigNode energies = root.object("power").at("tensor_energy");
  for (const auto& [type, unused] : device.sm.tensor_flops)
    if (!device.power.tensor_pj_per_flop.contains(type))
      energies.fail_against(
          root.object("sm").object("tensor_flops").at(core::to_string(type)),
          fmt::format("found no energy for {}, which has a tensor rate", core::to_string(type)));
}

}  // namespace

core::LoadOptions device_options(std::vector<core::Override> overrides) {
  return {.kind = "device", .folder = "hw_configs/devices", .overrides = std::move(overrides)};
}

DeviceSpec read_device(const core::ConfigDocument& document) {
  const ConfigNode root = document.root();
  DeviceSpec device{.name = document.name(),
                    .generation = root.choice("generation", kGenerations),
                    .sm = read_sm(root.object("sm")),
                    .clock = read_clock(root.object("clock")),
                    .l2 = read_l2(root.object("l2")),
                    .hbm = read_hbm(root.object("hbm")),
                    .nvlink = read_nvlink(root.object("nvlink")),
                    .power = read_power(root.object("power")),
                    .die = read_die(root.object("die")),
                    .host_link = read_host_link(root)};
  check_energies(root, device);
  document.finish();
  return device;
}

std::string usual_device_name(const std::string& name) {
  constexpr std::string_view kModule = "_sxm";
  std::vector<std::string> meant = {name, name + std::string{kModule}};
  if (name.ends_with(kModule)) meant.push_back(name.substr(0, name.size() - kModule.size()));
  const std::vector<std::string> known = core::names_in("hw_configs/devices");
  for (const std::string& device : meant)
    if (std::find(known.begin(), known.end(), device) != known.end()) return device;
  return name;
}

DeviceSpec load_device(const std::string& name_or_path, const core::LoadOptions& options) {
  return read_device(core::ConfigDocument::load(name_or_path, options));
}

DeviceSpec load_device(const std::string& name_or_path, std::vector<core::Override> overrides) {
  return load_device(usual_device_name(name_or_path), device_options(std::move(overrides)));
}

}  // namespace tessera::device
