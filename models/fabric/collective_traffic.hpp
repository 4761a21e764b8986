#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/fabric/flows.hpp"
#include "models/fabric/topology.hpp"

/// How fast groups of ranks pass bytes on when all of them do at once.
namespace tessera::fabric {

/// Whether domains that see the same stand for each other.
enum class Folding {
  automatic,  ///< Where it is legal.
  none,       ///< Every rank and route for itself.
  required,   ///< Throws Refusal (illegal_combination) where it is not legal.
};

/// Who sends to whom.
enum class TrafficPattern {
  ring,          ///< Rings over all ranks, one for each NIC that the ranks of a domain have.
  network_ring,  ///< The same, with nothing but the network to hold them up.
  all_pairs,     ///< Every rank to every other, by the rail of the receiver.
  rail_pairs,    ///< Every rank to those of its slot in other domains, over the network alone.
  next,          ///< Every rank to the next one, the last to the first.
  first_pair,    ///< The first rank to the second.
};

struct TrafficQuery {
  TrafficPattern pattern = TrafficPattern::ring;
  std::vector<int> ranks;
  /// Groups that send at the same time. With `tiled`, also all siblings of `ranks`, and the slowest
  /// of them is asked for (of a first pair those of the same domain): what follows waits for all.
  std::vector<std::vector<int>> beside;
  bool tiled = false;
  LinkEfficiency efficiency;
  friend bool operator<(const TrafficQuery& a, const TrafficQuery& b);
};

/// What a rank passes on, over all its rings or peers together.
struct Throughput {
  double rate = 0;  ///< Bytes/s.
  std::string binding;
  /// Bytes on the class per byte passed on; of folded traffic without what passes between switches.
  std::map<LinkClass, double> crossings;
  bool folded = false;
};

/// The NICs of a group: ranks by domain, and how many NICs the ranks of a domain have, the fewest
/// of all domains.
struct Placement {
  std::map<int, std::vector<int>> by_domain;
  int rails = 0;
};
[[nodiscard]] Placement place(const Topology& topology, const std::vector<int>& ranks);

/// Works out steady rates and keeps them.
///
/// A ring moves as one: all its hops at the rate of the slowest, so rings, not hops, share links
/// max-min fairly. Pairs of an all-to-all carry equal bytes: the fullest link decides.
///
/// Folding: where the topology has no asymmetry and a group has the same slots in every domain, the
/// NICs fill up before anything between them does, and every domain's links carry the same. Two
/// domains then stand for all. Elsewhere every route is taken.
class CollectiveTraffic {
 public:
  CollectiveTraffic(const Topology& topology, Folding folding);

  [[nodiscard]] const Throughput& throughput(const TrafficQuery& query);
  /// Part of its NICs' rate that a group gets when every rank sends as much to each rank of its
  /// slot in other domains and all siblings do the same: (0, 1], 1 where only the group's own ranks
  /// share NICs. Requires: more than one domain.
  [[nodiscard]] double network_share(const std::vector<int>& ranks);
  /// Why a group's domains do not stand for each other; "" when they do.
  [[nodiscard]] std::string unfoldable(const Placement& placement) const;

 private:
  using Groups = std::vector<std::vector<int>>;

  /// How much of the cluster need not be looked at.
  struct Fold {
    bool siblings = false;  ///< Those of other domains share no link that can fill up.
    bool domains = false;   ///< Two of the group's stand for all.
  };
  [[nodiscard]] Fold fold_of(const TrafficQuery& query, const Placement& at) const;
  [[nodiscard]] Groups groups_of(const TrafficQuery& query, const Fold& fold) const;
  [[nodiscard]] std::vector<Flow> rings_of(const TrafficQuery& query,
                                           const std::vector<int>& ranks) const;
  [[nodiscard]] Throughput ring(const TrafficQuery& query, const Groups& groups) const;
  [[nodiscard]] Throughput pairs(const TrafficQuery& query, const Groups& groups,
                                 const Fold& fold) const;

  const Topology& topology_;
  Folding folding_;
  std::string asymmetry_;
  std::map<TrafficQuery, Throughput> known_;
};

}  // namespace tessera::fabric
