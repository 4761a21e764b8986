#include "calibrate/collectives.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <set>
#include <tuple>

namespace tessera::calibrate {

namespace {

using device::Generation;
using fabric::FabricParameters;
using fabric::ParameterField;

constexpr double kScale = 0.05;  ///< Log ratio beyond which a row counts as an outlier.
/// Rows across nodes are few (one shape, one GPU) and matter most: each counts like several.
constexpr double kAcrossNodesWeight = 6;
constexpr int kRuns = 4;  ///< Of the fit, each from where the last one ended.

const ParameterField& field(const std::string& name) {
  for (const ParameterField& candidate : fabric::parameter_fields())
    if (candidate.name == name) return candidate;
  throw std::out_of_range("no fabric parameter " + name);
}

constexpr std::string_view kHarness = "harness.";
constexpr double kHarnessPrior = 0.5;  ///< us. // assumed

double& value_of(FabricParameters& parameters, const std::string& name) {
  if (name.starts_with(kHarness)) return parameters.harness_us[name.substr(kHarness.size())];
  return field(name).of(parameters);
}

std::string unit_of(const std::string& name) {
  return name.starts_with(kHarness) ? "us" : field(name).unit;
}

/// How far a parameter may be from its prior, as a sigma of its logarithm. Rates of all-reduce
/// kernels follow their link from one generation to the next, and few rows show each.
double prior_sigma(const std::string& name) {
  const auto ends = [&](std::string_view end) { return name.ends_with(end); };
  // Beside a copy rate that grows with the SMs, a link's limit shows only faintly: what DeepEP
  // reaches with all SMs (docs/legacy.md, README V2) holds it.
  if (name.starts_with("exchange") && ends("nvlink_fraction")) return 0.05;
  if (ends("network_fraction")) return 0.05;
  if (ends("_share") || (name.starts_with("direct.") && ends("rate"))) return 0.3;
  if (ends("nvlink_fraction")) return 0.3;
  if (ends("sharpness")) return 0.5;
  if (ends("int8_reduction_slowdown")) return 0.05;
  return 1.0;
}

/// Parameters fitted together: to rows of these families, and to no others.
struct Stage {
  std::vector<std::string> families;  ///< The first names the stage.
  std::string column;                 ///< Empty: all.
  std::vector<std::string> names;
  bool harness = false;  ///< What timing adds, where several GPUs tell it from a kernel's own base.
};

bool belongs(const Stage& stage, const CollectiveRow& row) {
  return std::find(stage.families.begin(), stage.families.end(), row.family) !=
             stage.families.end() &&
         (stage.column.empty() || stage.column == row.column);
}

std::vector<Stage> stages() {
  std::vector<std::string> nccl;
  for (const std::string algorithm :
       {"ring_ll", "ring_ll128", "ring_simple", "tree_ll", "tree_ll128", "tree_simple"})
    for (const std::string part : {"base", "nvlink_step", "nvlink_fraction", "ramp"})
      if (!algorithm.ends_with("_ll") || part != "ramp")
        nccl.push_back("nccl." + algorithm + "." + part);
  for (const std::string part : {"base", "nvlink_fraction", "ramp"})
    nccl.push_back("nccl.in_switch." + part);
  for (const std::string part :
       {"low_latency_base", "base", "peer", "nvlink_fraction", "ramp", "host_share", "fan_out"})
    nccl.push_back("nccl.pairwise." + part);
  for (const std::string part :
       {"ring_ll.fan_out", "ring_ll.fan_out_step", "ring_ll.host_share", "ring_ll.socket_share",
        "ring_simple.host_share", "ring_simple.socket_share"})
    nccl.push_back("nccl." + part);
  nccl.push_back("nccl.ring_local_pass");
  nccl.push_back("nccl.int8_reduction_slowdown");
  std::vector<std::string> send, direct, host;
  for (const std::string part : {"low_latency_base", "base", "nvlink_fraction", "ramp", "fan_out"})
    send.push_back("nccl.send." + part);
  for (const std::string library : {"vllm", "sglang", "trtllm"}) {
    for (const std::string part :
         {"base", "peer", "exchange", "one_shot_rate", "peer_rate", "two_shot_rate", "ramp"})
      direct.push_back("direct." + library + "." + part);
    host.push_back("direct." + library + ".host");
  }
  for (const std::string part : {"staging", "multicast_rate"})
    direct.push_back("direct.vllm." + part);
  // NCCL's rows of custom_allreduce are those that libraries leave to it.
  std::vector<Stage> all{{{"nccl", "custom_allreduce"}, "", nccl},
                         {{"vidur_send"}, "", send},
                         {{"vidur_pcie"}, "", {"nccl.ring_simple.host_share"}},
                         {{"custom_allreduce"}, "", direct},
                         {{"custom_allreduce_eager"}, "", host}};
  std::vector<std::string> low_latency;
  for (const std::string direction : {"dispatch", "combine"}) {
    std::vector<std::string> normal;
    for (const std::string part :
         {"base", "network_base", "node", "row_latency", "nvlink_sm_rate", "forward_sm_rate",
          "rdma_sm_rate", "token_sm_rate", "token_sm", "copy_sm", "nvlink_fraction",
          "network_fraction", "ramp", "sharpness", "network_sharpness"})
      normal.push_back("exchange." + direction + "." + part);
    for (const std::string part : {"base", "network_base", "node", "expert", "row_latency", "token",
                                   "nvlink_fraction", "network_fraction"})
      low_latency.push_back("low_latency." + direction + "." + part);
    all.push_back({{"deepep_normal"}, direction + "_us", normal});
  }
  all.push_back({{"deepep_ll"}, "", low_latency, /*harness=*/true});
  return all;
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

std::vector<double> log_ratios(const std::vector<CollectiveRow>& rows, MeasuredClusters& clusters,
                               const FabricParameters& parameters) {
  const std::vector<PredictedTime> predicted = predict(rows, clusters, parameters);
  std::vector<double> ratios;
  for (std::size_t i = 0; i < rows.size(); ++i)
    ratios.push_back(std::log(predicted[i].microseconds / rows[i].measured_us));
  return ratios;
}

/// Fits one stage's parameters in place and records them.
void fit_stage(const Stage& stage, const std::vector<CollectiveRow>& all,
               MeasuredClusters& clusters, FabricFit& result) {
  std::vector<CollectiveRow> rows;
  std::vector<double> weights;
  for (const CollectiveRow& row : all) {
    if (row.half != Half::fit || !belongs(stage, row)) continue;
    rows.push_back(row);
    weights.push_back(row.nodes > 1 ? kAcrossNodesWeight : 1.0);
  }
  if (rows.empty()) return;
  std::vector<std::string> names = stage.names;
  std::set<std::string> collections, gpus;
  for (const CollectiveRow& row : rows) {
    collections.insert(row.harness);
    gpus.insert(row.gpu);
  }
  if (stage.harness && gpus.size() > 1)
    for (const std::string& key : collections) names.push_back(std::string{kHarness} + key);
  std::vector<FitVariable> free;
  for (const std::string& name : names) {
    // A part of a link's rate; those of NICs count what their own efficiency leaves.
    const bool is_part = name.starts_with("nccl.") && name.ends_with("nvlink_fraction");
    free.push_back(
        {.name = name,
         .prior = name.starts_with(kHarness) ? kHarnessPrior : value_of(result.parameters, name),
         .prior_sigma = prior_sigma(name),
         .highest = is_part ? 1.0 : std::numeric_limits<double>::infinity()});
  }
  const auto with = [&](const std::vector<double>& values) {
    FabricParameters parameters = result.parameters;
    for (std::size_t i = 0; i < values.size(); ++i) value_of(parameters, names[i]) = values[i];
    return parameters;
  };
  const auto ratios = [&](const std::vector<double>& values) {
    return log_ratios(rows, clusters, with(values));
  };
  RobustFit fit;
  // Damping carries over within one run only; a fresh one leaves flat valleys faster.
  for (int run = 0; run < kRuns; ++run) {
    fit = fit_robustly(free, weights, {.scale = kScale}, ratios);
    for (std::size_t i = 0; i < free.size(); ++i) free[i].start = fit.parameters[i].value;
  }
  for (std::size_t i = 0; i < free.size(); ++i) {
    const FittedVariable& fitted = fit.parameters[i];
    // A value that the prior alone holds changes nothing; one that moved with others is needed.
    const bool is_prior = std::abs(std::log(fitted.value / free[i].prior)) < 1e-3;
    if (!fitted.moved_by_data && is_prior) continue;
    value_of(result.parameters, free[i].name) = fitted.value;
    result.fit.parameters[free[i].name] = {
        .value = fitted.value,
        .standard_error = fitted.value * fitted.relative_error,
        .grade = fitted.moved_by_data ? core::Grade::fitted : core::Grade::assumed,
        .unit = unit_of(free[i].name),
        .source = fmt::format("comm_{}, {} rows", stage.families.front(), rows.size())};
  }
}

/// Shapes that took part in a fit lie closer to it than others will: by sqrt(n - k), others sqrt(n
/// + k). Rows of one shape in two types or on two GPUs of a generation err alike and count once.
double widening(std::size_t shapes, std::size_t parameters) {
  const double n = static_cast<double>(shapes), k = static_cast<double>(parameters);
  return std::sqrt((n + k) / std::max(1.0, n - k));
}

/// One half-width of the 90 % intervals: of which rows, and the stems of the parameters that they
/// were fitted with.
struct Spread {
  std::string name;
  std::vector<std::string> stems;
  std::function<bool(const CollectiveRow&, bool by_nccl)> belongs;
};

std::vector<Spread> spreads() {
  const auto is_pairwise = [](const CollectiveRow& row) {
    const auto* request = std::get_if<fabric::CollectiveRequest>(&row.request);
    return request && request->kind == fabric::CollectiveKind::all_to_all;
  };
  const auto is_graph = [](const CollectiveRow& row) { return row.family == "custom_allreduce"; };
  std::vector<Spread> all{
      {"in_node",
       {"nccl.ring", "nccl.in_switch", "nccl.int8"},
       [=](const CollectiveRow& row, bool by_nccl) {
         return (row.family == "nccl" && !is_pairwise(row)) || (is_graph(row) && by_nccl);
       }},
      {"pairwise",
       {"nccl.pairwise"},
       [=](const CollectiveRow& row, bool) { return row.family == "nccl" && is_pairwise(row); }},
      {"direct_reduce",
       {"direct."},
       [=](const CollectiveRow& row, bool by_nccl) { return is_graph(row) && !by_nccl; }},
      {"low_latency", {"low_latency.", "harness.deepep_ll"}, [](const CollectiveRow& row, bool) {
         return row.family == "deepep_ll";
       }}};
  for (const std::string direction : {"dispatch", "combine"})
    all.push_back({direction, {"exchange." + direction}, [=](const CollectiveRow& row, bool) {
                     return row.family == "deepep_normal" && row.column == direction + "_us";
                   }});
  return all;
}

/// Half-widths of the 90 % intervals, from the fit half.
void set_spread(const std::vector<CollectiveRow>& rows, MeasuredClusters& clusters,
                FabricFit& result) {
  const std::vector<PredictedTime> predicted = predict(rows, clusters, result.parameters);
  for (const Spread& spread : spreads()) {
    std::vector<double> sizes;
    std::set<std::string> shapes;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].half != Half::fit || !spread.belongs(rows[i], predicted[i].by_nccl)) continue;
      sizes.push_back(std::abs(std::log(predicted[i].microseconds / rows[i].measured_us)));
      shapes.insert(rows[i].shape);
    }
    if (sizes.empty()) continue;
    const auto fitted = std::count_if(
        result.fit.parameters.begin(), result.fit.parameters.end(), [&](const auto& parameter) {
          return std::any_of(spread.stems.begin(), spread.stems.end(),
                             [&](const auto& stem) { return parameter.first.starts_with(stem); });
        });
    const double width = std::expm1(quantile(sizes, 0.9) *
                                    widening(shapes.size(), static_cast<std::size_t>(fitted)));
    const std::string name = "spread." + spread.name;
    field(name).of(result.parameters) = width;
    result.fit.parameters[name] = {.value = width,
                                   .standard_error = 0,
                                   .grade = core::Grade::fitted,
                                   .unit = "1",
                                   .source = fmt::format("p90 of residuals, {} rows of {} shapes",
                                                         sizes.size(), shapes.size())};
  }
}

