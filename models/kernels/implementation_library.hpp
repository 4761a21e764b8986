#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/kernels/implementation.hpp"
#include "sim/core/config.hpp"

namespace tessera::kernels {

/// The implementations that the program knows: one file each in hw_configs/kernels.
class ImplementationLibrary {
 public:
  /// Reads every implementation below the data root (empty: core::data_root()). Throws
  /// core::ConfigError.
  static ImplementationLibrary load(const std::filesystem::path& data_root = {});
  explicit ImplementationLibrary(std::vector<Implementation> implementations)
      : implementations_(std::move(implementations)) {}

  /// The name of an implementation of this library, or of the one in a user's file, which is added.
  /// Throws core::ConfigError when there is none, or its name is taken.
  std::string add(const std::string& name_or_path);

  /// The named one, or the device's default for `op` when `name` is empty. Throws core::Refusal
  /// when there is none or it cannot run `op` on `device`.
  [[nodiscard]] const Implementation& choose(const workload::Operator& op,
                                             const device::DeviceSpec& device,
                                             const std::string& name) const;
  /// Null when none is called so.
  [[nodiscard]] const Implementation* find(const std::string& name) const;
  [[nodiscard]] const std::vector<Implementation>& all() const { return implementations_; }

 private:
  std::vector<Implementation> implementations_;
};

/// One implementation file, by bare name or path. Throws core::ConfigError.
Implementation load_implementation(const std::string& name_or_path,
                                   const std::filesystem::path& data_root = {});

/// Reads a loaded document and finishes it.
[[nodiscard]] Implementation read_implementation(const core::ConfigDocument& document);

}  // namespace tessera::kernels
