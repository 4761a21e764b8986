#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/fabric/wiring.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

using VertexId = Topology::VertexId;

[[noreturn]] void refuse(const std::string& reason) {
  throw core::Refusal(core::RefusalKind::outside_model, reason);
}

int divide_up(int a, int b) { return (a + b - 1) / b; }

/// Ports of a switch that go down when the ports down are `oversubscription` times those up.
int down_ports(int radix, double oversubscription) {
  return std::max(1, static_cast<int>(radix * (1 - 1 / (1 + oversubscription))));
}

/// Builds one site's network, or the whole one.
class NetworkBuilder {
 public:
  NetworkBuilder(const TopologySpec& spec, Wiring& wiring, std::vector<int>& nic_leaf)
      : spec_(spec),
        wiring_(wiring),
        nic_leaf_(nic_leaf),
        cable_(spec.link_rate * spec.link_efficiency),
        down_(down_ports(spec.leaf_radix, spec.oversubscription)) {}

  /// Joins these NICs and returns the switches of the uppermost layer.
  std::vector<VertexId> build(const std::vector<VertexId>& nics) {
    switch (spec_.network) {
      case NetworkKind::none:
        return {};
      case NetworkKind::dragonfly:
        return dragonfly(nics);
      case NetworkKind::fat_tree:
        if (const int whole = nics_per_domain(); down_ > whole) down_ -= down_ % whole;
        return tree(leaves_over(nics, -1), -1, 1);
      case NetworkKind::multi_plane:
        return planes(nics);
      case NetworkKind::rail_optimised:
        return rails(nics);
    }
    return {};
  }

 private:
  int next(VertexKind kind) { return wiring_.counts()[kind]; }
  [[nodiscard]] bool adaptive() const { return spec_.routing == Routing::adaptive; }
  [[nodiscard]] const Vertex& vertex(VertexId v) { return wiring_.graph()[v]; }

  [[nodiscard]] int nics_per_domain() const {
    return divide_up(spec_.gpus_per_domain, spec_.gpus_per_nic);
  }

  void attach(VertexId nic, VertexId leaf) {
    const bool works =
        wiring_.connect(nic, leaf, LinkClass::rdma, spec_.nic_rate * spec_.nic_efficiency,
                        Time{spec_.nic_latency.value() / 2});  // half a side
    nic_leaf_[static_cast<std::size_t>(vertex(nic).index)] = works ? vertex(leaf).index : -1;
  }

  /// Fills leaves with NICs in order.
  std::vector<VertexId> leaves_over(const std::vector<VertexId>& nics, int plane) {
    std::vector<VertexId> leaves;
    for (std::size_t n = 0; n < nics.size(); ++n) {
      if (n % static_cast<std::size_t>(down_) == 0)
        leaves.push_back(wiring_.add({VertexKind::leaf, next(VertexKind::leaf), -1, plane}));
      attach(nics[n], leaves.back());
    }
    return leaves;
  }

  /// NICs by the plane or rail that they belong to.
  std::map<int, std::vector<VertexId>> by_plane(const std::vector<VertexId>& nics) {
    std::map<int, std::vector<VertexId>> planes;
    for (const VertexId nic : nics) planes[vertex(nic).plane].push_back(nic);
    return planes;
  }

  std::vector<VertexId> planes(const std::vector<VertexId>& nics) {
    std::vector<VertexId> tops;
    for (const auto& [plane, members] : by_plane(nics))
      for (const VertexId top : tree(leaves_over(members, plane), plane, 1)) tops.push_back(top);
    return tops;
  }

  std::vector<VertexId> rails(const std::vector<VertexId>& nics) {
    // Leaves of all rails over the same domains stand together, as they share a pod.
    std::vector<std::vector<VertexId>> by_rail;
    for (const auto& [rail, members] : by_plane(nics))
      by_rail.push_back(leaves_over(members, rail));
    std::vector<VertexId> leaves;
    for (std::size_t unit = 0; !by_rail.empty() && unit < by_rail.front().size(); ++unit)
      for (const auto& rail : by_rail)
        if (unit < rail.size()) leaves.push_back(rail[unit]);
    return tree(leaves, -1, static_cast<int>(by_rail.size()));
  }

  /// Two layers where spines have ports for all leaves, else pods of them under cores. Leaves of a
  /// unit go into one pod.
  std::vector<VertexId> tree(const std::vector<VertexId>& leaves, int plane, int unit) {
    const int count = static_cast<int>(leaves.size());
    if (count < 2) return leaves;
    const int up = std::max(1, static_cast<int>(std::ceil(down_ / spec_.oversubscription)));
    if (count <= spec_.spine_radix) return spines(leaves, plane, up, spec_.spine_radix);
    const int spine_down = down_ports(spec_.spine_radix, spec_.core_oversubscription);
    const int per_pod = unit < spine_down ? spine_down / unit * unit : spine_down;
    std::vector<std::vector<VertexId>> pods;
    for (int first = 0; first < count; first += per_pod) {
      const auto begin = leaves.begin() + first;
      pods.push_back(
          spines({begin, begin + std::min(per_pod, count - first)}, plane, up, spine_down));
    }
    return cores(pods, plane, std::max(1, spec_.spine_radix - spine_down));
  }

