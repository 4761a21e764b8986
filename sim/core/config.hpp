#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "sim/core/diagnostics.hpp"
#include "sim/core/dimension.hpp"
#include "sim/core/units.hpp"
#include "sim/core/yaml_tree.hpp"

/// Reading configuration: typed, bounded, units required, every mistake of a file reported at once
/// where it was written.
///
///     ConfigDocument document = ConfigDocument::load("h100_sxm", {.folder =
///     "hw_configs/devices"}); ConfigNode sm = document.root().object("sm"); spec.count =
///     sm.integer("count", 1, 1024); spec.registers = sm.quantity<Bytes>("registers", 1_KiB,
///     1_GiB); document.finish();  // throws ConfigError with all mistakes, unknown keys among them
///
/// A reading method reports a mistake and returns a harmless value, so a reader is a plain list of
/// what it wants. Values that were read from a file with mistakes must not be used before finish().
namespace tessera::core {

/// One `--set path=value` of the command line.
struct Override {
  int number = 1;                 ///< Position on the command line, from 1; the "line" in messages.
  std::vector<std::string> path;  ///< Keys, and indices of list items.
  int path_column = 1;            ///< Where `path` starts in the argument, from 1.
  std::string value;              ///< YAML text.
  int value_column = 1;

  /// A change that stands in a file instead of on the command line: its value, and where its path
  /// stands; `value` then only says it to people.
  std::optional<YamlNode> written;
  SourcePosition written_path;
  [[nodiscard]] SourcePosition path_position() const;
};

/// Splits "path=value" arguments. Throws ConfigError with every malformed one.
[[nodiscard]] std::vector<Override> parse_overrides(const std::vector<std::string>& arguments);

struct LoadOptions {
  std::string kind = "file";  ///< What messages call it: "device", "scenario".
  std::string folder;         ///< Below the data root, where a bare name resolves.
  std::vector<Override> overrides;
  /// Keys whose value names another document. Overrides that go through one are kept for its reader
  /// (ConfigDocument::overrides_of) instead of being applied here.
  std::vector<std::string> references;
  /// Where the name was written, when another document names this one; mistakes in the name are
  /// reported there.
  std::optional<Diagnostic> referrer;
  std::filesystem::path beside;     ///< Folder of the file in which the name was written, if any.
  std::filesystem::path data_root;  ///< Empty: core::data_root().
};

namespace detail {
struct ConfigState;
}

/// A cheap handle on one value of a document. A key that is absent gives a node that is absent;
/// reading it reports the missing key once and everything below stays silent.
class ConfigNode {
 public:
  /// The value under `key`, present or not.
  [[nodiscard]] ConfigNode at(std::string_view key) const;
  /// Whether `key` is there (with a value or an explicit null).
  [[nodiscard]] bool has(std::string_view key) const;
  /// Whether this value is there.
  [[nodiscard]] bool present() const { return node_ != nullptr; }
  [[nodiscard]] bool is_list() const;
  [[nodiscard]] bool is_object() const;
  /// Whether this value is written as nothing or null.
  [[nodiscard]] bool is_null() const;

  /// Text that is not empty.
  [[nodiscard]] std::string text() const;
  /// A whole number; "14.8e12" is one, "010" and "1.0" are not.
  [[nodiscard]] std::int64_t integer(std::int64_t min, std::int64_t max) const;
  [[nodiscard]] double number(double min, double max) const;
  [[nodiscard]] bool boolean() const;
  /// A number with a unit of the quantity's dimension, for example "3.35 TB/s".
  template <class Q>
  [[nodiscard]] Q quantity(Q min, Q max) const {
    return make<Q>(measured(dimension_of<Q>(), static_cast<double>(min.value()),
                            static_cast<double>(max.value())));
  }
  /// A number with exactly this unit, for example "0.33 pJ/FLOP"; returned in it.
  [[nodiscard]] double quantity_in(std::string_view unit, double min, double max) const;
  template <class E>
  [[nodiscard]] E choice(const std::vector<std::pair<std::string, E>>& table) const {
    return table[choice_index(names_of(table))].second;
  }
  /// A map. When it is not, the result is absent and silent.
  [[nodiscard]] ConfigNode object() const;
  [[nodiscard]] std::vector<ConfigNode> list() const;
  [[nodiscard]] std::vector<std::int64_t> integers(std::int64_t min, std::int64_t max) const;
  [[nodiscard]] std::vector<double> numbers(double min, double max) const;
  [[nodiscard]] std::vector<std::string> texts() const;
  /// Keys of this map, in the order written.
  [[nodiscard]] std::vector<std::string> keys() const;
  /// Accepts whatever is under `key`; its readers are elsewhere.
  void ignore(std::string_view key) const;

