#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/core/diagnostics.hpp"

/// YAML text as a tree that remembers where everything was written. It is plain data: copies are
/// deep, nothing aliases.
namespace tessera::core {

struct YamlEntry;

struct YamlNode {
  enum class Kind { empty, scalar, list, map };
  Kind kind = Kind::empty;
  SourcePosition position;         ///< Of the value's first character.
  std::string scalar;              ///< When kind is scalar.
  bool quoted = false;             ///< The scalar stood in quotes, so it is text.
  bool ignored = false;            ///< Nothing below is checked for unknown keys.
  std::vector<YamlNode> items;     ///< When kind is list.
  std::vector<YamlEntry> entries;  ///< When kind is map, in the order written.
  std::vector<std::string> asked;  ///< Keys that the reader looked for in this map.

  [[nodiscard]] YamlEntry* find(std::string_view key);
  [[nodiscard]] const YamlEntry* find(std::string_view key) const;
};

struct YamlEntry {
  std::string key;
  SourcePosition key_position;
  YamlNode value;
  bool read = false;  ///< The reader took this value.
};

/// "a map", "a list", "nothing" or the scalar in quotes, shortened: what a message says was found.
[[nodiscard]] std::string describe(const YamlNode& node);

/// Limits that keep a hostile file from exhausting the machine.
inline constexpr std::size_t kMaxYamlBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxYamlValues = 20'000;  ///< After aliases are expanded.
inline constexpr int kMaxYamlDepth = 64;

/// Parses one document. `file` names it in messages; positions start at `first_line` and, on the
/// first line, at `first_column`. Throws ConfigError with what is wrong: not UTF-8 text, not YAML,
/// tabs in the indentation, duplicate keys, too large, too deep, too many values, several
/// documents.
[[nodiscard]] YamlNode parse_yaml(const std::string& text, const std::string& file,
                                  int first_line = 1, int first_column = 1);

}  // namespace tessera::core
