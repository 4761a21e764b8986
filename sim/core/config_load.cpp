#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "sim/core/config.hpp"
#include "sim/core/config_state.hpp"
#include "sim/core/data_root.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::core {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxExtendsChain = 16;  ///< Files in one chain of `extends:`.
constexpr const char* kOverrideFile = "--set";

fs::path root_of(const LoadOptions& options) {
  return options.data_root.empty() ? data_root() : options.data_root;
}

/// A mistake in the name or path by which a document was asked for.
[[noreturn]] void fail_name(const LoadOptions& options, const std::string& message) {
  if (options.referrer)
    throw ConfigError(options.referrer->where,
                      fmt::format("{}: {}", options.referrer->message, message));
  throw ConfigError({"tessera", 0, 0}, fmt::format("{}: {}", options.kind, message));
}

bool is_path(const std::string& text) {
  return text.find('/') != std::string::npos || text.ends_with(".yaml") || text.ends_with(".yml") ||
         text.ends_with(".json") || text.ends_with(".csv");
}

bool is_name(const std::string& text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !text.empty() && text[0] != '.' && text.size() <= 128 &&
         std::all_of(text.begin(), text.end(), allowed);
}

bool is_below(const fs::path& path, const fs::path& folder) {
  std::error_code ignored;
  const fs::path inner = fs::weakly_canonical(path, ignored);
  const fs::path outer = fs::weakly_canonical(folder, ignored);
  const auto [end, rest] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return end == outer.end() || (std::next(end) == outer.end() && end->empty());
}

/// The folder of a file, "." for one without; empty for text that is in no file.
fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() || file.empty() ? file.parent_path() : fs::path(".");
}

/// As messages name a file: relative to the data root when it lies below, so that equal inputs give
/// equal bytes wherever the tree is.
std::string shown_path(const fs::path& path, const fs::path& root) {
  if (!path.is_absolute() || !is_below(path, root)) return path.generic_string();
  std::error_code ignored;
  return fs::weakly_canonical(path, ignored)
      .lexically_relative(fs::weakly_canonical(root, ignored))
      .generic_string();
}

ResolvedFile resolve_name(const std::string& name, const LoadOptions& options,
                          const fs::path& beside) {
  const fs::path root = root_of(options);
  if (is_name(name)) {
    std::error_code ignored;
    const fs::path sibling = beside / (name + ".yaml");
    if (!beside.empty() && fs::exists(sibling, ignored))
      return {sibling, shown_path(sibling, root)};
    const fs::path path = root / options.folder / (name + ".yaml");
    if (!options.folder.empty() && fs::exists(path, ignored)) return {path, shown_path(path, root)};
  }
  const std::vector<std::string> known =
      options.folder.empty() ? std::vector<std::string>{} : names_in(options.folder, root);
  if (known.empty()) fail_name(options, fmt::format("found '{}', which does not exist", name));
  fail_name(options, unknown_name(name, known));
}

/// A path that stands in a file: relative to that file or to the kind's folder, and not out of the
/// configuration.
ResolvedFile resolve_written_path(const std::string& text, const LoadOptions& options,
                                  const fs::path& beside) {
  const fs::path root = root_of(options);
  const fs::path path = (beside.empty() ? root / options.folder : beside) / text;
  const bool inside = is_below(path, root) || (!beside.empty() && is_below(path, beside));
  if (fs::path(text).is_absolute() || !inside)
    fail_name(options,
              fmt::format("found '{}', which leads out of the configuration; expected a name or a "
                          "relative path inside it",
                          text));
  std::error_code ignored;
  if (fs::exists(path, ignored)) return {path, shown_path(path, root)};
  const fs::path shipped = root / options.folder / text;
  if (is_below(shipped, root) && fs::exists(shipped, ignored))
    return {shipped, shown_path(shipped, root)};
  fail_name(options, fmt::format("found '{}', which does not exist", text));
}