  /// Joins leaves, `up` cables each, by spines of `ports` ports down.
  std::vector<VertexId> spines(const std::vector<VertexId>& leaves, int plane, int up, int ports) {
    const int count = std::clamp(divide_up(static_cast<int>(leaves.size()) * up, ports), 1, up);
    const double each = static_cast<double>(up) / count;  // several to one spine: one fat link
    const int first = next(VertexKind::spine);
    std::vector<VertexId> tops;
    const auto cable = [&](VertexId leaf, int spine) {
      return Cables{
          {VertexKind::leaf, vertex(leaf).index}, {VertexKind::spine, first + spine}, each};
    };
    if (adaptive()) {
      tops.push_back(wiring_.add({VertexKind::spine, first, -1, plane, count}));
      for (const VertexId leaf : leaves) {
        std::vector<Cables> bundle;
        for (int spine = 0; spine < count; ++spine) bundle.push_back(cable(leaf, spine));
        wiring_.connect(leaf, tops[0], LinkClass::network, cable_, spec_.switch_latency, bundle);
      }
      return tops;
    }
    for (int spine = 0; spine < count; ++spine) {
      tops.push_back(wiring_.add({VertexKind::spine, first + spine, -1, plane}));
      for (const VertexId leaf : leaves)
        wiring_.connect(leaf, tops.back(), LinkClass::network, cable_, spec_.switch_latency,
                        {cable(leaf, spine)});
    }
    return tops;
  }

  /// Joins pods by cores: spine s of every pod goes to the same group of cores, `up` cables each.
  std::vector<VertexId> cores(const std::vector<std::vector<VertexId>>& pods, int plane, int up) {
    const int count = static_cast<int>(pods.size());
    if (count > spec_.spine_radix)
      refuse(
          fmt::format("a three-layer tree of {}-port switches joins at most {} pods; {} are "
                      "needed: use more planes or switches with more ports",
                      spec_.spine_radix, spec_.spine_radix, count));
    const int per_group = std::clamp(divide_up(count * up, spec_.spine_radix), 1, up);
    const double each = static_cast<double>(up) / per_group;
    const int groups = spines_of(pods.front());
    const int first = next(VertexKind::core);
    const auto cable = [&](int spine, int group, int member) {
      return Cables{
          {VertexKind::spine, spine}, {VertexKind::core, first + group * per_group + member}, each};
    };
    std::vector<VertexId> tops;
    if (adaptive()) {
      tops.push_back(wiring_.add({VertexKind::core, first, -1, plane, groups * per_group}));
      for (const auto& pod : pods) {
        std::vector<Cables> bundle;
        for (int group = 0; group < spines_of(pod); ++group)
          for (int member = 0; member < per_group; ++member)
            bundle.push_back(cable(vertex(pod[0]).index + group, group, member));
        wiring_.connect(pod[0], tops[0], LinkClass::network, cable_, spec_.switch_latency, bundle);
      }
      return tops;
    }
    for (int core = 0; core < groups * per_group; ++core)
      tops.push_back(wiring_.add({VertexKind::core, first + core, -1, plane}));
    for (const auto& pod : pods)
      for (int group = 0; group < static_cast<int>(pod.size()); ++group)
        for (int member = 0; member < per_group; ++member) {
          const VertexId spine = pod[static_cast<std::size_t>(group)];
          wiring_.connect(spine, tops[static_cast<std::size_t>(group * per_group + member)],
                          LinkClass::network, cable_, spec_.switch_latency,
                          {cable(vertex(spine).index, group, member)});
        }
    return tops;
  }

  /// Spines of a pod; one vertex may stand for all.
  int spines_of(const std::vector<VertexId>& pod) {
    int count = 0;
    for (const VertexId spine : pod) count += vertex(spine).count;
    return count;
  }

  /// The balanced dragonfly of Kim, Dally, Scott and Abts (ISCA 2008): of a router's ports a
  /// quarter down, a quarter to other groups, a group of half as many routers, all joined.
  std::vector<VertexId> dragonfly(const std::vector<VertexId>& nics) {
    down_ = std::max(1, spec_.leaf_radix / 4);
    const std::vector<VertexId> routers = leaves_over(nics, -1);
    const int per_group = std::max(1, spec_.leaf_radix / 2);
    std::vector<std::vector<VertexId>> groups;
    for (std::size_t r = 0; r < routers.size(); ++r) {
      if (r % static_cast<std::size_t>(per_group) == 0) groups.emplace_back();
      groups.back().push_back(routers[r]);
    }
    const int out = per_group * std::max(1, spec_.leaf_radix / 4);
    const int count = static_cast<int>(groups.size());
    if (count - 1 > out)
      refuse(
          fmt::format("a dragonfly of {}-port routers joins at most {} groups; {} are needed: use "
                      "routers with more ports",
                      spec_.leaf_radix, out + 1, count));
    const int between = count > 1 ? out / (count - 1) : 0;
    return adaptive() ? bundled_groups(groups, between) : wired_groups(groups, between);
  }