std::vector<ResidualSummary> summarise(const std::vector<CollectiveRow>& rows,
                                       MeasuredClusters& clusters,
                                       const FabricParameters& parameters) {
  const std::vector<PredictedTime> predicted = predict(rows, clusters, parameters);
  using Key = std::tuple<std::string, std::string, std::string, bool>;
  std::map<Key, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < rows.size(); ++i)
    groups[{rows[i].gpu, rows[i].family, rows[i].group, rows[i].half == Half::test}].push_back(i);
  std::vector<ResidualSummary> summaries;
  for (const auto& [key, members] : groups) {
    std::vector<double> sizes, errors;
    double inside = 0;
    for (const std::size_t i : members) {
      const double error = predicted[i].microseconds / rows[i].measured_us - 1;
      errors.push_back(error);
      sizes.push_back(std::abs(error));
      if (predicted[i].lower <= rows[i].measured_us && rows[i].measured_us <= predicted[i].upper)
        inside += 1;
    }
    const auto& [gpu, family, group, is_test] = key;
    summaries.push_back({gpu, family, group, is_test ? Half::test : Half::fit, members.size(),
                         quantile(sizes, 0.5), quantile(sizes, 0.9), quantile(errors, 0.5),
                         inside / static_cast<double>(members.size())});
  }
  return summaries;
}

