#include "sim/app/study_axes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "sim/app/study.hpp"
#include "sim/core/dimension.hpp"

namespace tessera::app {
namespace {

using core::ConfigError;
using core::SourcePosition;
using core::YamlEntry;
using core::YamlNode;

constexpr std::size_t kMaxValues = 10'000;  ///< Of one axis.

[[noreturn]] void fail(const SourcePosition& where, const std::string& path,
                       const std::string& message) {
  throw ConfigError(where, path + ": " + message);
}

std::vector<std::string> split_path(const std::string& text) {
  std::vector<std::string> steps;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find('.', start), text.size());
    steps.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return steps;
}

StudySetting setting_of(const YamlEntry& entry, const YamlNode& value) {
  StudySetting setting;
  setting.path = entry.key;
  setting.change.path = split_path(entry.key);
  setting.change.value = flow_text(value);
  setting.change.written = value;
  setting.change.written_path = entry.key_position;
  return setting;
}

/// "8 GB" as 8 and "GB".
struct Bound {
  double number = 0;
  std::string unit;
  SourcePosition position;
};

/// {from, to, times} or {from, to, step}: numbers, all with the same unit or none.
class Range {
 public:
  Range(const YamlNode& node, const std::string& path) : path_(path) {
    const Bound from = bound(node, "from");
    const Bound to = bound(node, "to");
    const YamlEntry* times = node.find("times");
    const YamlEntry* step = node.find("step");
    for (const YamlEntry& entry : node.entries)
      if (entry.key != "from" && entry.key != "to" && entry.key != "times" && entry.key != "step")
        fail(entry.key_position, path_ + "." + entry.key,
             "found an unknown key; known are from, to, times and step");
    if ((times == nullptr) == (step == nullptr))
      fail(node.position, path_, "found a range; expected times or step in it");
    if (to.unit != from.unit)
      fail(to.position, path_ + ".to",
           fmt::format("found the unit '{}'; expected '{}' as in from", to.unit, from.unit));
    if (to.number < from.number)
      fail(to.position, path_ + ".to", "found less than from; expected at least that");
    times ? grow(from, to, bound(node, "times")) : climb(from, to, bound(node, "step"));
  }

  [[nodiscard]] const std::vector<YamlNode>& values() const { return values_; }

 private:
  [[nodiscard]] Bound bound(const YamlNode& node, const std::string& key) const {
    const YamlEntry* entry = node.find(key);
    const std::string path = path_ + "." + key;
    if (entry == nullptr) fail(node.position, path, "missing; expected a number");
    const YamlNode& value = entry->value;
    const core::NumberWithUnit parts = core::split_unit(value.scalar);
    const auto number = core::parse_number(parts.number);
    if (value.kind != YamlNode::Kind::scalar || !number)
      fail(value.position.line > 0 ? value.position : entry->key_position, path,
           fmt::format("found {}; expected a number", core::describe(value)));
    return {*number, std::string(parts.unit), value.position};
  }

  void grow(const Bound& from, const Bound& to, const Bound& times) {
    if (times.number <= 1 || !times.unit.empty())
      fail(times.position, path_ + ".times", "found no factor; expected a number above 1");
    if (from.number <= 0)
      fail(from.position, path_ + ".from", "found nothing to multiply; expected more than 0");
    double value = from.number;
    // A little more than the end, for factors that are not exact.
    for (; value <= to.number * (1 + 1e-9); value *= times.number) add(value, from);
  }

  void climb(const Bound& from, const Bound& to, const Bound& step) {
    if (step.number <= 0 || (step.unit != from.unit))
      fail(step.position, path_ + ".step",
           "found no step; expected a number above 0 with the unit of from");
    const double count = std::floor((to.number - from.number) / step.number * (1 + 1e-9));
    if (count >= kMaxValues) too_many(step);
    for (int i = 0; i <= count; ++i) add(from.number + i * step.number, from);
  }

  void add(double value, const Bound& from) {
    if (values_.size() >= kMaxValues) too_many(from);
    YamlNode node;
    node.kind = YamlNode::Kind::scalar;
    node.position = from.position;
    constexpr double kWhole = 1e15;  // beyond, whole numbers are not exact
    node.scalar = value == std::floor(value) && value < kWhole ? fmt::format("{:.0f}", value)
                                                               : fmt::format("{:.12g}", value);
    if (!from.unit.empty()) node.scalar += ' ' + from.unit;
    values_.push_back(std::move(node));
  }