void merge(YamlNode& base, YamlNode child) {
  if (base.kind != YamlNode::Kind::map || child.kind != YamlNode::Kind::map) {
    base = std::move(child);
    return;
  }
  base.position = child.position;
  for (YamlEntry& entry : child.entries) {
    YamlEntry* inherited = base.find(entry.key);
    if (inherited == nullptr) {
      base.entries.push_back(std::move(entry));
    } else if (entry.value.kind == YamlNode::Kind::empty) {  // null takes an inherited key away
      base.entries.erase(base.entries.begin() + (inherited - base.entries.data()));
    } else {
      inherited->key_position = entry.key_position;
      merge(inherited->value, std::move(entry.value));
    }
  }
}

/// Trees by path and shown name, while a ParsedFiles lives.
std::optional<std::map<std::pair<std::string, std::string>, YamlNode>> remembered_trees;

YamlNode parsed(const ResolvedFile& file) {
  if (!remembered_trees) return parse_yaml(read_text_file(file), file.shown);
  const std::pair key{file.path.string(), file.shown};
  auto found = remembered_trees->find(key);
  if (found == remembered_trees->end())
    found = remembered_trees->emplace(key, parse_yaml(read_text_file(file), file.shown)).first;
  return found->second;
}

/// Loads a file and what it extends into one tree.
class TreeLoader {
 public:
  explicit TreeLoader(const LoadOptions& options) : options_(options) {}

  YamlNode load(const ResolvedFile& file) { return resolve(parsed(file), file.path); }

  /// Replaces the `extends:` of a parsed document by what it names.
  YamlNode resolve(YamlNode tree, const fs::path& path) {
    std::error_code ignored;
    chain_.push_back(path.empty() ? fs::path() : fs::weakly_canonical(path, ignored));
    files_.push_back(path);
    const YamlEntry* extends = tree.find("extends");
    if (extends == nullptr) return tree;
    const ResolvedFile parent = parent_of(*extends, folder_of(path));
    YamlNode base = load(parent);
    tree.entries.erase(tree.entries.begin() + (extends - tree.entries.data()));
    merge(base, std::move(tree));
    return base;
  }

  [[nodiscard]] const std::vector<fs::path>& files() const { return files_; }

 private:
  ResolvedFile parent_of(const YamlEntry& extends, const fs::path& beside) {
    const SourcePosition& where = extends.value.position;
    if (extends.value.kind != YamlNode::Kind::scalar)
      throw ConfigError(extends.key_position,
                        fmt::format("extends: found {}; expected the name of a {}",
                                    describe(extends.value), options_.kind));
    LoadOptions options = options_;
    options.referrer = Diagnostic{where, "extends"};
    const std::string& name = extends.value.scalar;
    ResolvedFile parent = is_path(name) ? resolve_written_path(name, options, beside)
                                        : resolve_name(name, options, beside);
    // A file may differ from the shipped one of its own name.
    if (!is_path(name) && is_open(parent.path)) {
      const fs::path shipped = root_of(options) / options.folder / (name + ".yaml");
      std::error_code ignored;
      if (fs::exists(shipped, ignored) && !is_open(shipped))
        parent = {shipped, shown_path(shipped, root_of(options))};
    }
    check_chain(parent.path, where);
    return parent;
  }

  [[nodiscard]] bool is_open(const fs::path& file) const {
    std::error_code ignored;
    return std::find(chain_.begin(), chain_.end(), fs::weakly_canonical(file, ignored)) !=
           chain_.end();
  }

  void check_chain(const fs::path& next, const SourcePosition& where) const {
    std::error_code ignored;
    const fs::path canonical = fs::weakly_canonical(next, ignored);
    const auto first = std::find(chain_.begin(), chain_.end(), canonical);
    if (first != chain_.end()) {
      std::string text;
      for (auto file = first; file != chain_.end(); ++file) text += file->stem().string() + " -> ";
      throw ConfigError(
          where, fmt::format("extends: found a cycle: {}{}", text, canonical.stem().string()));
    }
    if (chain_.size() >= kMaxExtendsChain)
      throw ConfigError(
          where, fmt::format("extends: found a chain of more than {} files", kMaxExtendsChain));
  }

