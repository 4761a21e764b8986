#include "models/fabric/expert_exchange.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

/// A low-latency message carries the source's index besides the token (DeepEP, 16 bytes).
constexpr double kLowLatencyHeader = 16;

/// CTAs of a low-latency kernel (DeepEP csrc/kernels/internode_ll.cu): warps of one CTA share out
/// experts, so many to each that `sms` CTAs serve all; tokens take turns on the CTAs.
double low_latency_ctas(int experts, int sms) {
  const double experts_of_cta = std::ceil(static_cast<double>(experts) / sms);
  return std::ceil(experts / experts_of_cta);
}

/// Half-width of the 90 % interval of a post's time, relative: the mix of rows that it was read
/// from is not known.
constexpr double kPostSpread = 1.0;  // assumed

/// Never more than the exchange takes.
void set_sending(ExchangeResult& result, double seconds, double spread) {
  const auto within = [&](double s) { return std::min(core::to_time(Seconds{s}), result.time); };
  result.sending = within(seconds);
  result.sending_lower = within(seconds / (1 + spread));
  result.sending_upper = within(seconds * (1 + spread));
}

double smooth_maximum(const std::vector<double>& values, double sharpness) {
  const double largest = *std::max_element(values.begin(), values.end());
  if (largest <= 0) return 0;
  double sum = 0;
  for (const double v : values) sum += std::pow(v / largest, sharpness);
  return largest * std::pow(sum, 1 / sharpness);
}

std::string binding_of(const ExchangeDemand& demand, double total_us) {
  const double largest = std::max({demand.sms, demand.nvlink, demand.network});
  if (largest * 1e6 < total_us / 2) return "latency";
  if (largest == demand.network) return to_string(LinkClass::rdma);
  return largest == demand.nvlink ? to_string(LinkClass::nvlink) : "sms";
}

}  // namespace

double token_bytes(int hidden, core::DataType type) {
  return hidden * (core::activation_bits(type) / 8.0 + core::activation_scale_bytes(type));
}

ExchangeModel::ExchangeModel(const Topology& topology, const FabricParameters& parameters)
    : topology_(topology), parameters_(parameters) {}

ExchangeModel::Slots ExchangeModel::slots_of(const std::vector<int>& ranks) const {
  Slots slots{{}, {}, 0, 0};
  std::map<int, int> domain_index;
  std::map<int, int> used;
  for (const int rank : ranks) {
    if (rank < 0 || rank >= topology_.gpus())
      throw core::Refusal(
          core::RefusalKind::illegal_combination,
          fmt::format("rank {} is not one of the cluster's {} GPUs", rank, topology_.gpus()));
    const int index =
        domain_index.emplace(topology_.domain_of(rank), static_cast<int>(domain_index.size()))
            .first->second;
    slots.domain.push_back(index);
    slots.slot.push_back(used[index]++);
  }
  slots.domains = static_cast<int>(domain_index.size());
  slots.per_domain = slots.domains == 0 ? 0 : static_cast<int>(ranks.size()) / slots.domains;
  for (const auto& [domain, count] : used)
    if (count != slots.per_domain)
      throw core::Refusal(
          core::RefusalKind::illegal_combination,
          "an expert-parallel group must take equally many GPUs of every NVLink domain");
  return slots;
}

const TokenReach& ExchangeModel::reach_of(const ExchangeRequest& request, const Slots& slots) {
  if (request.reach) {
    if (request.reach->rank_probability.size() != slots.domain.size() ||
        request.reach->domain_probability.size() != static_cast<std::size_t>(slots.domains))
      throw core::Refusal(core::RefusalKind::illegal_combination,
                          "the reach of the tokens is of other ranks or domains");
    return *request.reach;
  }
  // Dear to sample, and the same on every cluster with such domains: models of one process share
  // it.
  static std::mutex mutex;
  static std::map<std::pair<TokenRouting, std::vector<int>>, TokenReach> known;
  const std::lock_guard lock(mutex);
  const auto key = std::pair{request.routing, slots.domain};
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  return known.emplace(key, reach_of_tokens(request.routing, slots.domain)).first->second;
}

