#include "models/fabric/wiring.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

constexpr VertexKind kNamed[] = {VertexKind::gpu,   VertexKind::nic,   VertexKind::nvswitch,
                                 VertexKind::leaf,  VertexKind::spine, VertexKind::core,
                                 VertexKind::group, VertexKind::site};

std::optional<CableEnd> end_of(const std::string& text) {
  const std::size_t digits = std::min(text.find_first_of("0123456789"), text.size());
  for (const VertexKind kind : kNamed) {
    if (text.substr(0, digits) != to_string(kind)) continue;
    CableEnd end{kind, 0};
    const char* last = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + digits, last, end.index);
    if (error == std::errc{} && stop == last) return end;
  }
  return std::nullopt;
}

/// Ends of a link; one that has a single cable of that kind may be named alone: `any` is the far
/// end's index then.
constexpr int kAny = -1;

std::optional<std::pair<CableEnd, CableEnd>> ends_of(const std::string& link) {
  const std::size_t dash = link.find('-');
  if (dash == std::string::npos) {
    const auto end = end_of(link);
    if (!end || (end->kind != VertexKind::nic && end->kind != VertexKind::gpu)) return std::nullopt;
    const VertexKind far = end->kind == VertexKind::nic ? VertexKind::leaf : VertexKind::nvswitch;
    return std::pair{*end, CableEnd{far, kAny}};
  }
  const auto near = end_of(link.substr(0, dash)), far = end_of(link.substr(dash + 1));
  if (!near || !far) return std::nullopt;
  return *near <= *far ? std::pair{*near, *far} : std::pair{*far, *near};
}

[[noreturn]] void fail(const LinkFault& fault, const std::string& message) {
  throw core::ConfigError(fault.where, fmt::format("links: found '{}'{}", fault.link, message));
}

}  // namespace

Wiring::Wiring(const std::vector<LinkFault>& faults, Graph& graph, std::vector<Link>& links)
    : graph_(graph), links_(links) {
  for (const LinkFault& fault : faults) {
    const auto ends = ends_of(fault.link);
    if (!ends)
      fail(fault,
           "; expected the two ends of a link, as nic5-leaf0, leaf2-spine1 or spine3-core0, or "
           "nic5 or gpu3 for the one cable of a NIC or a GPU's NVLink");
    if (!fault_index_.emplace(*ends, faults_.size()).second) fail(fault, ", which is named twice");
    faults_.push_back({ends->first, ends->second, fault.rate, &fault});
  }
}

Wiring::VertexId Wiring::add(const Vertex& vertex) {
  counts_[vertex.kind] += vertex.count;
  return add_vertex(vertex, graph_);
}

double Wiring::left_of(const Cables& cables) {
  if (faults_.empty()) return cables.count;
  const auto [near, far] = std::minmax(cables.near, cables.far);
  auto found = fault_index_.find({near, far});
  if (found == fault_index_.end()) found = fault_index_.find({near, {far.kind, kAny}});
  if (found == fault_index_.end()) return cables.count;
  met_.insert(found->second);
  return cables.count * faults_[found->second].rate;
}

bool Wiring::connect(VertexId a, VertexId b, LinkClass link_class, BytesPerSecond rate,
                     Time latency, const std::vector<Cables>& cables) {
  double left = 0;
  for (const Cables& equal : cables) left += left_of(equal);
  if (left <= 0) return false;
  for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
    const Link link{static_cast<int>(links_.size()), link_class, rate * left, latency};
    add_edge(from, to, link, graph_);
    links_.push_back(link);
  }
  return true;
}

bool Wiring::connect(VertexId a, VertexId b, LinkClass link_class, BytesPerSecond rate,
                     Time latency) {
  const auto end = [&](VertexId v) { return CableEnd{graph_[v].kind, graph_[v].index}; };
  return connect(a, b, link_class, rate, latency, {{end(a), end(b), 1}});
}

void Wiring::check_faults() const {
  for (std::size_t f = 0; f < faults_.size(); ++f) {
    if (met_.count(f) > 0) continue;
    const Fault& fault = faults_[f];
    for (const CableEnd& end : {fault.near, fault.far}) {
      const auto counted = counts_.find(end.kind);
      const int count = counted == counts_.end() ? 0 : counted->second;
      if (end.index < count || end.index == kAny) continue;
      const std::string kind = to_string(end.kind);
      const std::string there =
          count == 0 ? fmt::format("the cluster has no {}", kind)
                     : fmt::format("the cluster has {}0 to {}{}", kind, kind, count - 1);
      fail(*fault.written, ", which leads nowhere: " + there);
    }
    fail(*fault.written, ", but no cable joins these two");
  }
}

}  // namespace tessera::fabric