  const LoadOptions& options_;
  std::vector<fs::path> chain_;
  std::vector<fs::path> files_;
};

std::string dotted(const std::vector<std::string>& path, std::size_t length) {
  std::string text;
  for (std::size_t i = 0; i < length; ++i) text += (i > 0 ? "." : "") + path[i];
  return text;
}

bool goes_through(const Override& change, const std::vector<std::string>& references) {
  for (std::size_t length = 1; length < change.path.size(); ++length)
    if (std::find(references.begin(), references.end(), dotted(change.path, length)) !=
        references.end())
      return true;
  return false;
}

/// The value at one more step of an override's path, made when a map lacks it.
YamlNode& step_into(YamlNode& node, const Override& change, std::size_t step) {
  const std::string& key = change.path[step];
  const SourcePosition where = change.path_position();
  const std::string path = dotted(change.path, step + 1);
  if (node.kind == YamlNode::Kind::list) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (error != std::errc{} || end != key.data() + key.size() || index >= node.items.size())
      throw ConfigError(where, fmt::format("{}: found '{}' as an index into a list of {}", path,
                                           key, node.items.size()));
    return node.items[index];
  }
  if (node.kind == YamlNode::Kind::scalar)
    throw ConfigError(
        where, fmt::format("{}: found a path into {}, which has no keys", path, describe(node)));
  if (node.kind == YamlNode::Kind::empty) {
    node.kind = YamlNode::Kind::map;
    node.position = where;
  }
  YamlEntry* entry = node.find(key);
  if (entry == nullptr) {
    node.entries.push_back({key, where, {}, false});
    entry = &node.entries.back();
    entry->value.position = where;
  } else if (step + 1 == change.path.size()) {
    entry->key_position = where;
  }
  return entry->value;
}

/// Joins steps that together are one key with dots in it, as the names of a fit's parameters have.
Override with_dotted_keys(const YamlNode& root, Override change) {
  const YamlNode* node = &root;
  for (std::size_t step = 0; node != nullptr && step < change.path.size(); ++step) {
    std::string key = change.path[step];
    const YamlEntry* entry = node->find(key);
    for (std::size_t end = step + 1; entry == nullptr && end < change.path.size(); ++end) {
      key += '.' + change.path[end];
      entry = node->find(key);
      if (entry == nullptr) continue;
      const auto first = change.path.begin() + static_cast<std::ptrdiff_t>(step);
      change.path.erase(first + 1, change.path.begin() + static_cast<std::ptrdiff_t>(end) + 1);
      change.path[step] = key;
    }
    node = entry == nullptr ? nullptr : &entry->value;
  }
  return change;
}

void apply(YamlNode& root, const Override& given) {
  const Override change = with_dotted_keys(root, given);
  YamlNode value =
      change.written ? *change.written
                     : parse_yaml(change.value, kOverrideFile, change.number, change.value_column);
  YamlNode* target = &root;
  for (std::size_t step = 0; step < change.path.size(); ++step)
    target = &step_into(*target, change, step);
  *target = std::move(value);
}

/// Splits one argument; the path of a malformed one has an empty step.
Override parse_override(const std::string& argument) {
  Override change;
  const std::size_t equals = argument.find('=');
  if (equals == std::string::npos) return change.path.emplace_back(), change;
  for (std::size_t start = 0; start <= equals;) {
    const std::size_t end = std::min(argument.find('.', start), equals);
    change.path.push_back(argument.substr(start, end - start));
    start = end + 1;
  }
  change.value = argument.substr(equals + 1);
  change.value_column = static_cast<int>(equals) + 2;
  return change;
}

void check_root(const YamlNode& root, const std::string& file) {
  if (root.kind != YamlNode::Kind::map)
    throw ConfigError({file, std::max(1, root.position.line), std::max(1, root.position.column)},
                      fmt::format("found {}; expected a map of keys", describe(root)));
}

