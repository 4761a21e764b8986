#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "sim/core/config.hpp"

namespace tessera::app {

/// A kind of description that `list` and `show` know: where its files lie, what they name, and what
/// reads them.
struct Kind {
  std::string name;    ///< "device"
  std::string plural;  ///< "devices"
  std::string folder;  ///< Below the data root.
  /// Keys that name descriptions of other kinds: (key, kind).
  std::vector<std::pair<std::string, std::string>> references;
  /// Reads the whole description, with what it names, and throws core::ConfigError with its
  /// mistakes.
  std::function<void(const std::string& name, const std::vector<std::string>& set)> check;
  /// Its document, and its text as written; clusters need no file.
  std::function<core::ConfigDocument(const std::string& name, const core::LoadOptions&)> load =
      core::ConfigDocument::load;
  std::function<std::string(const std::string& name, const core::LoadOptions&)> text =
      [](const std::string& name, const core::LoadOptions& options) {
        return core::read_text_file(core::resolve_file(name, options));
      };

  [[nodiscard]] core::LoadOptions options() const;
};

[[nodiscard]] const std::vector<Kind>& kinds();

/// By singular or plural. Throws core::ConfigError naming the known ones.
[[nodiscard]] const Kind& kind_of(const std::string& name);

/// Names of that kind that ship with the program, sorted.
[[nodiscard]] std::vector<std::string> names_of(const Kind& kind);

}  // namespace tessera::app
