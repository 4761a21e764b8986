#include "calibrate/parameters.hpp"

#include <algorithm>
#include <set>

namespace tessera::calibrate {

std::vector<FreeParameter> gpu_parameters(const device::DeviceSpec& device) {
  const double latency =
      static_cast<double>((device.l2.near_latency + device.l2.far_latency).value()) / 2;
  const bool tma = device.generation == device::Generation::hopper ||
                   device.generation == device::Generation::blackwell;
  return {
      {"launch_us", "us", 0.9, 0.15, 0.3, 6,
       "graph nodes take 0.6 to 0.8 us on B300; casts of a few rows take 1.3 us in all on H200"},
      {"hbm.reachable", "1", device.hbm.reachable, 0.08, 0.5, 0.99, "device description"},
      {"hbm.write_reachable", "1", 0.8 * device.hbm.reachable, 0.2, 0.3, 0.99,
       "assumed: the bus turns round between reads and writes"},
      // Pointer chases by different hands agree to about a tenth.
      {"hbm.latency_cycles", "cycles", static_cast<double>(device.hbm.latency.value()), 0.15, 50,
       6000, "device description"},
      {"l2.reachable", "1", 0.8, 0.2, 0.2, 1.0,
       "3942 of 4396 B/cycle on H800 (arXiv 2402.13499), with bursts"},
      {"l2.latency_cycles", "cycles", latency, 0.2, 100, 2000, "device description"},
      {"l2.merged", "1", 0.5, 0.5, 0.02, 0.98,
       "assumed; Nsight Compute documents a coalescer of reads before L2, no rate"},
      {"l2.dirty", "1", 0.15, 0.5, 0.02, 0.9, "assumed: written data leaves before L2 is full"},
      {"l2.capacity", "1", 0.7, 0.4, 0.2, 1.0, "copies in both partitions and other residents"},
      {"sm_port_bytes", "B/cycle", tma ? 100.0 : 64.0, 0.2, 16, 128,
       "A100 port width 64; 127 for TMA on B300 (QuickRunCUDA b300_clean)"},
      {"tensor_scale", "1", 1.06, 0.04, 1.0, 1.5, "best wgmma loops reach 95 % (arXiv 2402.13499)"},
      {"power.burst", "1", 1.3, 0.15, 1, 3, "assumed"},
  };
}

std::vector<FreeParameter> power_parameters(const device::DeviceSpec& device) {
  const device::PowerSpec& power = device.power;
  return {
      {"power.idle_w", "W", power.idle.value(), 0.3, 20, 400, "device description"},
      {"power.active_w", "W", 0.2 * power.limit.value(), 0.7, 1, 600,
       "assumed: kernels of few operations draw half of the limit on B200"},
      {"power.tensor_energy", "1", 1.0, 0.5, 0.1, 10, "device description, of all types alike"},
  };
}

/// How far parts of HBM's peak rate, that decode kernels reach over long caches, lie apart, in log.
/// Short caches say little about it, and much about what starting costs. // assumed
constexpr double kStreamedSpread = 0.03;

std::vector<FreeParameter> implementation_parameters(
    const kernels::Implementation& implementation) {
  // What a file that extends another does not state is a cost of the other.
  const auto owner = [&](const std::string& name) -> const std::string& {
    return implementation.base.empty() || implementation.stated.contains(name)
               ? implementation.name
               : implementation.base;
  };
  const auto prior_file = [&](const std::string& name) {
    return "hw_configs/kernels/" + owner(name) + ".yaml";
  };
  const kernels::ImplementationCosts& costs = implementation.costs;
  std::vector<FreeParameter> parameters;
  const auto add = [&](const char* name, const char* unit, double prior, double spread,
                       double highest) {
    if (prior <= 0) return;
    parameters.push_back(
        {owner(name) + "." + name, unit, prior, spread, prior * 0.02, highest, prior_file(name)});
  };
  add("prologue", "cycles", costs.prologue_cycles, 0.7, 20000);
  add("epilogue", "cycles", costs.epilogue_cycles, 0.5, 20000);
  add("step", "cycles", costs.step_cycles, 0.7, 2000);
  add("chain", "cycles", costs.chain_cycles, 0.5, 2000);
  // Attention loads a tile of keys at a time: its copies never wait for the engine that issues
  // them.
  if (implementation.family != "attention") add("issue", "cycles", costs.issue_cycles, 0.5, 500);
  add("reduction", "cycles", costs.reduction_cycles, 0.7, 20000);
  // Only who promotes or exponentiates what an MMA made waits for it.
  if (implementation.promotion_k > 0 || implementation.family == "attention")
    add("mma_latency", "cycles", costs.mma_latency_cycles, 0.5, 1000);
  if (costs.tensor_scale > 1)
    parameters.push_back({owner("tensor_scale") + ".tensor_scale", "1", costs.tensor_scale, 0.2,
                          1.0, 5.0, prior_file("tensor_scale")});
  // Layouts are known, and what arithmetic issues cannot be told from what every element does.
  static const std::set<std::string> kKnown = {
      "keys_of_part",   "group_alignment", "scaled_tile_rows",   "instruction_rows",
      "issue_per_fp32", "overhead_blocks", "least_blocks",       "mma_tokens",
      "lone_share",     "all_places",      "candidates",         "lookup_cycles",
      "cta_groups",     "spills_alone",    "narrow_window_fp32", "cuts_window",
      "evens_keys",     "sequence_scan",   "rows_at_once",       "tensor_memory"};
  // Rows of GEMMs have not told it from its prior.
  const bool decodes = implementation.family == "attention";
  for (const auto& [name, value] : implementation.parameters)
    if (value > 0 && !kKnown.contains(name) && (name != "widen_fp32" || decodes)) {
      const bool part = name == "hbm_reachable";  // of the peak
      parameters.push_back({owner(name) + "." + name, "", value,
                            part && implementation.decode ? kStreamedSpread : 0.5, value * 0.05,
                            part ? 0.99 : value * 20, prior_file(name)});
    }
  return parameters;
}

FreeParameter harness_parameter(const std::string& name) {
  const auto of = [&](std::string_view part) { return name.find(part) != std::string::npos; };
  if (of(".prepare.row"))
    return {name,
            "us",
            0.5,
            0.5,
            0.001,
            60,
            "one CTA a row, about one CTA started a cycle (QuickRunCUDA b300_clean)"};
  if (of(".packing.row"))
    return {name, "us", 10, 1.0, 0.1, 100, "assumed: some 20 cycles a row, one after the other"};
  if (of(".prepare"))
    return {
        name, "us", 6.0, 0.5, 0.1, 60, "assumed: four small kernels, see DeepGEMM's layout.hpp"};
  if (of(".host"))
    return {name,
            "us",
            300,
            0.5,
            10,
            2000,
            "assumed: about ten launches under a profiler that records stacks"};
  // One attention call a graph: the whole floor of a graph launch falls on it (measurements
  // README).
  const bool alone = (of("attention") || of("mla_")) && !of(".gap");
  return {name, "us", alone ? 5.0 : 0.8, 1.0, 0.01, 60, "assumed: graph replay and event overhead"};
}

}  // namespace tessera::calibrate
