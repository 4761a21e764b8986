#include "sim/app/kernel_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sim/core/result.hpp"

namespace tessera::app {

std::string kernel_table(const device::DeviceSpec& device, const workload::Operator& op,
                         const gpu::KernelResult& result, bool counters) {
  const double seconds = core::to_seconds(result.time).value();
  std::string text = fmt::format("{} on {}\n", workload::describe(op), device.name);
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("  {:<18}{}\n", name, value);
  };
  line("implementation", result.implementation);
  line("time", fmt::format("{:.2f} us  (90 %: {:.2f} to {:.2f}, {})",
                           core::to_microseconds(result.time), core::to_microseconds(result.lower),
                           core::to_microseconds(result.upper), core::to_string(result.grade)));
  line("SM cycles",
       fmt::format("{} at {:.0f} MHz", result.cycles.value(), result.clock.value() / 1e6));
  if (result.flops > 0) line("rate", fmt::format("{:.1f} TFLOP/s", result.flops / seconds / 1e12));
  line("HBM", fmt::format("{:.2f} MB, {:.2f} TB/s", result.hbm_bytes / 1e6,
                          result.hbm_bytes / seconds / 1e12));
  line("L2", fmt::format("{:.2f} MB, {:.2f} TB/s", result.l2_bytes / 1e6,
                         result.l2_bytes / seconds / 1e12));
  line("power", fmt::format("{:.0f} W, {:.4g} J", result.power.value(), result.energy.value()));
  line("bound by", to_string(result.binding));
  if (result.events > 0) line("events", fmt::format("{}", result.events));
  if (!counters) return text;
  text += "counters\n";
  for (const auto& [name, value] : result.counters)
    text += fmt::format("  {:<66}{:>18.6g}\n", name, value);
  text += "stalls, share of the time that warp roles waited, by what they waited for\n";
  for (const auto& [resource, share] : result.stalls)
    text += fmt::format("  {:<18}{:6.2f} %\n", to_string(resource), 100 * share);
  return text;
}

std::string kernel_json(const device::DeviceSpec& device, const workload::Operator& op,
                        const gpu::KernelResult& result) {
  nlohmann::ordered_json json;
  json["schema"] = "tessera/kernel/1";
  json["device"] = device.name;
  json["operator"] = workload::describe(op);
  json["implementation"] = result.implementation;
  json["time_us"] = {{"value", core::to_microseconds(result.time)},
                     {"lower", core::to_microseconds(result.lower)},
                     {"upper", core::to_microseconds(result.upper)},
                     {"grade", core::to_string(result.grade)}};
  json["cycles"] = result.cycles.value();
  json["clock_hz"] = result.clock.value();
  json["flops"] = result.flops;
  json["hbm_bytes"] = result.hbm_bytes;
  json["l2_bytes"] = result.l2_bytes;
  json["power_w"] = result.power.value();
  json["energy_j"] = result.energy.value();
  json["binding"] = to_string(result.binding);
  json["events"] = result.events;
  json["counters"] = result.counters;
  for (const auto& [resource, share] : result.stalls) json["stalls"][to_string(resource)] = share;
  return json.dump(2) + "\n";
}

}  // namespace tessera::app
