#include "models/fabric/flows.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <queue>

namespace tessera::fabric {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Ends closer than this are one event; half of Time's resolution.
constexpr double kSameInstant = 0.5e-12;  // s
/// Shares this close are one bottleneck: rounding must not split symmetric flows.
constexpr double kSameShare = 1e-9;

double efficiency_of(LinkClass link_class, const LinkEfficiency& efficiency) {
  switch (link_class) {
    case LinkClass::nvlink:
      return efficiency.nvlink;
    case LinkClass::pcie:
      return efficiency.pcie;
    case LinkClass::host:
      return efficiency.host;
    case LinkClass::rdma:
    case LinkClass::network:
    case LinkClass::wan:
      return efficiency.network;
  }
  return 1;
}

}  // namespace

FlowSimulation::FlowSimulation(const Topology& topology, LinkEfficiency efficiency)
    : topology_(topology) {
  resources_.reserve(topology.links().size());
  for (const Link& link : topology.links())
    resources_.push_back({link.rate.value() * efficiency_of(link.link_class, efficiency), {}});
}

int FlowSimulation::add_resource(double units_per_second) {
  assert(units_per_second > 0 && "a resource that does nothing blocks its flows for ever");
  resources_.push_back({units_per_second, {}});
  return static_cast<int>(resources_.size()) - 1;
}

Flow FlowSimulation::along(const Route& route, double bytes, double messages) {
  Flow flow;
  flow.bytes = bytes;
  flow.latency = route.latency;
  for (const int link : route.links) flow.demands.push_back({link, 1.0});
  const double message_rate = topology_.spec().nic_message_rate;
  if (messages <= 0 || message_rate <= 0 || bytes <= 0) return flow;
  const auto first = std::find_if(route.links.begin(), route.links.end(), [&](int link) {
    return topology_.links()[static_cast<std::size_t>(link)].link_class == LinkClass::rdma;
  });
  if (first == route.links.end()) return flow;
  auto queue = message_queues_.find(*first);
  if (queue == message_queues_.end())
    queue = message_queues_.emplace(*first, add_resource(message_rate)).first;
  flow.demands.push_back({queue->second, messages / bytes});
  return flow;
}

int FlowSimulation::class_of(const Flow& flow) {
  const auto [entry, is_new] =
      class_index_.emplace(flow.demands, static_cast<int>(classes_.size()));
  if (is_new) {
    classes_.push_back({flow.demands, 0, 0, 0, {}});
    for (const Demand& demand : flow.demands)
      resources_[static_cast<std::size_t>(demand.resource)].classes.push_back(entry->second);
  }
  return entry->second;
}

int FlowSimulation::add(Flow flow) {
  assert(flow.bytes >= 0 && flow.count > 0 && "a flow moves bytes");
  for ([[maybe_unused]] const int id : flow.after)
    assert(id >= 0 && id < static_cast<int>(flows_.size()) && "predecessors are added first");
  flow_class_.push_back(class_of(flow));
  flows_.push_back(std::move(flow));
  return static_cast<int>(flows_.size()) - 1;
}

void FlowSimulation::fill(const std::vector<int>& classes, const std::vector<int>& resources) {
  for (const int r : resources) {
    left_[static_cast<std::size_t>(r)] = resources_[static_cast<std::size_t>(r)].capacity;
    load_[static_cast<std::size_t>(r)] = 0;
  }
  std::vector<int> open;
  for (const int c : classes) {
    PathClass& path = classes_[static_cast<std::size_t>(c)];
    path.rate = 0;
    if (path.active <= 0) continue;
    open.push_back(c);
    for (const Demand& d : path.demands)
      load_[static_cast<std::size_t>(d.resource)] += path.active * d.units_per_byte;
  }
  while (!open.empty()) {
    double share = kInfinity;
    for (const int r : resources)
      if (load_[static_cast<std::size_t>(r)] > 0)
        share = std::min(share,
                         left_[static_cast<std::size_t>(r)] / load_[static_cast<std::size_t>(r)]);
    const auto is_bottleneck = [&](const Demand& d) {
      const auto r = static_cast<std::size_t>(d.resource);
      return left_[r] <= share * load_[r] * (1 + kSameShare);
    };
    // Decide for all before taking anything away, so that equal classes freeze together.
    const auto still_open = std::stable_partition(open.begin(), open.end(), [&](int c) {
      const auto& demands = classes_[static_cast<std::size_t>(c)].demands;
      return std::none_of(demands.begin(), demands.end(), is_bottleneck);
    });
    for (auto frozen = still_open; frozen != open.end(); ++frozen) {
      PathClass& path = classes_[static_cast<std::size_t>(*frozen)];
      path.rate = share;
      for (const Demand& d : path.demands) {
        const auto r = static_cast<std::size_t>(d.resource);
        left_[r] = std::max(0.0, left_[r] - path.active * d.units_per_byte * share);
        load_[r] -= path.active * d.units_per_byte;
        if (load_[r] < kSameShare * d.units_per_byte) load_[r] = 0;
      }
    }
    assert(still_open != open.end() && "each round freezes the classes of its bottleneck");
    open.erase(still_open, open.end());
  }
}

