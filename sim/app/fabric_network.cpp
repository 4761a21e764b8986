#include "sim/app/fabric_network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>

#include "sim/app/routed_reach.hpp"

namespace tessera::app {
namespace {

streams::NetworkCost cost_of(core::Time time, core::Time lower, core::Time upper, core::Grade grade,
                             const std::map<fabric::LinkClass, double>& bytes) {
  const auto on = [&](fabric::LinkClass link) {
    const auto found = bytes.find(link);
    return found == bytes.end() ? 0.0 : found->second;
  };
  return {time, lower, upper, grade, on(fabric::LinkClass::nvlink), on(fabric::LinkClass::rdma)};
}

}  // namespace

const fabric::FabricParameters& fabric_parameters(const device::DeviceSpec& device) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, device::Generation>, fabric::FabricParameters> known;
  const std::lock_guard lock(mutex);
  const std::pair key{device.name, device.generation};
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known.emplace(key, fabric::load_parameters(device)).first->second;
}

FabricNetworkTimer::FabricNetworkTimer(const device::ClusterSpec& cluster,
                                       const workload::MixtureOfExperts& moe,
                                       const workload::RoutingSpec& routing,
                                       fabric::Folding folding)
    : FabricNetworkTimer(cluster, moe, routing, folding, fabric_parameters(cluster.node.device)) {}

FabricNetworkTimer::FabricNetworkTimer(const device::ClusterSpec& cluster,
                                       const workload::MixtureOfExperts& moe,
                                       const workload::RoutingSpec& routing,
                                       fabric::Folding folding, fabric::FabricParameters parameters)
    : moe_(moe),
      routing_(routing),
      folding_(folding),
      topology_(fabric::topology_of(cluster)),
      parameters_(std::move(parameters)),
      collectives_(topology_, parameters_, folding),
      exchanges_(topology_, parameters_),
      direct_(topology_, parameters_,
              cluster.node.device.hbm.peak_rate * cluster.node.device.hbm.reachable) {}

std::string FabricNetworkTimer::folding_note() const {
  if (topology_.spec().network == fabric::NetworkKind::none) return "";
  const std::string asymmetry = topology_.asymmetry();
  if (folding_ == fabric::Folding::none) return "Network traffic of every GPU is routed.";
  if (!asymmetry.empty())
    return fmt::format("Network traffic of every GPU is routed, since {}.", asymmetry);
  return "Network traffic is folded: paths are adaptive, no switch is oversubscribed and no link "
         "faulty, so two domains stand for a group's; --unfold routes every GPU's.";
}

streams::NetworkCost FabricNetworkTimer::exchange(const streams::ExpertExchange& exchange) {
  fabric::ExchangeRequest request;
  request.direction = exchange.direction == workload::Exchange::Direction::dispatch
                          ? fabric::ExchangeDirection::dispatch
                          : fabric::ExchangeDirection::combine;
  if (exchange.low_latency) request.kind = fabric::ExchangeKind::low_latency;
  request.ranks = exchange.gpus;
  request.tokens = static_cast<double>(exchange.tokens_per_rank);
  request.hidden = static_cast<int>(exchange.hidden);
  request.type = exchange.type;
  request.sms = exchange.sms;
  request.routing.experts = static_cast<int>(moe_.experts);
  request.routing.top_k = static_cast<int>(moe_.top_k);
  request.routing.groups = static_cast<int>(moe_.groups);
  request.routing.group_limit = static_cast<int>(routing_.node_limit);
  request.routing.seed = routing_.seed;
  if (exchange.load->placed) {
    request.routing.experts = static_cast<int>(exchange.load->rows.size());
    request.reach = reach_of(*exchange.load, topology_, exchange.gpus);
  } else if (routing_.kind != workload::RoutingSpec::Kind::uniform) {
    request.routing.expert_load.assign(exchange.load->rows.begin(), exchange.load->rows.end());
  }
  const bool crosses = std::any_of(exchange.gpus.begin(), exchange.gpus.end(), [&](int gpu) {
    return topology_.domain_of(gpu) != topology_.domain_of(exchange.gpus.front());
  });
  if (crosses) request.network_share = collectives_.network_share(exchange.gpus);
  const fabric::ExchangeResult r = exchanges_.run(request);
  // A dispatch first exchanges how many tokens go where; a combine returns along known paths.
  // Low-latency buffers hold the most that may come, so that nothing is asked first.
  const bool asks = exchange.direction == workload::Exchange::Direction::dispatch;
  const core::Time notify = asks && !exchange.low_latency ? r.notify : core::Time{};
  streams::NetworkCost cost =
      cost_of(r.time + notify, r.lower + notify, r.upper + notify, r.grade, r.bytes_per_rank);
  cost.sending = r.sending;
  cost.sending_lower = r.sending_lower;
  cost.sending_upper = r.sending_upper;
  return cost;
}

streams::NetworkCost FabricNetworkTimer::collective(fabric::CollectiveKind kind,
                                                    const std::vector<int>& gpus,
                                                    core::Bytes size) {
  fabric::CollectiveRequest request;
  request.kind = kind;
  request.ranks = gpus;
  request.bytes = size;
  request.tiled = true;
  const fabric::CollectiveResult r = collectives_.run(request);
  streams::NetworkCost cost = cost_of(r.time, r.lower, r.upper, r.grade, r.bytes_per_rank);
  cost.sms = r.channels;
  cost.hbm_bytes = r.hbm_bytes_per_rank;
  return cost;
}

streams::NetworkCost FabricNetworkTimer::send(int from_gpu, int to_gpu, core::Bytes size) {
  return collective(fabric::CollectiveKind::send_receive, {from_gpu, to_gpu}, size);
}

streams::NetworkCost FabricNetworkTimer::ring_shift(const std::vector<int>& gpus,
                                                    core::Bytes size) {
  return collective(fabric::CollectiveKind::ring_shift, gpus, size);
}

streams::NetworkCost FabricNetworkTimer::all_reduce(const std::vector<int>& gpus,
                                                    core::Bytes size) {
  return collective(fabric::CollectiveKind::all_reduce, gpus, size);
}

streams::NetworkCost FabricNetworkTimer::all_reduce_by(fabric::ReduceLibrary library,
                                                       const std::vector<int>& gpus,
                                                       core::Bytes size) {
  // The libraries' own kernels stay inside a domain.
  if (gpus.size() < 2 || !topology_.joined_by_nvlink(gpus)) return all_reduce(gpus, size);
  const fabric::DirectReduceResult r = direct_.run({library, gpus, size});
  if (r.method == fabric::ReduceMethod::nccl) return all_reduce(gpus, size);
  const auto n = static_cast<double>(gpus.size());
  const double bytes = 2 * static_cast<double>(size.value()) * (n - 1) / n;
  return {r.time, r.lower, r.upper, r.grade, bytes, 0};
}

streams::NetworkCost FabricNetworkTimer::reduce_scatter(const std::vector<int>& gpus,
                                                        core::Bytes size) {
  return collective(fabric::CollectiveKind::reduce_scatter, gpus, size);
}

streams::NetworkCost FabricNetworkTimer::all_gather(const std::vector<int>& gpus,
                                                    core::Bytes size) {
  return collective(fabric::CollectiveKind::all_gather, gpus, size);
}

streams::NetworkCost FabricNetworkTimer::all_to_all(const std::vector<int>& gpus,
                                                    core::Bytes size) {
  return collective(fabric::CollectiveKind::all_to_all, gpus, size);
}

}  // namespace tessera::app