void apply_overrides(detail::ConfigState& state, const LoadOptions& options) {
  for (const Override& change : options.overrides) {
    if (goes_through(change, options.references)) {
      state.kept.push_back(change);
      continue;
    }
    try {
      apply(state.root, change);
    } catch (const ConfigError& error) {
      for (const Diagnostic& mistake : error.diagnostics()) state.mistakes.push_back(mistake);
    }
  }
}

}  // namespace

SourcePosition Override::path_position() const {
  return written ? written_path : SourcePosition{kOverrideFile, number, path_column};
}

ParsedFiles::ParsedFiles() {
  assert(!remembered_trees && "one ParsedFiles at a time");
  remembered_trees.emplace();
}
ParsedFiles::~ParsedFiles() { remembered_trees.reset(); }

ResolvedFile resolve_file(const std::string& path_or_name, const LoadOptions& options) {
  if (!is_path(path_or_name)) return resolve_name(path_or_name, options, {});
  if (options.referrer) return resolve_written_path(path_or_name, options, options.beside);
  const fs::path root = root_of(options);
  std::error_code ignored;
  if (fs::exists(path_or_name, ignored)) return {path_or_name, shown_path(path_or_name, root)};
  for (const fs::path& path : {root / path_or_name, root / options.folder / path_or_name})
    if (fs::exists(path, ignored)) return {path, shown_path(path, root)};
  fail_name(options, fmt::format("found '{}', which does not exist", path_or_name));
}

std::string read_text_file(const ResolvedFile& file, std::size_t max_bytes) {
  const SourcePosition where{file.shown, 0, 0};
  std::error_code error;
  const fs::file_status status = fs::status(file.path, error);
  if (fs::is_directory(status)) throw ConfigError(where, "found a folder; expected a file");
  if (!fs::is_regular_file(status))
    throw ConfigError(where, "found something that is not a regular file; expected a file");
  const std::uintmax_t size = fs::file_size(file.path, error);
  if (!error && size > max_bytes)
    throw ConfigError(where, fmt::format("found {} bytes; expected at most {}", size, max_bytes));
  std::ifstream stream(file.path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream.is_open() || stream.bad())
    throw ConfigError(where, "found a file that cannot be read");
  return text;
}

std::vector<std::string> names_in(const std::string& folder, const fs::path& root) {
  std::vector<std::string> names;
  std::error_code error;
  const fs::path path = (root.empty() ? data_root() : root) / folder;
  for (const auto& entry : fs::directory_iterator(path, error))
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<Override> parse_overrides(const std::vector<std::string>& arguments) {
  std::vector<Override> overrides;
  std::vector<Diagnostic> mistakes;
  for (const std::string& argument : arguments) {
    Override change = parse_override(argument);
    change.number = static_cast<int>(&argument - arguments.data()) + 1;
    if (std::find(change.path.begin(), change.path.end(), "") == change.path.end()) {
      overrides.push_back(std::move(change));
      continue;
    }
    Diagnostic& mistake = mistakes.emplace_back();
    mistake.where = {kOverrideFile, change.number, 1};
    mistake.message = fmt::format("found '{}'; expected path=value", argument);
  }
  if (!mistakes.empty()) throw ConfigError(std::move(mistakes));
  return overrides;
}

ConfigDocument ConfigDocument::load(const std::string& path_or_name, const LoadOptions& options) {
  const ResolvedFile file = resolve_file(path_or_name, options);
  TreeLoader loader(options);
  auto state = std::make_shared<detail::ConfigState>();
  state->name = file.path.stem().string();
  state->file = file.shown;
  state->root = loader.load(file);
  state->files = loader.files();
  check_root(state->root, file.shown);
  apply_overrides(*state, options);
  return ConfigDocument(std::move(state));
}

ConfigDocument ConfigDocument::from_text(const std::string& text, const std::string& file,
                                         const LoadOptions& options) {
  TreeLoader loader(options);
  auto state = std::make_shared<detail::ConfigState>();
  state->name = fs::path(file).stem().string();
  state->file = file;
  state->root = loader.resolve(parse_yaml(text, file), {});
  check_root(state->root, file);
  apply_overrides(*state, options);
  return ConfigDocument(std::move(state));
}

}  // namespace tessera::core
