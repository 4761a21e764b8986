#include "calibrate/collective_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "models/device/cluster_file.hpp"
#include "models/device/device_file.hpp"
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
  if (name == "send_recv") return CollectiveKind::send_receive;
  return std::nullopt;
}

/// GPUs that reach each other without a NIC: a node's, or a rack's.
int domain_gpus(const device::NodeSpec& node) {
  return std::max(node.gpus, node.nvlink_domain.gpus);
}

/// The described node of a measured GPU or server: hgx_h100 of h100_sxm, gb200_nvl72 of gb200.
std::string node_of(const std::string& name) {
  const std::string gpu = device::usual_device_name(name);
  const std::vector<std::string> known = core::names_in("hw_configs/nodes");
  const std::string bare = gpu.substr(0, gpu.find("_s"));  // h100_sxm, rtx_pro_6000_server
  for (const std::string& name : {gpu, "hgx_" + bare, "hgx_" + gpu, gpu + "_nvl72", bare + "_pcie"})
    if (std::find(known.begin(), known.end(), name) != known.end()) return name;
  return gpu;
}

/// `count` GPUs, `per_node` on each node of `node_size`.
std::vector<int> spread(int count, int per_node, int node_size) {
  std::vector<int> ranks;
  for (int rank = 0; rank < count; ++rank)
    ranks.push_back(rank / per_node * node_size + rank % per_node);
  return ranks;
}

/// nccl-tests, and torch.distributed's calls of NCCL.
void add_nccl(const CsvTable& table, std::size_t row, CollectiveRow base,
              const device::NodeSpec& node, std::vector<CollectiveRow>& rows) {
  const auto kind = kind_of(table.text(row, "collective"));
  const auto measured = table.number(row, "latency_us");
  const int count = integer(table, row, "ranks");
  const bool is_rack = domain_gpus(node) > node.gpus;
  const int per_domain = is_rack ? std::min(count, domain_gpus(node)) : count / base.nodes;
  if (!kind || !measured)
    throw core::Refusal(core::RefusalKind::outside_model, "a collective that is not modelled");
  if (count < 2 || count % per_domain != 0 || per_domain > domain_gpus(node))
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        "ranks that do not fill their nodes evenly");
  base.domains = count / per_domain;
  const std::string type{table.text(row, "dtype")};
  CollectiveRequest request{.kind = *kind,
                            .ranks = spread(count, per_domain, domain_gpus(node)),
                            .bytes = core::Bytes{table.number(row, "bytes").value_or(0)},
                            .type = type == "int8" ? core::DataType::int8 : core::DataType::fp16};
  base.group = fabric::to_string(*kind) + " " + type;
  base.measured_us = *measured;
  base.column = "latency_us";
  if (base.family == "vidur" && base.nodes == 1) {
    if (request.kind == CollectiveKind::send_receive) base.family = "vidur_send";
    if (count > node.nvlink_domain.gpus) base.family = "vidur_pcie";
  }
  base.request = std::move(request);
  rows.push_back(std::move(base));
}

/// All-reduce by an inference library: `kernel` ends in _eager where the host launches each call.
void add_direct(const CsvTable& table, std::size_t row, CollectiveRow base,
                std::vector<CollectiveRow>& rows) {
  constexpr double kElementBytes = 2;
  const std::string library{table.text(row, "framework")};
  const auto measured = table.number(row, "latency_us");
  fabric::DirectReduceRequest request;
  if (library == "vllm") {
    request.library = fabric::ReduceLibrary::vllm;
  } else if (library == "sglang") {
    request.library = fabric::ReduceLibrary::sglang;
  } else if (library == "trtllm") {
    request.library = fabric::ReduceLibrary::trtllm;
  } else {
    throw core::Refusal(core::RefusalKind::outside_model,
                        fmt::format("all-reduce of {} is not modelled", library));
  }
  request.ranks = first(integer(table, row, "ranks"));
  request.bytes = core::Bytes{table.number(row, "elements").value_or(0) * kElementBytes};
  request.eager = std::string{table.text(row, "kernel")}.ends_with("_eager");
  base.shape += "|" + library;
  base.group = library + (request.eager ? " eager" : " graph");
  if (request.eager) base.family += "_eager";
  base.measured_us = measured.value_or(0);
  base.column = "latency_us";
  base.request = std::move(request);
  rows.push_back(std::move(base));
}

