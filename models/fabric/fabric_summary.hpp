#pragma once

#include <string>
#include <vector>

#include "models/fabric/topology.hpp"

/// What a network is, in the figures by which people choose one.
namespace tessera::fabric {

/// Links between two kinds of vertices.
struct TierSummary {
  std::string ends;  ///< "nic - leaf"
  int links = 0;     ///< A bundle counts once.
  double rate = 0;   ///< Bytes/s of all together, per direction, faults taken off.
  double least = 0;  ///< Bytes/s of the slowest.
};

/// Paths from GPU 0 of one length.
struct PathSummary {
  int links = 0;
  int gpus = 0;  ///< That are so far away.
  Time shortest{0};
  Time longest{0};
};

/// What the routes give when every GPU sends to the one half the cluster away, all at once.
struct BisectionSummary {
  double rate = 0;       ///< Bytes/s through the middle, per direction.
  double full_rate = 0;  ///< The same if only the NICs were a limit.
  int held = 0;          ///< GPUs that get less than their part of the NIC.
  double slowest = 0;    ///< Bytes/s of the slowest GPU.
  int fullest_cable =
      0;  ///< Most flows that one link between switches carries; 0: none is crossed.
};

struct FabricSummary {
  std::vector<TierSummary> tiers;
  std::vector<PathSummary> paths;
  BisectionSummary bisection;
};

/// Throws Refusal (illegal_combination) when GPUs cannot reach each other.
[[nodiscard]] FabricSummary summarise(const Topology& topology);

/// As text, each line behind "# ".
[[nodiscard]] std::string to_text(const FabricSummary& summary, const Topology& topology);

}  // namespace tessera::fabric
