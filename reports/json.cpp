#include "reports/json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

namespace tessera::reports {
namespace {

using Json = nlohmann::ordered_json;
using core::Estimate;

template <class Rows, class Function>
Json list(const Rows& rows, Function row_json) {
  Json array = Json::array();
  for (const auto& row : rows) array.push_back(row_json(row));
  return array;
}

Json machine_json(const core::MachineRow& machine) {
  Json peaks = Json::object();
  for (const auto& [type, rate] : machine.peak_flops) peaks[type] = rate;
  return {{"cluster", machine.cluster},   {"device", machine.device},
          {"gpus", machine.gpus},         {"peak_flops", peaks},
          {"hbm_rate", machine.hbm_rate}, {"hbm_bytes", machine.hbm_bytes}};
}

Json kernel_json(const core::KernelRow& row) {
  return {{"name", row.name},
          {"family", row.family},
          {"implementation", row.implementation},
          {"shape", row.shape},
          {"pass", row.pass},
          {"calls_per_step", row.calls_per_step},
          {"time", estimate_json(row.time)},
          {"cycles", row.cycles},
          {"clock_hz", row.clock_hz},
          {"flops", row.flops},
          {"hbm_bytes", row.hbm_bytes},
          {"l2_bytes", row.l2_bytes},
          {"energy_joules", row.energy_joules},
          {"binding", row.binding},
          {"note", row.note}};
}

Json network_json(const core::NetworkRow& row) {
  return {{"operation", row.operation},           {"fabric", row.fabric},
          {"bytes_per_rank", row.bytes_per_rank}, {"time", estimate_json(row.time)},
          {"bus_bandwidth", row.bus_bandwidth},   {"exposed_seconds", row.exposed_seconds}};
}

Json cost_json(const core::CostRow& row) {
  return {{"item", row.item}, {"amount", estimate_json(row.amount)}, {"source", row.source}};
}

Json published_json(const core::PublishedRow& row) {
  const auto error = row.error();
  return {{"quantity", row.quantity},
          {"unit", row.unit},
          {"published", row.published},
          {"predicted", row.predicted ? Json(*row.predicted) : Json(nullptr)},
          {"error", error ? Json(*error) : Json(nullptr)},
          {"source", row.source}};
}

Json sensitivity_json(const core::SensitivityRow& row) {
  Json json = {{"choice", row.choice}, {"value", row.value}};
  if (!row.refused) {
    json["quantity"] = estimate_json(row.quantity);
    json["relative_change"] = row.relative_change;
  }
  json["refused"] = row.refused ? Json(*row.refused) : Json(nullptr);
  return json;
}

}  // namespace

nlohmann::ordered_json estimate_json(const Estimate& estimate) {
  return {{"value", estimate.value},
          {"unit", estimate.unit},
          {"lower", estimate.lower},
          {"upper", estimate.upper},
          {"grade", core::to_string(estimate.grade)}};
}

std::string to_json(const core::Result& result) {
  Json quantities = Json::object();
  for (const auto& [name, estimate] : result.quantities) quantities[name] = estimate_json(estimate);

  Json json;
  json["schema"] = "tessera-result-1";
  json["tessera"] = {{"version", result.tessera_version}, {"fits", result.fits}};
  json["job"] = result.job;
  json["title"] = result.title;
  json["scenario"] =
      result.scenario_json.empty() ? Json(nullptr) : Json::parse(result.scenario_json);
  json["machine"] = machine_json(result.machine);
  json["quantities"] = quantities;
  if (!result.binding.empty()) json["binding"] = result.binding;
  json["phases"] = list(result.phases, [](const core::PhaseRow& row) {
    return Json{{"rank", row.rank}, {"phase", row.phase}, {"time", estimate_json(row.time)}};
  });
  json["memory"] = list(result.memory, [](const core::MemoryRow& row) {
    return Json{{"rank", row.rank}, {"kind", row.kind}, {"bytes", row.bytes}};
  });
  if (!result.memory_formats.empty())
    json["memory_formats"] = list(result.memory_formats, [](const core::MemoryFormatRow& row) {
      return Json{{"kind", row.kind}, {"format", row.format}, {"bytes", row.bytes}};
    });
  json["kernels"] = list(result.kernels, kernel_json);
  json["network"] = list(result.network, network_json);
  json["routing"] = list(result.routing, [](const core::RoutingRow& row) {
    return Json{{"expert", row.expert}, {"rank", row.rank}, {"relative_load", row.relative_load}};
  });
  if (!result.rank_loads.empty())
    json["rank_loads"] = list(result.rank_loads, [](const core::RankLoadRow& row) {
      return Json{{"placement", row.placement},
                  {"layer", row.layer},
                  {"relative_loads", row.relative_loads}};
    });
  json["cost"] = list(result.cost, cost_json);
  json["energy"] = list(result.energy, cost_json);
  if (!result.goodput.empty()) json["goodput"] = list(result.goodput, cost_json);
  json["published"] = list(result.published, published_json);
  json["sensitivity"] = list(result.sensitivity, sensitivity_json);
  json["warnings"] = result.warnings;
  json["assumptions"] = result.assumptions;
  json["refused"] = result.refused ? Json(*result.refused) : Json(nullptr);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tessera::reports
