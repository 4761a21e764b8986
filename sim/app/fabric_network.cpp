#include "sim/app/fabric_network.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/device/fit_file.hpp"
#include "sim/core/config.hpp"

namespace tessera::app {
namespace {

fabric::NetworkKind network_kind(const device::ClusterSpec& cluster) {
  if (cluster.domains == 1) return fabric::NetworkKind::none;
  switch (cluster.fabric.kind) {
    case device::FabricKind::multiplane_fat_tree:
      return fabric::NetworkKind::multi_plane;
    case device::FabricKind::rail_fat_tree:
      return fabric::NetworkKind::rail_optimised;
    case device::FabricKind::fat_tree:
      return fabric::NetworkKind::fat_tree;
  }
  return fabric::NetworkKind::fat_tree;
}

int planes(const device::ClusterSpec& cluster) {
  switch (cluster.fabric.kind) {
    case device::FabricKind::multiplane_fat_tree:
      return cluster.fabric.planes;
    case device::FabricKind::rail_fat_tree:
      return cluster.node.nic.per_node;
    case device::FabricKind::fat_tree:
      return 1;
  }
  return 1;
}

/// The shipped fit of a generation's fabric, or the priors.
fabric::FabricParameters parameters_for(device::Generation generation) {
  const std::string name = "fabric_" + device::to_string(generation);
  const auto known = core::names_in(device::kFitFolder);
  if (std::find(known.begin(), known.end(), name) == known.end())
    return fabric::prior_parameters(generation);
  return fabric::fitted_parameters(generation, device::load_fit(name));
}

training::NetworkCost cost_of(core::Time time, core::Time lower, core::Time upper,
                              core::Grade grade, const std::map<fabric::LinkClass, double>& bytes) {
  const auto on = [&](fabric::LinkClass link) {
    const auto found = bytes.find(link);
    return found == bytes.end() ? 0.0 : found->second;
  };
  return {time, lower, upper, grade, on(fabric::LinkClass::nvlink), on(fabric::LinkClass::rdma)};
}

}  // namespace

fabric::TopologySpec topology_spec(const device::ClusterSpec& cluster) {
  const device::NodeSpec& node = cluster.node;
  const device::FabricSpec& fabric = cluster.fabric;
  return {.domains = cluster.domains,
          .gpus_per_domain = cluster.gpus_per_domain,
          .nvlink_rate = node.device.nvlink.rate,
          .nvlink_latency = node.device.nvlink.latency,
          .in_switch_reduction = node.nvlink_domain.in_switch_reduction,
          .gpus_per_nic = node.nic.gpus_per_nic,
          .nic_rate = node.nic.rate,
          .nic_efficiency = node.nic.efficiency,
          .nic_latency = node.nic.latency + node.nic.post_overhead + fabric.switch_latency +
                         2 * fabric.cable_latency,
          .nic_message_rate = node.nic.message_rate,
          .pcie_rate = node.host.pcie_rate,
          .pcie_latency = core::Time{1},  // the least; nic.latency counts from memory to memory
          .network = network_kind(cluster),
          .planes = planes(cluster),
          .leaf_radix = fabric.leaf_radix,
          .spine_radix = fabric.spine_radix,
          .oversubscription = fabric.oversubscription,
          .link_rate = fabric.link_rate,
          .link_efficiency = fabric.efficiency,
          .switch_latency = fabric.switch_latency + fabric.cable_latency};
}

FabricNetworkTimer::FabricNetworkTimer(const device::ClusterSpec& cluster,
                                       const training::TrainingJob& job)
    : job_(job),
      topology_(topology_spec(cluster)),
      parameters_(parameters_for(cluster.node.device.generation)),
      collectives_(topology_, parameters_),
      exchanges_(topology_, parameters_) {}

training::NetworkCost FabricNetworkTimer::exchange(const training::ExpertExchange& exchange) {
  const workload::MixtureOfExperts& moe = job_.architecture.moe;
  fabric::ExchangeRequest request;
  request.direction = exchange.direction == workload::Exchange::Direction::dispatch
                          ? fabric::ExchangeDirection::dispatch
                          : fabric::ExchangeDirection::combine;
  request.ranks = exchange.gpus;
  request.tokens = static_cast<double>(exchange.tokens_per_rank);
  request.hidden = static_cast<int>(exchange.hidden);
  request.type = exchange.type;
  request.sms = exchange.sms;
  request.routing.experts = static_cast<int>(moe.experts);
  request.routing.top_k = static_cast<int>(moe.top_k);
  request.routing.groups = static_cast<int>(moe.groups);
  request.routing.group_limit = static_cast<int>(job_.routing.node_limit);
  request.routing.seed = job_.routing.seed;
  if (job_.routing.kind != workload::RoutingSpec::Kind::uniform)
    request.routing.expert_load.assign(exchange.load->rows.begin(), exchange.load->rows.end());
  const fabric::ExchangeResult r = exchanges_.run(request);
  // A dispatch first exchanges how many tokens go where; a combine returns along known paths.
  const core::Time notify =
      exchange.direction == workload::Exchange::Direction::dispatch ? r.notify : core::Time{};
  return cost_of(r.time + notify, r.lower + notify, r.upper + notify, r.grade, r.bytes_per_rank);
}

training::NetworkCost FabricNetworkTimer::collective(fabric::CollectiveKind kind,
                                                     const std::vector<int>& gpus,
                                                     core::Bytes size) {
  fabric::CollectiveRequest request;
  request.kind = kind;
  request.ranks = gpus;
  request.bytes = size;
  const fabric::CollectiveResult r = collectives_.run(request);
  return cost_of(r.time, r.lower, r.upper, r.grade, r.bytes_per_rank);
}

training::NetworkCost FabricNetworkTimer::pipeline_send(int from_gpu, int to_gpu,
                                                        core::Bytes size) {
  return collective(fabric::CollectiveKind::send_receive, {from_gpu, to_gpu}, size);
}

training::NetworkCost FabricNetworkTimer::reduce_scatter(const std::vector<int>& gpus,
                                                         core::Bytes size) {
  return collective(fabric::CollectiveKind::reduce_scatter, gpus, size);
}

training::NetworkCost FabricNetworkTimer::all_gather(const std::vector<int>& gpus,
                                                     core::Bytes size) {
  return collective(fabric::CollectiveKind::all_gather, gpus, size);
}

}  // namespace tessera::app
