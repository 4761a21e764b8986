#include "calibrate/collective_rows.hpp"

#include <fmt/format.h>

#include <numeric>

#include "models/device/cluster_file.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::calibrate {

namespace {

using fabric::CollectiveKind;
using fabric::CollectiveRequest;
using fabric::ExchangeRequest;

constexpr int kCongestedNodes =
    8;  ///< measurements/README.md: DeepEP on eight nodes is distrusted.

std::vector<int> first(int count) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

int integer(const CsvTable& table, std::size_t row, std::string_view column) {
  return static_cast<int>(table.number(row, column).value_or(0));
}

std::optional<CollectiveKind> kind_of(std::string_view name) {
  if (name == "all_reduce") return CollectiveKind::all_reduce;
  if (name == "reduce_scatter") return CollectiveKind::reduce_scatter;
  if (name == "all_gather") return CollectiveKind::all_gather;
  if (name == "alltoall") return CollectiveKind::all_to_all;
  return std::nullopt;
}

void add_nccl(const CsvTable& table, std::size_t row, CollectiveRow base,
              std::vector<CollectiveRow>& rows) {
  const auto kind = kind_of(table.text(row, "collective"));
  const auto measured = table.number(row, "latency_us");
  if (!kind || !measured) return;
  const std::string type{table.text(row, "dtype")};
  CollectiveRequest request{.kind = *kind,
                            .ranks = first(integer(table, row, "ranks")),
                            .bytes = core::Bytes{table.number(row, "bytes").value_or(0)},
                            .type = type == "int8" ? core::DataType::int8 : core::DataType::fp16};
  base.family = "nccl";
  base.group = fabric::to_string(*kind) + " " + type;
  base.measured_us = *measured;
  base.column = "latency_us";
  base.request = std::move(request);
  rows.push_back(std::move(base));
}

void add_deepep(const CsvTable& table, std::size_t row, CollectiveRow base, bool low_latency,
                std::vector<CollectiveRow>& rows) {
  ExchangeRequest request;
  request.kind = low_latency ? fabric::ExchangeKind::low_latency : fabric::ExchangeKind::normal;
  request.ranks = first(8 * base.nodes);
  request.tokens = integer(table, row, "tokens_per_rank");
  request.hidden = integer(table, row, "hidden");
  const int groups = low_latency ? 1 : base.nodes;
  // DeepEP's own benchmark limits tokens to four nodes; low latency knows no nodes.
  request.routing = {.experts = integer(table, row, "experts"),
                     .top_k = integer(table, row, "topk"),
                     .groups = groups,
                     .group_limit = std::min(groups, 4)};
  if (!low_latency) request.sms = integer(table, row, "sms");
  base.family = low_latency ? "deepep_ll" : "deepep_normal";
  if (request.routing.experts % static_cast<int>(request.ranks.size()) != 0) return;
  for (const bool dispatch : {true, false}) {
    base.column = dispatch ? "dispatch_us" : "combine_us";
    const auto measured = table.number(row, base.column);
    if (!measured || *measured <= 0) continue;
    request.direction =
        dispatch ? fabric::ExchangeDirection::dispatch : fabric::ExchangeDirection::combine;
    request.type = dispatch ? core::DataType::fp8_block : core::DataType::bf16;
    base.group = fmt::format("{} {} node{}", dispatch ? "dispatch" : "combine", base.nodes,
                             base.nodes > 1 ? "s" : "");
    base.measured_us = *measured;
    base.request = request;
    rows.push_back(base);
  }
}

}  // namespace

const fabric::Topology& MeasuredClusters::cluster(const std::string& gpu, int nodes) {
  auto& topology = topologies_[{gpu, nodes}];
  if (topology) return *topology;
  (void)device(gpu);
  const device::NodeSpec& node = nodes_.at(gpu);
  if (node.nvlink_domain.switches == 0)
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("{} has no NVLink; its collectives are not modelled", gpu));
  const device::ClusterSpec cluster{
      .name = gpu,
      .node = node,
      .domains = nodes,
      .gpus_per_domain = node.gpus,
      .fabric = {.kind = device::FabricKind::multiplane_fat_tree,
                 .planes = node.nic.per_node,
                 .leaf_radix = 64,  // one leaf a plane holds all measured nodes
                 .spine_radix = 64,
                 .oversubscription = 1,
                 .link_rate = node.nic.rate,
                 .switch_latency = core::Time{300'000},  // assumed
                 .cable_latency = core::Time{25'000},    // assumed: 5 m
                 .efficiency = 1,
                 .power_per_gpu = core::Watts{0}}};
  topology = std::make_unique<fabric::Topology>(fabric::topology_of(cluster));
  return *topology;
}

const device::DeviceSpec& MeasuredClusters::device(const std::string& gpu) {
  auto found = nodes_.find(gpu);
  if (found == nodes_.end()) {
    const bool is_server = gpu == "rtx_pro_6000_server";
    // hgx_h100 from h100_sxm.
    const std::string node =
        is_server ? "rtx_pro_6000_pcie" : "hgx_" + gpu.substr(0, gpu.find("_sxm"));
    found = nodes_.emplace(gpu, device::load_node(node)).first;
  }
  return found->second.device;
}

std::vector<CollectiveRow> collective_rows(const CsvTable& table, const std::string& stem,
                                           MeasuredClusters& clusters, bool trusted_only) {
  std::vector<CollectiveRow> rows;
  for (std::size_t row = 0; row < table.size(); ++row) {
    CollectiveRow base{};
    base.gpu = std::string{table.text(row, "gpu")};
    base.half = half(table, row);
    base.line = row;
    base.nodes = std::max(1, integer(table, row, "nodes"));
    const bool normal = stem == "comm_deepep_normal";
    if (trusted_only && normal && base.nodes == kCongestedNodes) continue;
    const device::Generation generation = clusters.device(base.gpu).generation;
    if (generation != device::Generation::ampere && generation != device::Generation::hopper &&
        generation != device::Generation::blackwell)
      continue;
    if (stem == "comm_nccl")
      add_nccl(table, row, std::move(base), rows);
    else if (normal || stem == "comm_deepep_ll")
      add_deepep(table, row, std::move(base), !normal, rows);
  }
  return rows;
}

std::vector<PredictedTime> predict(const std::vector<CollectiveRow>& rows,
                                   MeasuredClusters& clusters,
                                   const fabric::FabricParameters& parameters) {
  std::map<const fabric::Topology*, std::unique_ptr<fabric::CollectiveModel>> collectives;
  std::map<const fabric::Topology*, std::unique_ptr<fabric::ExchangeModel>> exchanges;
  std::vector<PredictedTime> predicted;
  predicted.reserve(rows.size());
  const auto add = [&](const auto& result) {
    predicted.push_back({core::to_microseconds(result.time), core::to_microseconds(result.lower),
                         core::to_microseconds(result.upper)});
  };
  for (const CollectiveRow& row : rows) {
    const fabric::Topology& topology = clusters.cluster(row.gpu, row.nodes);
    if (const auto* request = std::get_if<CollectiveRequest>(&row.request)) {
      auto& model = collectives[&topology];
      if (!model) model = std::make_unique<fabric::CollectiveModel>(topology, parameters);
      add(model->run(*request));
    } else {
      auto& model = exchanges[&topology];
      if (!model) model = std::make_unique<fabric::ExchangeModel>(topology, parameters);
      add(model->run(std::get<ExchangeRequest>(row.request)));
    }
  }
  return predicted;
}

}  // namespace tessera::calibrate