ExchangeModel::Rows ExchangeModel::count_rows(const ExchangeRequest& request, const Slots& slots,
                                              const TokenReach& reach) const {
  const double tokens = request.tokens;
  const double domains = slots.domains;
  Rows rows;
  std::vector<double> in_domain(static_cast<std::size_t>(slots.domains), 0);
  for (std::size_t r = 0; r < slots.domain.size(); ++r)
    in_domain[static_cast<std::size_t>(slots.domain[r])] += reach.rank_probability[r];
  rows.copied_to_nvlink = tokens * reach.ranks();
  rows.copied_to_rdma = tokens * reach.domains();
  // GPUs that post to one NIC add up; the busiest NIC of a domain serves this many of its ranks.
  std::map<int, int> ranks_of_nic;
  for (const int rank : request.ranks) ++ranks_of_nic[topology_.nic_of(rank)];
  for (std::size_t r = 0; r < slots.domain.size(); ++r) {
    const auto d = static_cast<std::size_t>(slots.domain[r]);
    const double hit = reach.rank_probability[r];
    // Every source's rows for this domain pass the GPU of the source's slot, which sends them on.
    const double sent = domains * tokens * (in_domain[d] - hit);
    const double got = (slots.per_domain - 1) * domains * tokens * hit;
    const double ranks = static_cast<double>(slots.domain.size());
    rows.nvlink = std::max({rows.nvlink, sent, got});
    rows.mean_nvlink += std::max(sent, got) / ranks;
    rows.forwarded = std::max(rows.forwarded, domains * tokens * in_domain[d]);
    rows.received =
        std::max(rows.received, static_cast<double>(slots.domain.size()) * tokens * hit);
    const double away = tokens * (reach.domains() - reach.domain_probability[d]);
    const double here = (domains - 1) * tokens * reach.domain_probability[d];
    const double sharing = ranks_of_nic[topology_.nic_of(request.ranks[r])];
    rows.network = std::max(rows.network, sharing * std::max(away, here));
    rows.mean_network += sharing * std::max(away, here) / ranks;
  }
  return rows;
}

void ExchangeModel::finish(ExchangeResult& result, double microseconds, double spread,
                           bool crosses) const {
  result.time = core::to_time(Seconds{microseconds * 1e-6});
  result.lower = core::to_time(Seconds{microseconds * 1e-6 / (1 + spread)});
  result.upper = core::to_time(Seconds{microseconds * 1e-6 * (1 + spread)});
  result.grade = crosses ? parameters_.network_exchange_grade : parameters_.exchange_grade;
  result.binding = binding_of(result.demand, microseconds);
}