void add_deepep(const CsvTable& table, std::size_t row, CollectiveRow base, bool low_latency,
                int sms, std::vector<CollectiveRow>& rows) {
  ExchangeRequest request;
  request.kind = low_latency ? fabric::ExchangeKind::low_latency : fabric::ExchangeKind::normal;
  request.ranks = first(8 * base.nodes);
  request.tokens = integer(table, row, "tokens_per_rank");
  request.hidden = integer(table, row, "hidden");
  const int groups = low_latency ? 1 : base.nodes;
  // DeepEP's own benchmark limits tokens to four nodes; low latency knows no nodes.
  const int ranks = static_cast<int>(request.ranks.size());
  // Where experts do not divide, the last ranks hold fewer.
  const int experts_of_rank = (integer(table, row, "experts") + ranks - 1) / ranks;
  request.routing = {.experts = experts_of_rank * ranks,
                     .top_k = integer(table, row, "topk"),
                     .groups = groups,
                     .group_limit = std::min(groups, 4)};
  request.sms = low_latency ? sms : integer(table, row, "sms");
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

device::ClusterSpec MeasuredClusters::spec(const std::string& gpu, int domains) {
  const device::NodeSpec& of = node(gpu);
  return {.name = gpu,
          .node = of,
          .domains = domains,
          .gpus_per_domain = domain_gpus(of),
          .fabric = {.kind = device::FabricKind::multiplane_fat_tree,
                     .planes = of.nic.per_node,
                     .leaf_radix = 64,  // one leaf a plane holds all measured nodes
                     .spine_radix = 64,
                     .oversubscription = 1,
                     .link_rate = of.nic.rate,
                     .switch_latency = core::Time{300'000},  // assumed
                     .cable_latency = core::Time{25'000},    // assumed: 5 m
                     .efficiency = 1,
                     .power_per_gpu = core::Watts{0}}};
}

const fabric::Topology& MeasuredClusters::cluster(const std::string& gpu, int domains) {
  auto& topology = topologies_[{gpu, domains}];
  if (!topology)
    topology = std::make_unique<fabric::Topology>(fabric::topology_of(spec(gpu, domains)));
  return *topology;
}

const device::DeviceSpec& MeasuredClusters::device(const std::string& gpu) {
  return node(gpu).device;
}

const device::NodeSpec& MeasuredClusters::node(const std::string& gpu) {
  auto found = nodes_.find(gpu);
  if (found == nodes_.end()) {
    const std::string node = node_of(gpu);
    found = nodes_.emplace(gpu, device::load_node(node)).first;
  }
  return found->second;
}

namespace {

/// comm_vidur names no network. Its A100 servers reach between a seventh and a third of what the
/// described nodes' NICs carry, at rates that change with the ranks of a node.
void check_network(const CollectiveRow& row, const device::NodeSpec& node) {
  if (row.nodes > 1 && node.device.generation == device::Generation::ampere)
    throw core::Refusal(core::RefusalKind::outside_model,
                        "the network between these A100 servers is not described");
}

void add_row(const CsvTable& table, const std::string& stem, std::size_t row, CollectiveRow base,
             MeasuredClusters& clusters, std::vector<CollectiveRow>& rows) {
  base.family = stem.substr(stem.find('_') + 1);
  base.harness = base.family + "." + base.gpu;
  const device::NodeSpec& node = clusters.node(base.gpu);
  const int per_node = integer(table, row, "ranks_per_node");
  if (per_node > 0) base.nodes = std::max(1, integer(table, row, "ranks") / per_node);
  base.domains = domain_gpus(node) > node.gpus
                     ? (8 * base.nodes + domain_gpus(node) - 1) / domain_gpus(node)
                     : base.nodes;
  if (stem == "comm_vidur") check_network(base, node);
  if (stem == "comm_nccl" || stem == "comm_vidur")
    add_nccl(table, row, std::move(base), node, rows);
  else if (stem == "comm_custom_allreduce")
    add_direct(table, row, std::move(base), rows);
  else
    add_deepep(table, row, std::move(base), stem == "comm_deepep_ll", node.device.sm.count, rows);
}

}  // namespace

std::vector<CollectiveRow> collective_rows(const CsvTable& table, const std::string& stem,
                                           MeasuredClusters& clusters, bool trusted_only,
                                           std::map<std::string, std::size_t>* reasons) {
  std::vector<CollectiveRow> rows;
  for (std::size_t row = 0; row < table.size(); ++row) {
    CollectiveRow base{};
    base.gpu = std::string{table.text(row, "gpu")};
    base.shape = shape_key(table, row);
    base.half = half(table, row);
    base.line = row;
    base.nodes = std::max(1, integer(table, row, "nodes"));
    if (trusted_only && stem == "comm_deepep_normal" && base.nodes == kCongestedNodes) continue;
    try {
      add_row(table, stem, row, std::move(base), clusters, rows);
    } catch (const core::Refusal& refusal) {
      if (reasons) ++(*reasons)[refusal.what()];
    } catch (const core::ConfigError&) {
      if (reasons) ++(*reasons)[fmt::format("no node is described for {}", table.text(row, "gpu"))];
    }
  }
  return rows;
}

namespace {

/// The models of rows on several clusters, made when first asked for.
class Models {
 public:
  Models(MeasuredClusters& clusters, const fabric::FabricParameters& parameters)
      : clusters_(clusters), parameters_(parameters) {}

  PredictedTime run(const CollectiveRow& row) {
    const fabric::Topology& topology = clusters_.cluster(row.gpu, row.domains);
    if (const auto* request = std::get_if<CollectiveRequest>(&row.request))
      return time(of(collectives_, topology).run(*request), /*by_nccl=*/true);
    if (const auto* request = std::get_if<fabric::DirectReduceRequest>(&row.request)) {
      const device::HbmSpec& hbm = clusters_.device(row.gpu).hbm;
      const auto result = of(reduces_, topology, hbm.peak_rate * hbm.reachable).run(*request);
      return time(result, result.method == fabric::ReduceMethod::nccl);
    }
    return time(of(exchanges_, topology).run(std::get<ExchangeRequest>(row.request)),
                /*by_nccl=*/false);
  }

 private:
  template <class Model>
  using ByTopology = std::map<const fabric::Topology*, std::unique_ptr<Model>>;

  template <class Model, class... More>
  Model& of(ByTopology<Model>& models, const fabric::Topology& topology, const More&... more) {
    auto& model = models[&topology];
    if (!model) model = std::make_unique<Model>(topology, parameters_, more...);
    return *model;
  }

  template <class Result>
  static PredictedTime time(const Result& result, bool by_nccl) {
    return {core::to_microseconds(result.time), core::to_microseconds(result.lower),
            core::to_microseconds(result.upper), by_nccl};
  }

  MeasuredClusters& clusters_;
  const fabric::FabricParameters& parameters_;
  ByTopology<fabric::CollectiveModel> collectives_;
  ByTopology<fabric::DirectReduceModel> reduces_;
  ByTopology<fabric::ExchangeModel> exchanges_;
};

}  // namespace

std::vector<PredictedTime> predict(const std::vector<CollectiveRow>& rows,
                                   MeasuredClusters& clusters,
                                   const fabric::FabricParameters& parameters,
                                   std::map<std::string, std::size_t>* reasons) {
  Models models{clusters, parameters};
  std::vector<PredictedTime> predicted;
  predicted.reserve(rows.size());
  for (const CollectiveRow& row : rows) {
    try {
      PredictedTime time = models.run(row);
      const auto harness = parameters.harness_us.find(row.harness);
      if (harness != parameters.harness_us.end())
        for (double* part : {&time.microseconds, &time.lower, &time.upper})
          *part += harness->second;
      predicted.push_back(time);
    } catch (const core::Refusal& refusal) {
      constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
      predicted.push_back({kNone, kNone, kNone, false});
      if (reasons) ++(*reasons)[refusal.what()];
    }
  }
  return predicted;
}

}  // namespace tessera::calibrate
