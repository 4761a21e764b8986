#pragma once

#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "sim/core/config.hpp"

namespace tessera::device {

/// Options under which a bare name is a device of hw_configs/devices.
[[nodiscard]] core::LoadOptions device_options(std::vector<core::Override> overrides = {});

/// The device of hw_configs/devices that a name means: h20 is h20_sxm, gb200_sxm is gb200. Other
/// names, and paths, are given back as they are.
[[nodiscard]] std::string usual_device_name(const std::string& name);

/// Reads a device file, by bare name (usual_device_name) or path. Throws core::ConfigError with all
/// its mistakes.
[[nodiscard]] DeviceSpec load_device(const std::string& name_or_path,
                                     std::vector<core::Override> overrides = {});
/// The same for a device that another document names.
[[nodiscard]] DeviceSpec load_device(const std::string& name_or_path,
                                     const core::LoadOptions& options);
/// Reads every field of a loaded document and finishes it.
[[nodiscard]] DeviceSpec read_device(const core::ConfigDocument& document);

}  // namespace tessera::device
