#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/workload/architecture.hpp"
#include "models/workload/hf_fields.hpp"
#include "sim/core/config.hpp"

/// Architectures from the config.json that Hugging Face's model hub holds for a release.
namespace tessera::workload {

struct HfImport {
  Architecture architecture;
  std::string model_type;
  /// Key of an architecture file, "attention.heads", to what says its value: fields of the
  /// configuration, or the class of transformers that has no field for it.
  std::map<std::string, std::string> sources;
  std::vector<IgnoredField> ignored;
};

/// Reads a configuration; mistakes, and fields that are not understood, are reported through its
/// document. Values must not be used before the document's finish(). Throws core::Refusal
/// (outside_model) for a model whose layers cannot be described here, naming what cannot.
[[nodiscard]] HfImport import_hf_config(const core::ConfigNode& root, std::string name);

/// Loads a config.json by path. Throws core::ConfigError and core::Refusal.
[[nodiscard]] HfImport load_hf_config(const std::string& path, core::LoadOptions options = {});

/// The architecture of a config.json, with options.overrides applied to it as to an architecture
/// file. Throws core::ConfigError and core::Refusal.
[[nodiscard]] Architecture load_imported_architecture(const std::string& path,
                                                      const core::LoadOptions& options);

}  // namespace tessera::workload
