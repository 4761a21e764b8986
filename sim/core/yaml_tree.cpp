#include "sim/core/yaml_tree.hpp"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <sstream>
#include <utility>

namespace tessera::core {
namespace {

std::string quote(std::string_view text) {
  constexpr std::size_t kShown = 60;
  std::string shown;
  for (const char c : text.substr(0, kShown)) shown += (c == '\n' || c == '\r') ? ' ' : c;
  return fmt::format("'{}{}'", shown, text.size() > kShown ? "..." : "");
}

std::size_t count_values(const YamlNode& node) {
  std::size_t total = 1;
  for (const YamlNode& item : node.items) total += count_values(item);
  for (const YamlEntry& entry : node.entries) total += count_values(entry.value);
  return total;
}

int depth_of(const YamlNode& node) {
  int deepest = 0;
  for (const YamlNode& item : node.items) deepest = std::max(deepest, depth_of(item));
  for (const YamlEntry& entry : node.entries) deepest = std::max(deepest, depth_of(entry.value));
  return deepest + 1;
}

/// Builds the tree from yaml-cpp's events, which keep duplicate keys and positions that YAML::Node
/// drops.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string file, int first_line, int first_column)
      : file_(std::move(file)), first_line_(first_line), first_column_(first_column) {}

  [[nodiscard]] SourcePosition position(const YAML::Mark& mark) const {
    const int column = mark.column + (mark.line == 0 ? first_column_ : 1);
    return {file_, mark.line + first_line_, column};
  }

  YamlNode take() { return std::move(root_); }
  std::vector<Diagnostic>& mistakes() { return mistakes_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    YamlNode node;
    node.position = position(mark);
    add(std::move(node), anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    YamlNode node;
    node.kind = YamlNode::Kind::scalar;
    node.position = position(mark);
    node.scalar = value;
    node.quoted = tag == "!";
    add(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(position(mark), "found an alias that contains itself");
    if (static_cast<int>(open_.size()) + depth_of(found->second) > kMaxYamlDepth) too_deep(mark);
    check_values(count_values(found->second), position(mark));
    add(found->second, 0);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    std::string key;
    SourcePosition key_position;
    std::map<std::string, int> first_lines;  ///< Of the keys so far.
  };

  [[noreturn]] void fail(SourcePosition where, std::string message) {
    mistakes_.push_back({std::move(where), std::move(message)});
    throw ConfigError(mistakes_);
  }
  [[noreturn]] void too_deep(const YAML::Mark& mark) {
    fail(position(mark), fmt::format("found nesting deeper than {} levels", kMaxYamlDepth));
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    mistakes_.push_back(
        {position(mark), fmt::format("found the tag {}; tags mean nothing here", quote(tag))});
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    check_tag(mark, tag);
    if (static_cast<int>(open_.size()) >= kMaxYamlDepth) too_deep(mark);
    Open opened;
    opened.node.kind = kind;
    opened.node.position = position(mark);
    opened.anchor = anchor;
    open_.push_back(std::move(opened));
  }

  void close() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    values_ -= count_values(closed.node) - 1;  // add() counts the whole subtree again
    add(std::move(closed.node), closed.anchor);
  }

  [[nodiscard]] std::string path(const std::string& key) const {
    std::string text;
    for (const Open& o : open_)
      if (o.has_key) text += o.key + '.';
    return text + key;
  }

  void check_values(std::size_t more, const SourcePosition& where) {
    if (values_ + more > kMaxYamlValues)
      fail(where, fmt::format("found more than {} values after expanding aliases", kMaxYamlValues));
  }

  void add(YamlNode node, YAML::anchor_t anchor) {
    const std::size_t more = count_values(node);
    check_values(more, node.position);
    values_ += more;
    if (anchor != 0) anchors_[anchor] = node;
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::list) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      take_key(parent, node);
    } else {
      parent.has_key = false;
      add_entry(parent, std::move(node));
    }
  }