ExchangeResult ExchangeModel::run(const ExchangeRequest& request) {
  const Slots slots = slots_of(request.ranks);
  if (request.sms <= 0 || request.hidden <= 0 || request.tokens < 0 || slots.domains == 0)
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        "an exchange needs ranks, SMs, and rows with elements");
  if (slots.domains > 1 && topology_.spec().network == NetworkKind::none)
    throw core::Refusal(core::RefusalKind::illegal_combination, "no network joins the domains");
  if (slots.per_domain > 1 &&
      !topology_.joined_by_nvlink({request.ranks.front(), request.ranks[1]}))
    throw core::Refusal(core::RefusalKind::outside_model,
                        "expert exchange among GPUs that NVLink does not join");
  const TokenReach& reached = reach_of(request, slots);
  if (request.kind == ExchangeKind::low_latency) return run_low_latency(request, slots, reached);

  const bool crosses = slots.domains > 1;
  const ExchangeCost& cost =
      request.direction == ExchangeDirection::dispatch ? parameters_.dispatch : parameters_.combine;
  const double spread = request.direction == ExchangeDirection::dispatch
                            ? parameters_.spread.dispatch
                            : parameters_.spread.combine;
  const TopologySpec& spec = topology_.spec();
  const Rows rows = count_rows(request, slots, reached);
  const double bytes = token_bytes(request.hidden, request.type);
  ExchangeResult result;
  const double copied =
      crosses ? rows.copied_to_rdma * bytes / cost.rdma_sm_rate +
                    std::max(rows.forwarded, rows.received) * bytes / cost.forward_sm_rate
              : std::max(rows.copied_to_nvlink, rows.received) * bytes / cost.nvlink_sm_rate;
  const double own = request.tokens * (bytes / cost.token_sm_rate + cost.token_sm_ns * 1e-9);
  const double sending = request.tokens * reached.ranks() * cost.copy_sm_ns * 1e-9;
  result.demand.sms = (copied + own + sending) / request.sms;
  if (slots.per_domain > 1)
    result.demand.nvlink = rows.nvlink * bytes /
                           (spec.nvlink_rate.value() * cost.nvlink_fraction * request.nvlink_share);
  if (crosses)
    result.demand.network = rows.network * bytes /
                            (spec.nic_rate.value() * spec.nic_efficiency * cost.network_fraction *
                             request.network_share);
  const double work_us =
      1e6 * smooth_maximum({result.demand.sms, result.demand.nvlink, result.demand.network},
                           crosses ? cost.network_sharpness : cost.sharpness);
  double latency_us = cost.base_us + cost.row_latency_us * bytes / 1000;
  if (crosses) latency_us += cost.network_base_us + cost.node_us * std::log2(slots.domains / 2.0);
  const double ramp_us = work_us > 0 ? cost.ramp_us * work_us / (cost.ramp_us + work_us) : 0;
  finish(result, latency_us + work_us + ramp_us, spread, crosses);
  result.notify =
      core::to_time(Seconds{(cost.notify_us + (crosses ? cost.network_notify_us : 0)) * 1e-6});

  result.ranks_reached = reached.ranks();
  result.domains_reached = reached.domains();
  const double mean_rows = request.tokens * reached.ranks();
  if (mean_rows > 0) result.hottest_rank = rows.received / mean_rows;
  const double own_domain = 1.0 / slots.domains;
  const double own_rank = 1.0 / static_cast<double>(request.ranks.size());
  result.bytes_per_rank[LinkClass::nvlink] =
      request.tokens * bytes * reached.ranks() * (1 - own_rank * slots.domains);
  if (crosses)
    result.bytes_per_rank[LinkClass::rdma] =
        request.tokens * bytes * reached.domains() * (1 - own_domain);
  if (slots.per_domain > 1)
    result.links[LinkClass::nvlink] = {rows.nvlink * bytes, rows.mean_nvlink * bytes};
  if (crosses) result.links[LinkClass::rdma] = {rows.network * bytes, rows.mean_network * bytes};
  const double seconds = core::to_seconds(result.time).value();
  result.counted_nvlink_bandwidth = mean_rows * bytes / seconds;
  if (crosses) result.counted_rdma_bandwidth = request.tokens * reached.domains() * bytes / seconds;
  return result;
}