  // The same for the value under a key.
  [[nodiscard]] std::string text(std::string_view key) const { return at(key).text(); }
  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t min,
                                     std::int64_t max) const {
    return at(key).integer(min, max);
  }
  [[nodiscard]] double number(std::string_view key, double min, double max) const {
    return at(key).number(min, max);
  }
  [[nodiscard]] bool boolean(std::string_view key) const { return at(key).boolean(); }
  template <class Q>
  [[nodiscard]] Q quantity(std::string_view key, Q min, Q max) const {
    return at(key).template quantity<Q>(min, max);
  }
  [[nodiscard]] double quantity_in(std::string_view key, std::string_view unit, double min,
                                   double max) const {
    return at(key).quantity_in(unit, min, max);
  }
  template <class E>
  [[nodiscard]] E choice(std::string_view key,
                         const std::vector<std::pair<std::string, E>>& table) const {
    return at(key).choice(table);
  }
  [[nodiscard]] ConfigNode object(std::string_view key) const { return at(key).object(); }
  [[nodiscard]] std::vector<ConfigNode> list(std::string_view key) const { return at(key).list(); }
  [[nodiscard]] std::vector<std::int64_t> integers(std::string_view key, std::int64_t min,
                                                   std::int64_t max) const {
    return at(key).integers(min, max);
  }
  [[nodiscard]] std::vector<double> numbers(std::string_view key, double min, double max) const {
    return at(key).numbers(min, max);
  }
  [[nodiscard]] std::vector<std::string> texts(std::string_view key) const {
    return at(key).texts();
  }

  // The same for a key that may be absent.
  [[nodiscard]] std::string text_or(std::string_view key, std::string fallback) const {
    return has(key) ? text(key) : std::move(fallback);
  }
  [[nodiscard]] std::int64_t integer_or(std::string_view key, std::int64_t min, std::int64_t max,
                                        std::int64_t fallback) const {
    return has(key) ? integer(key, min, max) : fallback;
  }
  [[nodiscard]] double number_or(std::string_view key, double min, double max,
                                 double fallback) const {
    return has(key) ? number(key, min, max) : fallback;
  }
  [[nodiscard]] bool boolean_or(std::string_view key, bool fallback) const {
    return has(key) ? boolean(key) : fallback;
  }
  template <class Q>
  [[nodiscard]] Q quantity_or(std::string_view key, Q min, Q max, Q fallback) const {
    return has(key) ? quantity<Q>(key, min, max) : fallback;
  }
  template <class E>
  [[nodiscard]] E choice_or(std::string_view key,
                            const std::vector<std::pair<std::string, E>>& table, E fallback) const {
    return has(key) ? choice(key, table) : fallback;
  }
  [[nodiscard]] std::optional<std::string> optional_text(std::string_view key) const {
    return has(key) ? std::optional(text(key)) : std::nullopt;
  }
  [[nodiscard]] std::optional<std::int64_t> optional_integer(std::string_view key, std::int64_t min,
                                                             std::int64_t max) const {
    return has(key) ? std::optional(integer(key, min, max)) : std::nullopt;
  }
  [[nodiscard]] std::optional<double> optional_number(std::string_view key, double min,
                                                      double max) const {
    return has(key) ? std::optional(number(key, min, max)) : std::nullopt;
  }
  template <class Q>
  [[nodiscard]] std::optional<Q> optional_quantity(std::string_view key, Q min, Q max) const {
    return has(key) ? std::optional(quantity<Q>(key, min, max)) : std::nullopt;
  }
  /// The map under `key`, or an absent node on which nothing is reported.
  [[nodiscard]] ConfigNode optional_object(std::string_view key) const;
  [[nodiscard]] std::vector<ConfigNode> optional_list(std::string_view key) const {
    return has(key) ? list(key) : std::vector<ConfigNode>{};
  }

  /// Reports a mistake at this value: "sm.count: MESSAGE".
  void fail(const std::string& message) const;
  void fail(std::string_view key, const std::string& message) const { at(key).fail(message); }
  /// Reports that two values contradict each other, at this one, naming the other's place.
  void fail_against(const ConfigNode& other, const std::string& message) const;
  /// Whether no mistake was found in the document so far; cross-field checks ask first, so that one
  /// mistake is not reported twice.
  [[nodiscard]] bool sound() const;
  /// Options to load the document that this value names: mistakes in the name are reported here.
  [[nodiscard]] LoadOptions reference(std::string kind, std::string folder) const;
  /// Takes the mistakes of another document that this value names.
  void absorb(const ConfigError& error) const;