/// What was not measured on a generation is as on Hopper, or Ada as on the later client GPUs.
void transfer(const FabricFit& from, FabricFit& to) {
  for (const auto& [name, parameter] : from.fit.parameters) {
    const bool is_all = from.generation == Generation::blackwell_client;
    const bool is_exchange = is_all || name.starts_with("exchange.") ||
                             name.starts_with("nccl.send.") || name.starts_with("low_latency.") ||
                             name == "spread.dispatch" || name == "spread.combine" ||
                             name == "spread.low_latency";
    if (!is_exchange) continue;
    field(name).of(to.parameters) = parameter.value;
    to.fit.parameters[name] = parameter;
    to.fit.parameters[name].grade = core::Grade::transferred;
    to.fit.parameters[name].source =
        fmt::format("as on {}: {}", device::to_string(from.generation), parameter.source);
  }
}

}  // namespace

std::vector<FabricFit> fit_collectives(const std::string& measurements) {
  MeasuredClusters clusters;
  std::map<Generation, std::vector<CollectiveRow>> rows;
  for (const std::string stem : {"comm_nccl", "comm_custom_allreduce", "comm_deepep_normal",
                                 "comm_deepep_ll", "comm_vidur"}) {
    const std::filesystem::path file = std::filesystem::path(measurements) / (stem + ".csv");
    const CsvTable table = CsvTable::load(file.string());
    for (CollectiveRow& row : collective_rows(table, stem, clusters, true))
      rows[clusters.device(row.gpu).generation].push_back(std::move(row));
  }
  std::vector<FabricFit> fits;
  for (const Generation generation : {Generation::hopper, Generation::ampere, Generation::blackwell,
                                      Generation::blackwell_client, Generation::ada}) {
    FabricFit fit{generation, fabric::prior_parameters(generation), {}, {}};
    fit.fit.name = "fabric_" + device::to_string(generation);
    const bool has_nvlink =
        generation != Generation::ada && generation != Generation::blackwell_client;
    if (generation == Generation::ada) transfer(fits.back(), fit);
    if (has_nvlink && !fits.empty()) transfer(fits.front(), fit);
    for (const Stage& stage : stages()) fit_stage(stage, rows[generation], clusters, fit);
    set_spread(rows[generation], clusters, fit);
    fit.residuals = summarise(rows[generation], clusters, fit.parameters);
    fits.push_back(std::move(fit));
  }
  return fits;
}