  [[noreturn]] void too_many(const Bound& bound) const {
    fail(bound.position, path_, fmt::format("found a range of more than {} values", kMaxValues));
  }

  std::string path_;
  std::vector<YamlNode> values_;
};

/// Reads the items of `axes`, one after the other.
class AxesReader {
 public:
  explicit AxesReader(Study& study) : study_(study) {}

  void read(const YamlNode& axes, const SourcePosition& where) {
    if (axes.kind != YamlNode::Kind::list || axes.items.empty())
      fail(axes.kind == YamlNode::Kind::list ? axes.position : where, "axes",
           "expected a list of grid, zip and list");
    for (std::size_t i = 0; i < axes.items.size(); ++i)
      read_item(axes.items[i], fmt::format("axes.{}", i));
    if (points_ > kMaxStudyPoints)
      fail(where, "axes",
           fmt::format("found {} points; expected at most {}", points_, kMaxStudyPoints));
  }

 private:
  void read_item(const YamlNode& item, const std::string& path) {
    const std::size_t before = study_.dimensions.size();
    if (item.kind != YamlNode::Kind::map || item.entries.size() != 1)
      fail(item.position, path,
           fmt::format("found {}; expected one of grid, zip or list", describe(item)));
    const YamlEntry& entry = item.entries.front();
    const std::string below = path + "." + entry.key;
    if (entry.key == "grid")
      read_grid(map_of(entry, below), below);
    else if (entry.key == "zip")
      read_zip(map_of(entry, below), below);
    else if (entry.key == "list")
      read_list(entry, below);
    else
      fail(entry.key_position, path,
           fmt::format("found '{}'; expected one of grid, zip or list", entry.key));
    for (std::size_t d = before; d < study_.dimensions.size(); ++d)
      points_ = std::min(points_ * study_.dimensions[d].choices.size(), kMaxStudyPoints + 1);
  }

  [[nodiscard]] static const YamlNode& map_of(const YamlEntry& entry, const std::string& path) {
    if (entry.value.kind != YamlNode::Kind::map || entry.value.entries.empty())
      fail(entry.key_position, path,
           fmt::format("found {}; expected a map of paths to their values", describe(entry.value)));
    return entry.value;
  }

  void read_grid(const YamlNode& map, const std::string& path) {
    for (const YamlEntry& entry : map.entries) {
      StudyDimension& dimension = study_.dimensions.emplace_back();
      for (const YamlNode& value : values_of(entry, path))
        dimension.choices.push_back({setting_of(entry, value)});
    }
  }

  void read_zip(const YamlNode& map, const std::string& path) {
    StudyDimension& dimension = study_.dimensions.emplace_back();
    const std::string& first = map.entries.front().key;
    for (const YamlEntry& entry : map.entries) {
      const std::vector<YamlNode> values = values_of(entry, path, true);
      if (&entry == &map.entries.front()) dimension.choices.resize(values.size());
      if (values.size() != dimension.choices.size())
        fail(entry.key_position, path + "." + entry.key,
             fmt::format("found {} values; expected {} as {} has", values.size(),
                         dimension.choices.size(), first));
      for (std::size_t i = 0; i < values.size(); ++i)
        dimension.choices[i].push_back(setting_of(entry, values[i]));
    }
  }

  void read_list(const YamlEntry& list, const std::string& path) {
    if (list.value.kind != YamlNode::Kind::list || list.value.items.empty())
      fail(list.key_position, path,
           fmt::format("found {}; expected a list of maps of paths to a value",
                       describe(list.value)));
    StudyDimension& dimension = study_.dimensions.emplace_back();
    std::set<std::string> own;
    for (std::size_t i = 0; i < list.value.items.size(); ++i) {
      const YamlNode& item = list.value.items[i];
      const std::string below = fmt::format("{}.{}", path, i);
      if (item.kind != YamlNode::Kind::map || item.entries.empty())
        fail(item.position, below,
             fmt::format("found {}; expected a map of paths to a value", describe(item)));
      auto& choice = dimension.choices.emplace_back();
      for (const YamlEntry& entry : item.entries) {
        if (!own.contains(entry.key)) begin_axis(entry, below);
        own.insert(entry.key);
        choice.push_back(setting_of(entry, entry.value));
        remember(entry.key, choice.back().change.value);
      }
    }
  }