  /// Dotted path from the root, "sm.count"; empty at the root.
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Where the value was written; for an absent one, where it should have been.
  [[nodiscard]] SourcePosition position() const { return where_; }
  [[nodiscard]] SourcePosition origin(std::string_view key) const { return at(key).position(); }

 private:
  friend class ConfigDocument;
  ConfigNode(std::shared_ptr<detail::ConfigState> state, YamlNode* node, std::string path,
             SourcePosition where, bool silent)
      : state_(std::move(state)),
        node_(node),
        path_(std::move(path)),
        where_(std::move(where)),
        silent_(silent) {}

  template <class Q>
  static Q make(double value) {
    if constexpr (std::is_integral_v<typename Q::Representation>)
      return Q{std::llround(value)};
    else
      return Q{value};
  }
  template <class E>
  static std::vector<std::string> names_of(const std::vector<std::pair<std::string, E>>& table) {
    std::vector<std::string> names;
    names.reserve(table.size());
    for (const auto& row : table) names.push_back(row.first);
    return names;
  }
  /// The scalar, or nullptr after reporting what was found instead of `expected`.
  const YamlNode* scalar(const std::string& expected) const;
  void report(const std::string& message) const;
  [[nodiscard]] ConfigNode silenced() const;
  double measured(const Dimension& dimension, double min, double max) const;
  [[nodiscard]] std::size_t choice_index(const std::vector<std::string>& names) const;

  std::shared_ptr<detail::ConfigState> state_;
  YamlNode* node_;
  std::string path_;
  SourcePosition where_;
  bool silent_;  ///< Absent because of a mistake that was reported already.
};

/// A file with what it extends and the overrides of the command line, resolved into one tree.
class ConfigDocument {
 public:
  /// Loads a bare name from options.folder, or a path that has a '/' or ends as a file does. Throws
  /// ConfigError when the text cannot be made into a tree.
  [[nodiscard]] static ConfigDocument load(const std::string& path_or_name,
                                           const LoadOptions& options);
  /// The same for a text at hand; `file` names it in messages.
  [[nodiscard]] static ConfigDocument from_text(const std::string& text, const std::string& file,
                                                const LoadOptions& options);

  [[nodiscard]] ConfigNode root() const;
  /// Throws ConfigError with every mistake, unknown keys among them, if there is any.
  void finish() const;

  /// Overrides that go through `key` (one of LoadOptions::references), the key taken off.
  [[nodiscard]] std::vector<Override> overrides_of(const std::string& key) const;
  /// The tree as JSON. With origins, a scalar becomes {"value", "origin", "inherited"}.
  [[nodiscard]] nlohmann::ordered_json resolved(bool with_origins) const;
  /// The tree as YAML, values as they were written. With origins, each has a comment that says
  /// where it was written and whether it was inherited.
  [[nodiscard]] std::string to_yaml(bool with_origins) const;
  /// File stem, "h100_sxm".
  [[nodiscard]] const std::string& name() const;
  /// The file as messages name it.
  [[nodiscard]] const std::string& file() const;
  /// Files that went into it, the outermost first, as paths that can be opened.
  [[nodiscard]] const std::vector<std::filesystem::path>& files() const;

 private:
  friend class ConfigNode;
  explicit ConfigDocument(std::shared_ptr<detail::ConfigState> state) : state_(std::move(state)) {}
  std::shared_ptr<detail::ConfigState> state_;
};

/// Names that resolve in a folder below the data root, sorted.
[[nodiscard]] std::vector<std::string> names_in(const std::string& folder,
                                                const std::filesystem::path& root = {});

/// While one lives, this process reads and parses each file once: for many readings of almost the
/// same configuration. A change of a file meanwhile is not seen. Requires: one at a time.
class ParsedFiles {
 public:
  ParsedFiles();
  ~ParsedFiles();
  ParsedFiles(const ParsedFiles&) = delete;
  ParsedFiles& operator=(const ParsedFiles&) = delete;
};

/// What a path or bare name stands for: the file, and how messages name it. Throws ConfigError as
/// ConfigDocument::load does.
struct ResolvedFile {
  std::filesystem::path path;
  std::string shown;
};
[[nodiscard]] ResolvedFile resolve_file(const std::string& path_or_name,
                                        const LoadOptions& options);
/// The file's bytes. Throws ConfigError when it cannot be read as a file of sane size.
[[nodiscard]] std::string read_text_file(const ResolvedFile& file,
                                         std::size_t max_bytes = kMaxYamlBytes);

}  // namespace tessera::core
