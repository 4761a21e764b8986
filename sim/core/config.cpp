#include "sim/core/config.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "sim/core/config_state.hpp"
#include "sim/core/spelling.hpp"

namespace tessera::core {
namespace {

/// Largest magnitude below which every whole double is exact.
constexpr double kExactInteger = 9007199254740992.0;

std::string joined(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const std::optional<double> number = parse_number(text);
  if (!number) return std::nullopt;
  if (text.find_first_of(".eE") == std::string_view::npos) {
    std::int64_t value = 0;
    if (text[0] == '+') text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} ? std::optional(value) : std::nullopt;
  }
  const bool exponent = text.find_first_of("eE") != std::string_view::npos;
  if (!exponent || *number != std::floor(*number) || std::abs(*number) > kExactInteger)
    return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

std::string found(const YamlNode& node) {
  return fmt::format("found {}{}", describe(node), node.quoted ? " in quotes" : "");
}

void collect_unknown(const YamlNode& node, const std::string& path,
                     std::vector<Diagnostic>& mistakes);

void collect_unknown_entry(const YamlNode& map, const YamlEntry& entry, const std::string& path,
                           std::vector<Diagnostic>& mistakes) {
  const std::string entry_path = joined(path, entry.key);
  if (entry.read) return collect_unknown(entry.value, entry_path, mistakes);
  std::string message = fmt::format("{}: found an unknown key", entry_path);
  if (const auto near = nearest_name(entry.key, map.asked))
    message += fmt::format(" (did you mean '{}'?)", *near);
  else if (!map.asked.empty())
    message += fmt::format("; known are {}", join_names(map.asked));
  mistakes.push_back({entry.key_position, std::move(message)});
}

void collect_unknown(const YamlNode& node, const std::string& path,
                     std::vector<Diagnostic>& mistakes) {
  if (node.ignored) return;
  for (std::size_t i = 0; i < node.items.size(); ++i)
    collect_unknown(node.items[i], fmt::format("{}.{}", path, i), mistakes);
  for (const YamlEntry& entry : node.entries) collect_unknown_entry(node, entry, path, mistakes);
}

}  // namespace

ConfigNode ConfigNode::at(std::string_view key) const {
  const std::string path = joined(path_, key);
  if (node_ == nullptr || node_->kind != YamlNode::Kind::map)
    return {state_, nullptr, path, where_, true};
  if (std::find(node_->asked.begin(), node_->asked.end(), key) == node_->asked.end())
    node_->asked.emplace_back(key);
  YamlEntry* entry = node_->find(key);
  if (entry == nullptr) return {state_, nullptr, path, where_, silent_};
  entry->read = true;
  const bool scalar = entry->value.kind == YamlNode::Kind::scalar;
  return {state_, &entry->value, path, scalar ? entry->value.position : entry->key_position, false};
}

bool ConfigNode::has(std::string_view key) const {
  if (node_ == nullptr || node_->kind != YamlNode::Kind::map) return false;
  if (std::find(node_->asked.begin(), node_->asked.end(), key) == node_->asked.end())
    node_->asked.emplace_back(key);
  return node_->find(key) != nullptr;
}

bool ConfigNode::is_list() const { return node_ != nullptr && node_->kind == YamlNode::Kind::list; }
bool ConfigNode::is_object() const {
  return node_ != nullptr && node_->kind == YamlNode::Kind::map;
}
bool ConfigNode::is_null() const {
  return node_ != nullptr && node_->kind == YamlNode::Kind::empty;
}

void ConfigNode::report(const std::string& message) const {
  state_->mistakes.push_back(
      {where_, path_.empty() ? message : fmt::format("{}: {}", path_, message)});
}

void ConfigNode::fail(const std::string& message) const {
  if (!silent_) report(message);
}

void ConfigNode::fail_against(const ConfigNode& other, const std::string& message) const {
  const SourcePosition place = other.position();
  fail(fmt::format("{} ({}: {}:{}:{})", message, other.path(), place.file, place.line,
                   place.column));
}

bool ConfigNode::sound() const { return state_->mistakes.empty(); }

void ConfigNode::absorb(const ConfigError& error) const {
  for (const Diagnostic& mistake : error.diagnostics()) state_->mistakes.push_back(mistake);
}

LoadOptions ConfigNode::reference(std::string kind, std::string folder) const {
  LoadOptions options;
  options.kind = std::move(kind);
  options.folder = std::move(folder);
  options.referrer = Diagnostic{where_, path_};
  if (!state_->files.empty() && !state_->files.front().empty()) {
    const std::filesystem::path& file = state_->files.front();
    options.beside = file.has_parent_path() ? file.parent_path() : ".";
  }
  const ConfigDocument document{state_};
  options.overrides = document.overrides_of(path_);
  return options;
}

ConfigNode ConfigNode::silenced() const { return {state_, nullptr, path_, where_, true}; }

const YamlNode* ConfigNode::scalar(const std::string& expected) const {
  if (silent_) return nullptr;
  if (node_ == nullptr) {
    report("missing; expected " + expected);
    return nullptr;
  }
  if (node_->kind != YamlNode::Kind::scalar) {
    node_->ignored = true;
    report(fmt::format("{}; expected {}", found(*node_), expected));
    return nullptr;
  }
  return node_;
}

std::string ConfigNode::text() const {
  const YamlNode* node = scalar("text");
  if (node == nullptr) return {};
  if (node->scalar.empty()) report("found empty text; expected text");
  return node->scalar;
}

std::int64_t ConfigNode::integer(std::int64_t min, std::int64_t max) const {
  const std::string expected = fmt::format("an integer in [{}, {}]", min, max);
  const YamlNode* node = scalar(expected);
  if (node == nullptr) return min;
  const auto value = node->quoted ? std::nullopt : parse_integer(node->scalar);
  if (value && *value >= min && *value <= max) return *value;
  report(fmt::format("{}; expected {}", found(*node), expected));
  return min;
}

double ConfigNode::number(double min, double max) const {
  const std::string expected = fmt::format("a number in [{:.6g}, {:.6g}]", min, max);
  const YamlNode* node = scalar(expected);
  if (node == nullptr) return min;
  const auto value = node->quoted ? std::nullopt : parse_number(node->scalar);
  if (value && *value >= min && *value <= max) return *value;
  report(fmt::format("{}; expected {}", found(*node), expected));
  return min;
}

bool ConfigNode::boolean() const {
  const YamlNode* node = scalar("true or false");
  if (node == nullptr) return false;
  if (!node->quoted && node->scalar == "true") return true;
  if (node->quoted || node->scalar != "false")
    report(fmt::format("{}; expected true or false", found(*node)));
  return false;
}

double ConfigNode::measured(const Dimension& dimension, double min, double max) const {
  const std::string range =
      fmt::format("{} in [{}, {}]", dimension.noun, format_quantity(min, dimension),
                  format_quantity(max, dimension));
  const std::string units = fmt::format("{} in {}", dimension.noun, unit_names(dimension));
  const YamlNode* node = scalar(units);
  if (node == nullptr) return min;
  const NumberWithUnit parts = split_unit(node->scalar);
  const auto unit = std::find_if(dimension.units.begin(), dimension.units.end(),
                                 [&](const Unit& u) { return u.name == parts.unit; });
  const std::optional<double> number = parse_number(parts.number);
  if (!number) {
    report(fmt::format("{}; expected {}", found(*node), units));
  } else if (parts.unit.empty()) {
    report(fmt::format("{}, which has no unit; expected {}", found(*node), units));
  } else if (unit == dimension.units.end()) {
    report(fmt::format("{}, whose unit '{}' is not accepted; expected {}", found(*node), parts.unit,
                       units));
  } else {
    const double value = *number * unit->scale;
    const bool whole = std::abs(value - std::round(value)) <= 1e-9 * std::abs(value);
    if (!(value >= min && value <= max))
      report(fmt::format("{}; expected {}", found(*node), range));
    else if (dimension.whole && !whole)
      report(fmt::format("{}; expected a whole number of {}", found(*node),
                         dimension.units.front().name));
    else
      return value;
  }
  return min;
}

double ConfigNode::quantity_in(std::string_view unit, double min, double max) const {
  return measured(Dimension{"a quantity", {{unit, 1.0}}}, min, max);
}

std::size_t ConfigNode::choice_index(const std::vector<std::string>& names) const {
  const YamlNode* node = scalar((names.size() > 1 ? "one of " : "") + join_names(names));
  if (node == nullptr) return 0;
  const auto found_name = std::find(names.begin(), names.end(), node->scalar);
  if (found_name != names.end()) return static_cast<std::size_t>(found_name - names.begin());
  report(unknown_name(node->scalar, names));
  return 0;
}

ConfigNode ConfigNode::object() const {
  if (silent_) return silenced();
  if (node_ != nullptr && node_->kind == YamlNode::Kind::map) return *this;
  if (node_ != nullptr) node_->ignored = true;
  report(node_ == nullptr ? "missing; expected a map"
                          : fmt::format("{}; expected a map", found(*node_)));
  return silenced();
}

ConfigNode ConfigNode::optional_object(std::string_view key) const {
  return has(key) ? object(key) : at(key).silenced();
}

std::vector<ConfigNode> ConfigNode::list() const {
  if (silent_) return {};
  if (node_ == nullptr || node_->kind != YamlNode::Kind::list) {
    if (node_ != nullptr) node_->ignored = true;
    report(node_ == nullptr ? "missing; expected a list"
                            : fmt::format("{}; expected a list", found(*node_)));
    return {};
  }
  std::vector<ConfigNode> items;
  for (std::size_t i = 0; i < node_->items.size(); ++i)
    items.push_back(ConfigNode(state_, &node_->items[i], fmt::format("{}.{}", path_, i),
                               node_->items[i].position, false));
  return items;
}

std::vector<std::int64_t> ConfigNode::integers(std::int64_t min, std::int64_t max) const {
  std::vector<std::int64_t> values;
  for (const ConfigNode& item : list()) values.push_back(item.integer(min, max));
  return values;
}

std::vector<double> ConfigNode::numbers(double min, double max) const {
  std::vector<double> values;
  for (const ConfigNode& item : list()) values.push_back(item.number(min, max));
  return values;
}

std::vector<std::string> ConfigNode::texts() const {
  std::vector<std::string> values;
  for (const ConfigNode& item : list()) values.push_back(item.text());
  return values;
}

std::vector<std::string> ConfigNode::keys() const {
  std::vector<std::string> names;
  if (node_ == nullptr) return names;
  for (const YamlEntry& entry : node_->entries) names.push_back(entry.key);
  return names;
}

void ConfigNode::ignore(std::string_view key) const {
  const ConfigNode child = at(key);
  if (child.node_ != nullptr) child.node_->ignored = true;
}

ConfigNode ConfigDocument::root() const {
  const bool is_map = state_->root.kind == YamlNode::Kind::map;
  return {state_, is_map ? &state_->root : nullptr, "", {state_->file, 1, 1}, !is_map};
}

void ConfigDocument::finish() const {
  std::vector<Diagnostic> mistakes = state_->mistakes;
  collect_unknown(state_->root, "", mistakes);
  if (!mistakes.empty()) throw ConfigError(std::move(mistakes));
}

std::vector<Override> ConfigDocument::overrides_of(const std::string& key) const {
  std::vector<Override> result;
  for (Override change : state_->kept) {
    std::string prefix;
    std::size_t length = 0;
    while (length < change.path.size() && prefix != key)
      prefix = joined(prefix, change.path[length++]);
    if (prefix != key) continue;
    change.path.erase(change.path.begin(),
                      change.path.begin() + static_cast<std::ptrdiff_t>(length));
    result.push_back(std::move(change));
  }
  return result;
}

const std::string& ConfigDocument::name() const { return state_->name; }
const std::string& ConfigDocument::file() const { return state_->file; }
const std::vector<std::filesystem::path>& ConfigDocument::files() const { return state_->files; }

namespace {

nlohmann::ordered_json scalar_to_json(const YamlNode& node) {
  if (node.quoted) return node.scalar;
  if (node.scalar == "true" || node.scalar == "false") return node.scalar == "true";
  if (const auto integer = parse_integer(node.scalar)) return *integer;
  if (const auto number = parse_number(node.scalar)) return *number;
  return node.scalar;
}

nlohmann::ordered_json to_json(const YamlNode& node, const std::string& file, bool with_origins) {
  if (node.kind == YamlNode::Kind::map) {
    auto object = nlohmann::ordered_json::object();
    for (const YamlEntry& entry : node.entries)
      object[entry.key] = to_json(entry.value, file, with_origins);
    return object;
  }
  if (node.kind == YamlNode::Kind::list) {
    auto array = nlohmann::ordered_json::array();
    for (const YamlNode& item : node.items) array.push_back(to_json(item, file, with_origins));
    return array;
  }
  nlohmann::ordered_json value =
      node.kind == YamlNode::Kind::scalar ? scalar_to_json(node) : nlohmann::ordered_json(nullptr);
  if (!with_origins) return value;
  const SourcePosition& at = node.position;
  return {{"value", std::move(value)},
          {"origin", fmt::format("{}:{}:{}", at.file, at.line, at.column)},
          {"inherited", at.file != file && at.file != "--set"}};
}

}  // namespace

nlohmann::ordered_json ConfigDocument::resolved(bool with_origins) const {
  return to_json(state_->root, state_->file, with_origins);
}

}  // namespace tessera::core