  /// Cables between two routers of a group of `size`.
  [[nodiscard]] int local_cables(int size) const {
    return size > 1 ? std::max(1, (spec_.leaf_radix / 2 - 1) / (size - 1)) : 0;
  }

  /// A vertex a group: what leaves a router spreads over its cables, what leaves a group over those
  /// to the other one.
  std::vector<VertexId> bundled_groups(const std::vector<std::vector<VertexId>>& groups,
                                       int between) {
    std::vector<VertexId> hubs;
    for (const auto& group : groups) {
      hubs.push_back(wiring_.add({VertexKind::group, next(VertexKind::group), -1, -1}));
      const int size = static_cast<int>(group.size());
      for (const VertexId router : group) {
        const CableEnd own{VertexKind::leaf, vertex(router).index};
        std::vector<Cables> bundle;
        for (const VertexId other : group)
          if (other != router)
            bundle.push_back({own,
                              {VertexKind::leaf, vertex(other).index},
                              static_cast<double>(local_cables(size))});
        bundle.push_back({own,
                          {VertexKind::group, vertex(hubs.back()).index},
                          std::max(1, spec_.leaf_radix / 4) * 1.0});
        wiring_.connect(router, hubs.back(), LinkClass::network, cable_,
                        Time{spec_.switch_latency.value() / 2}, bundle);
      }
    }
    for (std::size_t a = 0; a < hubs.size(); ++a)
      for (std::size_t b = a + 1; b < hubs.size(); ++b)
        wiring_.connect(hubs[a], hubs[b], LinkClass::network, cable_, 2 * spec_.switch_latency,
                        {{{VertexKind::group, static_cast<int>(a)},
                          {VertexKind::group, static_cast<int>(b)},
                          static_cast<double>(between)}});
    return hubs;
  }

  std::vector<VertexId> wired_groups(const std::vector<std::vector<VertexId>>& groups,
                                     int between) {
    for (const auto& group : groups)
      for (std::size_t a = 0; a < group.size(); ++a)
        for (std::size_t b = a + 1; b < group.size(); ++b)
          wiring_.connect(
              group[a], group[b], LinkClass::network,
              cable_ * static_cast<double>(local_cables(static_cast<int>(group.size()))),
              spec_.switch_latency);
    const auto router = [&](std::size_t from, std::size_t to, int cable) {
      const std::size_t before = to < from ? to : to - 1;  // other groups, in order
      return groups[from]
                   [(before * static_cast<std::size_t>(between) + static_cast<std::size_t>(cable)) %
                    groups[from].size()];
    };
    for (std::size_t a = 0; a < groups.size(); ++a)
      for (std::size_t b = a + 1; b < groups.size(); ++b)
        for (int cable = 0; cable < between; ++cable)
          wiring_.connect(router(a, b, cable), router(b, a, cable), LinkClass::network, cable_,
                          spec_.switch_latency);
    return groups.empty() ? std::vector<VertexId>{} : groups.front();
  }

  const TopologySpec& spec_;
  Wiring& wiring_;
  std::vector<int>& nic_leaf_;
  BytesPerSecond cable_;
  int down_;
};

}  // namespace

std::vector<int> build_network(const TopologySpec& spec, const std::vector<VertexId>& nics,
                               Wiring& wiring) {
  std::vector<int> nic_leaf(nics.size(), -1);
  if (spec.network == NetworkKind::none) return nic_leaf;
  const std::size_t part = nics.size() / static_cast<std::size_t>(spec.sites);
  std::vector<VertexId> borders;
  for (int site = 0; site < spec.sites; ++site) {
    const auto begin = nics.begin() + static_cast<long>(part) * site;
    const auto tops =
        NetworkBuilder{spec, wiring, nic_leaf}.build({begin, begin + static_cast<long>(part)});
    if (spec.sites == 1) break;
    borders.push_back(wiring.add({VertexKind::site, site, -1, -1}));
    // The border is not what limits a site: the line to the others is.
    for (const VertexId top : tops)
      wiring.connect(top, borders.back(), LinkClass::network, spec.wan_rate, spec.switch_latency);
  }
  for (std::size_t a = 0; a < borders.size(); ++a)
    for (std::size_t b = a + 1; b < borders.size(); ++b)
      wiring.connect(borders[a], borders[b], LinkClass::wan, spec.wan_rate, spec.wan_latency);
  return nic_leaf;
}

}  // namespace tessera::fabric
