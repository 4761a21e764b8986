#pragma once

#include "models/fabric/collectives.hpp"

namespace tessera::fabric {

struct Choice {
  Algorithm algorithm;
  Protocol protocol;
};

/// Where and how large a collective is, as NCCL sees it when it chooses.
struct ChoiceContext {
  CollectiveKind kind;
  device::Generation generation;
  int ranks;
  int domains;          ///< NVLink domains that the ranks sit in.
  double bytes;         ///< The largest of send and receive buffer.
  bool over_pcie;       ///< NVLink does not join all ranks of a domain.
  double local_rate;    ///< Bytes/s per GPU and direction of NVLink, or else PCIe.
  double network_rate;  ///< Bytes/s of all NICs that the ranks of one domain use.
  bool in_switch;       ///< NVSwitch reduces this type.
};

/// The algorithm and protocol that NCCL's own cost model prefers, with its own constants
/// (src/graph/tuning.cc of 2.27), not the fitted ones: it chooses by what it believes. Requires: an
/// all-reduce, reduce-scatter or all-gather of at least two ranks.
[[nodiscard]] Choice choose_as_nccl(const ChoiceContext& context);

}  // namespace tessera::fabric