  /// The values of one path: a list of them, or a range.
  std::vector<YamlNode> values_of(const YamlEntry& entry, const std::string& path,
                                  bool may_repeat = false) {
    const std::string below = path + "." + entry.key;
    begin_axis(entry, path);
    std::vector<YamlNode> values;
    if (entry.value.kind == YamlNode::Kind::map)
      values = Range{entry.value, below}.values();
    else if (entry.value.kind == YamlNode::Kind::list)
      values = entry.value.items;
    if (values.empty())
      fail(entry.value.kind == YamlNode::Kind::list ? entry.value.position : entry.key_position,
           below,
           fmt::format(
               "found {}; expected a list of values, or a range {{from, to, times}} or "
               "{{from, to, step}}",
               entry.value.kind == YamlNode::Kind::list ? "an empty list" : describe(entry.value)));
    std::map<std::string, SourcePosition> seen;
    for (const YamlNode& value : values) {
      const std::string text = flow_text(value);
      if (!seen.emplace(text, value.position).second && !may_repeat)
        fail(value.position, below, fmt::format("found {} a second time", describe(value)));
      remember(entry.key, text);
    }
    return values;
  }

  void begin_axis(const YamlEntry& entry, const std::string& path) {
    const std::vector<std::string> steps = split_path(entry.key);
    if (std::find(steps.begin(), steps.end(), "") != steps.end())
      fail(entry.key_position, path,
           fmt::format("found '{}'; expected a path as --set takes", entry.key));
    if (steps.front() == "job" || steps.front() == "extends")
      fail(entry.key_position, path, fmt::format("found '{}', which cannot be varied", entry.key));
    const auto [first, is_new] = places_.emplace(entry.key, entry.key_position);
    if (!is_new)
      fail(entry.key_position, path,
           fmt::format("found '{}' a second time; the first is at {}:{}:{}", entry.key,
                       first->second.file, first->second.line, first->second.column));
    study_.axes.push_back({entry.key, {}});
  }

  void remember(const std::string& path, const std::string& value) {
    for (core::StudyAxis& axis : study_.axes)
      if (axis.path == path &&
          std::find(axis.values.begin(), axis.values.end(), value) == axis.values.end())
        axis.values.push_back(value);
  }

  Study& study_;
  std::size_t points_ = 1;
  std::map<std::string, SourcePosition> places_;
};

/// The tree of `axes` as it was written, in the study or in what it extends; a document's nodes do
/// not give away theirs.
std::optional<YamlNode> axes_tree(const std::vector<std::filesystem::path>& files,
                                  const SourcePosition& where) {
  for (const std::filesystem::path& path : files) {
    const YamlNode tree = core::parse_yaml(core::read_text_file({path, where.file}), where.file);
    if (const YamlEntry* entry = tree.find("axes"))
      if (entry->key_position.line == where.line || entry->value.position.line == where.line)
        return entry->value;
  }
  return std::nullopt;
}

}  // namespace

void read_axes(const core::ConfigNode& root, const std::vector<std::filesystem::path>& files,
               Study& study) {
  if (!root.has("axes")) {
    root.at("axes").fail("missing; expected a list of grid, zip and list");
    return;
  }
  root.ignore("axes");
  const SourcePosition where = root.at("axes").position();
  const auto tree = axes_tree(files, where);
  if (!tree) return root.at("axes").fail("expected a list of grid, zip and list");
  try {
    AxesReader{study}.read(*tree, where);
  } catch (const ConfigError& error) {
    root.absorb(error);
  }
}

std::string flow_text(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::empty:
      return "null";
    case YamlNode::Kind::scalar:
      return node.scalar;
    case YamlNode::Kind::list: {
      std::string text;
      for (const YamlNode& item : node.items) text += (text.empty() ? "" : ", ") + flow_text(item);
      return "[" + text + "]";
    }
    case YamlNode::Kind::map: {
      std::string text;
      for (const YamlEntry& entry : node.entries)
        text += (text.empty() ? "" : ", ") + entry.key + ": " + flow_text(entry.value);
      return "{" + text + "}";
    }
  }
  return "";
}

}  // namespace tessera::app
