#pragma once

#include <string>
#include <vector>

#include "models/device/cluster_spec.hpp"
#include "sim/core/config.hpp"

namespace tessera::device {

/// Options under which a bare name is a node of hw_configs/nodes. Overrides below `device` go to
/// the device file: "device.hbm.size=96 GB".
[[nodiscard]] core::LoadOptions node_options(std::vector<core::Override> overrides = {});
/// The same for hw_configs/clusters; overrides below `node` go to the node file:
/// "node.device.hbm.size=96 GB".
[[nodiscard]] core::LoadOptions cluster_options(std::vector<core::Override> overrides = {});

/// Reads a node or cluster with all that it names, by bare name or path. Throws core::ConfigError
/// with the mistakes of all files.
[[nodiscard]] NodeSpec load_node(const std::string& name_or_path,
                                 std::vector<core::Override> overrides = {});
[[nodiscard]] ClusterSpec load_cluster(const std::string& name_or_path,
                                       std::vector<core::Override> overrides = {});
/// The same for one that another document names: `options` comes from ConfigNode::reference.
[[nodiscard]] ClusterSpec load_cluster(const std::string& name_or_path, core::LoadOptions options);

[[nodiscard]] NodeSpec read_node(const core::ConfigDocument& document);
[[nodiscard]] ClusterSpec read_cluster(const core::ConfigDocument& document);
/// A fabric of hw_configs/fabrics, whose planes and rates follow from the nodes that it joins.
[[nodiscard]] FabricSpec read_fabric_file(const core::ConfigDocument& document);

}  // namespace tessera::device