void FlowSimulation::refill(const std::vector<int>& changed) {
  ++recomputations_;
  // Classes that share no resource with a changed one, directly or through others, keep their rate.
  std::vector<int> classes, resources;
  const auto mark = [&](int c) {
    if (class_marked_[static_cast<std::size_t>(c)]) return;
    class_marked_[static_cast<std::size_t>(c)] = 1;
    classes.push_back(c);
  };
  for (const int c : changed) mark(c);
  for (std::size_t next = 0; next < classes.size(); ++next)
    for (const Demand& d : classes_[static_cast<std::size_t>(classes[next])].demands) {
      if (resource_marked_[static_cast<std::size_t>(d.resource)]) continue;
      resource_marked_[static_cast<std::size_t>(d.resource)] = 1;
      resources.push_back(d.resource);
      for (const int c : resources_[static_cast<std::size_t>(d.resource)].classes)
        if (classes_[static_cast<std::size_t>(c)].active > 0) mark(c);
    }
  fill(classes, resources);
  for (const int c : classes) class_marked_[static_cast<std::size_t>(c)] = 0;
  for (const int r : resources) resource_marked_[static_cast<std::size_t>(r)] = 0;
}

void FlowSimulation::begin(int flow, std::vector<int>& changed) {
  const int c = flow_class_[static_cast<std::size_t>(flow)];
  PathClass& path = classes_[static_cast<std::size_t>(c)];
  path.active += flows_[static_cast<std::size_t>(flow)].count;
  path.waiting.emplace_back(path.served + flows_[static_cast<std::size_t>(flow)].bytes, flow);
  std::push_heap(path.waiting.begin(), path.waiting.end(), std::greater<>{});
  changed.push_back(c);
}

void FlowSimulation::finish_due(std::vector<int>& changed, std::vector<int>& finished) {
  for (std::size_t c = 0; c < classes_.size(); ++c) {
    PathClass& path = classes_[c];
    bool any = false;
    while (!path.waiting.empty() &&
           path.waiting.front().first - path.served <= path.rate * kSameInstant) {
      const int flow = path.waiting.front().second;
      std::pop_heap(path.waiting.begin(), path.waiting.end(), std::greater<>{});
      path.waiting.pop_back();
      path.active -= flows_[static_cast<std::size_t>(flow)].count;
      finished.push_back(flow);
      any = true;
    }
    if (path.waiting.empty()) path.served = 0;  // keeps sums small, hence exact
    if (any) changed.push_back(static_cast<int>(c));
  }
  std::sort(finished.begin(), finished.end());
}

std::vector<double> FlowSimulation::steady_rates() {
  load_.assign(resources_.size(), 0);
  left_.assign(resources_.size(), 0);
  std::vector<int> classes, resources;
  for (std::size_t f = 0; f < flows_.size(); ++f)
    classes_[static_cast<std::size_t>(flow_class_[f])].active += flows_[f].count;
  for (std::size_t c = 0; c < classes_.size(); ++c)
    if (!classes_[c].demands.empty()) classes.push_back(static_cast<int>(c));
  for (std::size_t r = 0; r < resources_.size(); ++r)
    if (!resources_[r].classes.empty()) resources.push_back(static_cast<int>(r));
  fill(classes, resources);
  std::vector<double> rates;
  for (const int c : flow_class_) {
    const PathClass& path = classes_[static_cast<std::size_t>(c)];
    rates.push_back(path.demands.empty() ? kInfinity : path.rate);
  }
  for (PathClass& path : classes_) path.active = path.rate = 0;
  return rates;
}

std::vector<Time> FlowSimulation::run() {
  load_.assign(resources_.size(), 0);
  left_.assign(resources_.size(), 0);
  class_marked_.assign(classes_.size(), 0);
  resource_marked_.assign(resources_.size(), 0);
  std::vector<Time> arrival(flows_.size(), Time{0});
  std::vector<int> missing(flows_.size(), 0);
  std::vector<std::vector<int>> followers(flows_.size());
  using Start = std::pair<double, int>;  // seconds, flow
  std::priority_queue<Start, std::vector<Start>, std::greater<>> starts;
  for (std::size_t f = 0; f < flows_.size(); ++f) {
    missing[f] = static_cast<int>(flows_[f].after.size());
    for (const int id : flows_[f].after)
      followers[static_cast<std::size_t>(id)].push_back(static_cast<int>(f));
    if (missing[f] == 0)
      starts.emplace(core::to_seconds(flows_[f].start).value(), static_cast<int>(f));
  }
  double now = 0;
  const auto arrive = [&](int flow) {
    const auto f = static_cast<std::size_t>(flow);
    const double at = now + core::to_seconds(flows_[f].latency).value();
    arrival[f] = core::to_time(Seconds{at});
    for (const int next : followers[f]) {
      const auto n = static_cast<std::size_t>(next);
      // Predecessors may arrive after later ones were sent: the start is the latest of all.
      flows_[n].start = std::max(flows_[n].start, arrival[f]);
      if (--missing[n] == 0)
        starts.emplace(std::max(at, core::to_seconds(flows_[n].start).value()), next);
    }
  };
  std::vector<int> changed, finished;
  for (;;) {
    double until_end = kInfinity;
    for (const PathClass& path : classes_)
      if (!path.waiting.empty() && path.rate > 0)
        until_end = std::min(until_end, (path.waiting.front().first - path.served) / path.rate);
    const double until_start = starts.empty() ? kInfinity : starts.top().first - now;
    const double step = std::max(0.0, std::min(until_end, until_start));
    if (step == kInfinity) break;
    for (PathClass& path : classes_)
      if (!path.waiting.empty()) path.served += path.rate * step;
    now += step;
    changed.clear();
    finished.clear();
    if (until_end <= until_start + kSameInstant) finish_due(changed, finished);
    for (const int flow : finished) arrive(flow);
    while (!starts.empty() && starts.top().first <= now + kSameInstant) {
      const int flow = starts.top().second;
      starts.pop();
      const auto f = static_cast<std::size_t>(flow);
      if (flows_[f].demands.empty() || flows_[f].bytes == 0)
        arrive(flow);
      else
        begin(flow, changed);
    }
    if (!changed.empty()) refill(changed);
  }
  return arrival;
}

}  // namespace tessera::fabric