  void take_key(Open& parent, const YamlNode& node) {
    if (node.kind != YamlNode::Kind::scalar)
      fail(node.position, fmt::format("found {} as a key; expected a name", describe(node)));
    parent.key = node.scalar;
    parent.key_position = node.position;
    parent.has_key = true;
  }

  void add_entry(Open& parent, YamlNode value) {
    const auto [first, is_new] = parent.first_lines.emplace(parent.key, parent.key_position.line);
    if (!is_new) {
      mistakes_.push_back(
          {parent.key_position, fmt::format("{}: found a duplicate key; the first is on line {}",
                                            path(parent.key), first->second)});
      return;
    }
    parent.node.entries.push_back({parent.key, parent.key_position, std::move(value), false});
  }

  std::string file_;
  int first_line_;
  int first_column_;
  YamlNode root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  std::size_t values_ = 0;
  std::vector<Diagnostic> mistakes_;
};

/// Length of the UTF-8 sequence at `text[i]`, or 0 when it is not one or is a control character.
std::size_t utf8_length(const std::string& text, std::size_t i) {
  const auto byte = [&](std::size_t k) {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U;
  };
  const unsigned lead = byte(i);
  if (lead < 0x80)
    return (lead >= 0x20 && lead != 0x7f) || lead == '\n' || lead == '\t' || lead == '\r' ? 1 : 0;
  const std::size_t length = lead >= 0xf0 && lead < 0xf5   ? 4
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xc2 && lead < 0xe0 ? 2
                                                           : 0;
  for (std::size_t k = 1; k < length; ++k)
    if ((byte(i + k) & 0xc0) != 0x80) return 0;
  return length;
}

/// Reports the first byte that is not text and every tab that stands for indentation.
void check_text(const std::string& text, const TreeBuilder& builder,
                std::vector<Diagnostic>& mistakes) {
  YAML::Mark mark;
  mark.line = mark.column = 0;
  bool indentation = true;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) {
      mistakes.push_back(
          {builder.position(mark), fmt::format("found the byte 0x{:02x}; expected UTF-8 text",
                                               static_cast<unsigned char>(text[i]))});
      return;
    }
    const char c = text[i];
    if (indentation && c == '\t') {
      mistakes.push_back(
          {builder.position(mark), "found a tab in the indentation; expected spaces"});
      indentation = false;
    }
    if (c != ' ') indentation = c == '\n';
    if (c == '\n') {
      ++mark.line;
      mark.column = 0;
    } else {
      ++mark.column;
    }
    i += length;
  }
}

}  // namespace

YamlEntry* YamlNode::find(std::string_view key) {
  for (YamlEntry& entry : entries)
    if (entry.key == key) return &entry;
  return nullptr;
}

const YamlEntry* YamlNode::find(std::string_view key) const {
  return const_cast<YamlNode*>(this)->find(key);
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::empty:
      return "nothing";
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
    case YamlNode::Kind::scalar:
      return quote(node.scalar);
  }
  return "nothing";
}

YamlNode parse_yaml(const std::string& text, const std::string& file, int first_line,
                    int first_column) {
  TreeBuilder builder(file, first_line, first_column);
  if (text.size() > kMaxYamlBytes)
    throw ConfigError({file, 0, 0}, fmt::format("found {} bytes; expected at most {}", text.size(),
                                                kMaxYamlBytes));
  check_text(text, builder, builder.mistakes());
  if (!builder.mistakes().empty()) throw ConfigError(builder.mistakes());
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    YamlNode root = builder.take();
    TreeBuilder rest(file, first_line, first_column);
    if (parser && parser.HandleNextDocument(rest))
      builder.mistakes().push_back({rest.take().position, "found a second document; expected one"});
    if (!builder.mistakes().empty()) throw ConfigError(builder.mistakes());
    if (root.position.line == 0) root.position = {file, first_line, first_column};
    return root;
  } catch (const YAML::Exception& error) {
    builder.mistakes().push_back(
        {builder.position(error.mark.is_null() ? YAML::Mark() : error.mark),
         fmt::format("found text that is not YAML ({})", error.msg)});
    throw ConfigError(builder.mistakes());
  }
}

}  // namespace tessera::core
