#pragma once

#include <string>

#include "sim/core/config.hpp"

/// Clusters that need no file: a name says which GPUs, how many, and what joins them.
namespace tessera::device {

/// Folder of the fabrics that such a name may end with.
inline constexpr const char* kFabricFolder = "hw_configs/fabrics";

/// A cluster by bare name or path. A bare name without a file is read as
///
///     DEVICE_GPUS_FABRIC              h100_sxm_512_rail, gb200_256_nvl72
///     DEVICE_DOMAINSxGPUS_FABRIC      gb200_32x64_nvl72
///     DEVICE_GPUS                     a100_sxm_64: nvl72 for racks, rail for others
///
/// "_sxm" may be left out. The node is the one of hw_configs/nodes that holds DEVICE, the fabric
/// the one of hw_configs/fabrics with the NICs' rate on every link. GPUs fill whole NVLink domains;
/// where they do not divide into full ones (512 over racks of 72), as many a domain as whole nodes
/// allow (64). Throws ConfigError.
[[nodiscard]] core::ConfigDocument load_cluster_document(const std::string& name_or_path,
                                                         const core::LoadOptions& options);

/// The text of such a cluster, or of the file that the name stands for.
[[nodiscard]] std::string cluster_text(const std::string& name_or_path,
                                       const core::LoadOptions& options);

}  // namespace tessera::device
