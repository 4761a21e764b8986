#include "models/device/cluster_spec.hpp"

namespace tessera::device {

std::string to_string(FabricKind kind) {
  switch (kind) {
    case FabricKind::multiplane_fat_tree:
      return "multiplane_fat_tree";
    case FabricKind::rail_fat_tree:
      return "rail_fat_tree";
    case FabricKind::fat_tree:
      return "fat_tree";
    case FabricKind::dragonfly:
      return "dragonfly";
  }
  return "fat_tree";
}

std::string to_string(Routing routing) { return routing == Routing::ecmp ? "ecmp" : "adaptive"; }

}  // namespace tessera::device