std::string to_yaml(const FabricFit& fit) {
  std::string text = fmt::format(
      "# Communication on {} GPUs: the few physical numbers, fitted. Written by `tessera calibrate "
      "collectives`.\n# Times in us of NCCL steps, DeepEP rows and SMs; fractions of the link "
      "rates "
      "in hw_configs.\n",
      device::to_string(fit.generation));
  text += "parameters:\n";
  for (const auto& [name, p] : fit.fit.parameters)
    text += fmt::format(
        "  {}: {{value: {:.5g}, unit: \"{}\", standard_error: {:.2g}, grade: {}, source: "
        "\"{}\"}}\n",
        name, p.value, p.unit, p.standard_error, core::to_string(p.grade), p.source);
  text += "# |predicted / measured - 1|; the test half was never fitted to.\nresiduals:\n";
  for (const ResidualSummary& r : fit.residuals)
    text += fmt::format(
        "  - {{gpu: {}, family: {}, group: {}, half: {}, rows: {}, median: {:.3f}, p90: {:.3f}, "
        "bias: {:.3f}, inside_90: {:.2f}}}\n",
        r.gpu, r.family, r.group, r.half == Half::test ? "test" : "fit", r.rows, r.median, r.p90,
        r.bias, r.inside);
  text +=
      "provenance:\n"
      "  source: \"NVIDIA aiconfigurator, Apache-2.0, commit 095f58a51c4c: nccl-tests, all-reduce "
      "and "
      "DeepEP collections; Microsoft vidur, MIT, commit 7d4751336344: sends, and rings over "
      "PCIe\"\n"
      "  half: fit\n"
      "  left_out: \"DeepEP normal on 8 nodes (congested fabric)\"\n"
      "  method: \"Levenberg-Marquardt on log ratios, soft-L1 beyond 5 %, log-normal priors; rows "
      "across nodes count six times\"\n";
  return text;
}

}  // namespace tessera::calibrate