ExchangeResult ExchangeModel::run_low_latency(const ExchangeRequest& request, const Slots& slots,
                                              const TokenReach& reached) const {
  const bool crosses = slots.domains > 1;
  const LowLatencyCost& cost = request.direction == ExchangeDirection::dispatch
                                   ? parameters_.low_latency_dispatch
                                   : parameters_.low_latency_combine;
  const TopologySpec& spec = topology_.spec();
  const double row = token_bytes(request.hidden, request.type) + kLowLatencyHeader;
  const double ranks = static_cast<double>(request.ranks.size());
  const double hottest = *std::max_element(reached.copies.begin(), reached.copies.end());
  // The busiest receiver sets the pace; with equal loads every sender is as busy.
  const double received = request.tokens * ranks * hottest * row;
  const double in_domain = received * (slots.per_domain - 1) / ranks;
  const double away = received * (ranks - slots.per_domain) / ranks;
  ExchangeResult result;
  result.demand.nvlink =
      in_domain / (spec.nvlink_rate.value() * cost.nvlink_fraction * request.nvlink_share);
  if (crosses)
    result.demand.network = away * spec.gpus_per_nic /
                            (spec.nic_rate.value() * spec.nic_efficiency * cost.network_fraction *
                             request.network_share);
  result.demand.sms = request.tokens * cost.token_us * 1e-6 /
                      low_latency_ctas(request.routing.experts, request.sms);
  // SMs prepare a token while others are on the wire, but the last one's wire time is its own.
  const double work_us =
      1e6 * std::hypot(result.demand.sms, std::max(result.demand.nvlink, result.demand.network));
  const double counters_us = request.routing.experts * cost.expert_ns * 1e-3;
  double latency_us = cost.base_us + counters_us + cost.row_latency_us * row / 1000;
  if (crosses) latency_us += cost.network_base_us + cost.node_us * std::log2(slots.domains / 2.0);
  finish(result, latency_us + work_us, parameters_.spread.low_latency, crosses);
  const double per_token = std::accumulate(reached.copies.begin(), reached.copies.end(), 0.0);
  const double posts =
      request.tokens * per_token * (ranks - slots.per_domain) / ranks * cost.post_ns * 1e-9;
  set_sending(result, std::max(result.demand.nvlink, posts) + counters_us * 1e-6,
              posts > result.demand.nvlink ? kPostSpread : parameters_.spread.low_latency);
  result.ranks_reached = reached.ranks();
  result.domains_reached = reached.domains();
  result.hottest_rank = hottest * ranks / per_token;
  const double sent = request.tokens * per_token * row;
  if (slots.per_domain > 1)
    result.links[LinkClass::nvlink] = {in_domain, in_domain / result.hottest_rank};
  if (crosses)
    result.links[LinkClass::rdma] = {away * spec.gpus_per_nic,
                                     away * spec.gpus_per_nic / result.hottest_rank};
  result.bytes_per_rank[LinkClass::nvlink] = sent * (slots.per_domain - 1) / ranks;
  if (crosses) result.bytes_per_rank[LinkClass::rdma] = sent * (ranks - slots.per_domain) / ranks;
  const double seconds = core::to_seconds(result.time).value();
  (crosses ? result.counted_rdma_bandwidth : result.counted_nvlink_bandwidth) = sent / seconds;
  return result;
}

Time ExchangeModel::simulate_wires(const ExchangeRequest& request) {
  const Slots slots = slots_of(request.ranks);
  const TokenReach& reached = reach_of(request, slots);
  const ExchangeCost& cost =
      request.direction == ExchangeDirection::dispatch ? parameters_.dispatch : parameters_.combine;
  FlowSimulation flows{topology_,
                       {cost.nvlink_fraction * request.nvlink_share, 1.0,
                        cost.network_fraction * request.network_share}};
  const double row = token_bytes(request.hidden, request.type);
  const std::size_t ranks = request.ranks.size();
  const auto at = [&](int domain, int slot) {
    for (std::size_t r = 0; r < ranks; ++r)
      if (slots.domain[r] == domain && slots.slot[r] == slot) return r;
    return ranks;
  };
  const auto send = [&](std::size_t from, std::size_t to, double rows) {
    if (from == to || rows <= 0) return;
    // Combine is dispatch backwards.
    if (request.direction == ExchangeDirection::combine) std::swap(from, to);
    Flow flow =
        flows.along(topology_.route(request.ranks[from], request.ranks[to]), rows * row, rows);
    flow.latency = Time{0};
    flows.add(std::move(flow));
  };
  for (std::size_t source = 0; source < ranks; ++source)
    for (int domain = 0; domain < slots.domains; ++domain) {
      const std::size_t relay = at(domain, slots.slot[source]);
      send(source, relay,
           request.tokens * reached.domain_probability[static_cast<std::size_t>(domain)]);
      for (std::size_t target = 0; target < ranks; ++target)
        if (slots.domain[target] == domain)
          send(relay, target, request.tokens * reached.rank_probability[target]);
    }
  const std::vector<Time> arrivals = flows.run();
  return arrivals.empty() ? Time{0} : *std::max_element(arrivals.begin(), arrivals.end());
}

}  // namespace tessera::fabric
