#include "calibrate/measured_call.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "calibrate/measured_families.hpp"
#include "sim/core/config.hpp"

namespace tessera::calibrate {

namespace {

/// Of a call's FLOPs, what makes a kernel one that the power limit may slow. // assumed
constexpr double kMainShare = 0.2;

using CallOfRow = MeasuredCall (*)(const MeasuredRow&, const device::DeviceSpec&,
                                   const MeasuredAs&);
const std::map<std::string_view, CallOfRow> kFamilies = {
    {"gemm", gemm_call},
    {"quantize", quantize_call},
    {"attention_context", attention_context_call},
    {"attention_generation", attention_generation_call},
    {"encoder_attention", encoder_attention_call},
    {"mla_context", mla_context_call},
    {"mla_bmm", mla_bmm_call},
    {"mla_module", mla_module_call},
    {"mhc", mhc_call},
    {"sparse_attention", sparse_attention_call},
    {"mla_generation", mla_generation_call},
    {"moe", moe_call},
    {"moe_wideep", moe_wideep_call},
};

const std::vector<std::pair<std::string, PreparedScales>> kPreparedScales = {
    {"activations", PreparedScales::activations}, {"weights", PreparedScales::weights}};

/// The expert loads of a power law are one draw that nobody recorded; its spread is part of the
/// residual.
std::string residual_group(const std::string& file, const CsvTable& table, std::size_t row) {
  std::string group =
      fmt::format("{} {} {}", file, table.text(row, "framework"), table.text(row, "dtype"));
  const std::string_view routing = table.text(row, "routing");
  if (!routing.empty()) group += routing.starts_with("power_law") ? " power_law" : " balanced";
  return group;
}

bool matches(const std::string& wanted, std::string_view found) {
  return wanted.empty() || wanted == found;
}

/// Lets each kernel follow those of the calls before. Load lasts as long as whole calls do: in
/// times of a kernel, as its share of the call's FLOPs has it. Kernels of few FLOPs no limit slows,
/// so theirs are alike in all calls.
void begin_burst(MeasuredCall& call) {
  double total = 0;
  for (const KernelQuery& query : call.kernels)
    if (query.way.way == 0) total += workload::flops(query.op).value();
  for (KernelQuery& query : call.kernels) {
    const double share = workload::flops(query.op).value() / total;
    query.context.launches_before =
        share > kMainShare ? call.calls_before / std::min(share, 1.0) : kCallsBefore;
  }
}

}  // namespace

SettledCall MeasuredCall::settle(
    const std::vector<std::optional<gpu::KernelResult>>& answers) const {
  // A way with a refused kernel would take forever.
  std::map<int, std::map<int, double>> choices;  // microseconds of their ways
  for (std::size_t i = 0; i < kernels.size(); ++i)
    if (const Way& at = kernels[i].way; at.choice > 0)
      choices[at.choice][at.way] += answers[i] ? core::to_microseconds(answers[i]->time)
                                               : std::numeric_limits<double>::infinity();
  std::map<int, int> taken;
  for (const auto& [choice, ways] : choices)
    taken[choice] = std::min_element(ways.begin(), ways.end(), [](const auto& a, const auto& b) {
                      return a.second < b.second;
                    })->first;
  SettledCall settled{*this, std::vector<gpu::KernelResult>{}};
  settled.call.kernels.clear();
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const Way& at = kernels[i].way;
    if (at.choice > 0 && taken.at(at.choice) != at.way) continue;
    settled.call.kernels.push_back(kernels[i]);
    if (!answers[i]) settled.results.reset();
    if (settled.results) settled.results->push_back(*answers[i]);
  }
  return settled;
}

double MeasuredCall::added_us(const device::FitSet& fits) const {
  double sum = 0;
  for (const Constant& constant : constants())
    if (const auto found = fits.parameters.find(constant.name); found != fits.parameters.end())
      sum += found->second.value * constant.count;
  return sum;
}

double MeasuredCall::total_us(double kernels_us, const device::FitSet& fits) const {
  const double running = kernels_us + added_us(fits);
  if (!eager) return running;
  const auto found = fits.parameters.find(host_floor());
  if (found == fits.parameters.end()) return running;
  const double host = host_launches * found->second.value;
  return std::max(host_lead * host + running, host);
}

double MeasuredCall::read_us(double total_us) const {
  if (tick_us <= 0) return total_us;
  const double steps = std::round((total_us - tick_phase_us) / tick_us);
  return tick_phase_us + std::max(1.0, steps) * tick_us;
}

std::vector<MeasuredCall::Constant> MeasuredCall::constants() const {
  std::vector<Constant> all{{harness, 1}};
  if (kernels.size() > 1)
    all.push_back({harness + ".gap" + (type.empty() ? "" : "." + type),
                   static_cast<double>(kernels.size() - 1)});
  if (prepared_rows > 0) {
    all.push_back({harness + ".prepare", 1});
    all.push_back({harness + ".prepare.row", prepared_rows / 1000});
  }
  if (packed_rows > 0) all.push_back({harness + ".packing.row", packed_rows / 1000});
  return all;
}

MeasurementMap MeasurementMap::load() {
  core::LoadOptions options;
  options.kind = "kernel map";
  options.folder = "hw_configs/kernels";
  const core::ConfigDocument document = core::ConfigDocument::load("measured_as", options);
  MeasurementMap map;
  for (const core::ConfigNode& node : document.root().list("rows"))
    map.rows_.push_back(
        {.file = node.text("file"),
         .framework = node.text_or("framework", ""),
         .version = node.text_or("version", ""),
         .kernel = node.text_or("kernel", ""),
         .dtype = node.text_or("dtype", ""),
         .kv_dtype = node.text_or("kv_dtype", ""),
         .gpu = node.text_or("gpu", ""),
         .generation = node.text_or("generation", ""),
         .num_heads = node.integer_or("num_heads", 0, 1024, 0),
         .implementation = node.text_or("implementation", ""),
         .ungrouped = node.text_or("ungrouped", ""),
         .groups_only = node.boolean_or("groups_only", false),
         .fills_sms = node.boolean_or("fills_sms", false),
         .appends_itself = node.boolean_or("appends_itself", false),
         .few_heads = node.text_or("few_heads", ""),
         .multiplies_as_cached = node.boolean_or("multiplies_as_cached", false),
         .odd_heads = node.text_or("odd_heads", ""),
         .keeps_queries = node.boolean_or("keeps_queries", false),
         .attention = node.text_or("attention", ""),
         .indexer = node.text_or("indexer", ""),
         .expands = node.boolean_or("expands", false),
         .launches_eagerly = node.boolean_or("launches_eagerly", false),
         .schedules_on_gpu = node.boolean_or("schedules_on_gpu", false),
         .quantisation = node.text_or("quantisation", ""),
         .enqueue_us = node.number_or("enqueue_us", 0, 1e6, 0),
         .operand_activity = node.number_or("operand_activity", 0.01, 1, 1),
         .distrusted = node.boolean_or("distrusted", false),
         .prepares_scales =
             node.choice_or("prepares_scales", kPreparedScales, PreparedScales::none),
         .flow = node.text_or("flow", ""),
         .gathering = node.text_or("gathering", ""),
         .by_warps = node.text_or("by_warps", ""),
         .summing = node.text_or("summing", ""),
         .width_multiple = node.integer_or("width_multiple", 1, 4096, 1),
         .ungated_width_multiple = node.integer_or("ungated_width_multiple", 1, 4096, 1),
         .hidden_multiple = node.integer_or("hidden_multiple", 1, 4096, 1),
         .fused_top_k = node.integer_or("fused_top_k", 0, 1024, 0),
         .rotation = node.text_or("rotation", "")});
  for (const core::ConfigNode& node : document.root().list("clocks"))
    map.clocks_.push_back({.file = node.text("file"),
                           .framework = node.text("framework"),
                           .generation = node.text("generation"),
                           .tick_us = node.quantity_in("tick", "us", 0, 100),
                           .phase_us = node.quantity_in("phase", "us", 0, 100)});
  document.finish();
  return map;
}

const MeasuredAs& MeasurementMap::find(const std::string& file, const CsvTable& table,
                                       std::size_t row, const device::DeviceSpec& device) const {
  const std::string generation = device::to_string(device.generation);
  for (const MeasuredAs& as : rows_)
    if (as.file == file && matches(as.framework, table.text(row, "framework")) &&
        matches(as.version, table.text(row, "version")) &&
        matches(as.kernel, table.text(row, "kernel")) &&
        matches(as.dtype, table.text(row, "dtype")) &&
        matches(as.kv_dtype, table.text(row, "kv_dtype")) &&
        matches(as.gpu, table.text(row, "gpu")) && matches(as.generation, generation) &&
        (as.num_heads == 0 || table.number(row, "num_heads") == static_cast<double>(as.num_heads)))
      return as;
  refuse_row(fmt::format("{}: no implementation stands for {} {} {}", file,
                         table.text(row, "framework"), table.text(row, "kernel"),
                         table.text(row, "dtype")));
}

MeasuredCall MeasurementMap::experts(const CsvTable& table, std::size_t row,
                                     const device::DeviceSpec& device,
                                     const std::vector<std::int64_t>& rows) const {
  return experts_call(MeasuredRow{table, row}, rows, device, find("moe", table, row, device));
}

MeasuredCall MeasurementMap::call(const std::string& file, const CsvTable& table, std::size_t row,
                                  const device::DeviceSpec& device) const {
  const bool power = file.starts_with("power_");
  const std::string family = power ? file.substr(6) : file;
  const MeasuredAs& as = find(family, table, row, device);
  const auto found = kFamilies.find(family);
  if (found == kFamilies.end())
    refuse_row(fmt::format("{} is not modelled yet as a measured call", file));
  MeasuredCall call = found->second(MeasuredRow{table, row}, device, as);
  call.distrusted = as.distrusted;
  if (!power) begin_burst(call);
  const std::string generation = device::to_string(device.generation);
  for (const TimingClock& clock : clocks_)
    if (clock.file == file && clock.framework == table.text(row, "framework") &&
        clock.generation == generation) {
      call.tick_us = clock.tick_us;
      call.tick_phase_us = clock.phase_us;
    }
  call.harness = fmt::format("harness.{}.{}", file, table.text(row, "framework"));
  call.residual_group = residual_group(file, table, row);
  return call;
}

}  // namespace tessera::calibrate
