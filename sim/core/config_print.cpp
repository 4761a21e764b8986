#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "sim/core/config.hpp"
#include "sim/core/config_state.hpp"

namespace tessera::core {
namespace {

/// Column at which origins start, so that they line up for values of usual length.
constexpr std::size_t kOriginColumn = 44;

std::string scalar_text(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar) return "~";
  const bool plain = !node.quoted &&
                     node.scalar.find_first_of("\n\"'#{}[],&*!|>%@`") == std::string::npos &&
                     node.scalar.find(": ") == std::string::npos;
  return plain ? node.scalar : nlohmann::json(node.scalar).dump();
}

bool is_flat_list(const YamlNode& node) {
  return node.kind == YamlNode::Kind::list &&
         std::none_of(node.items.begin(), node.items.end(), [](const YamlNode& item) {
           return item.kind == YamlNode::Kind::list || item.kind == YamlNode::Kind::map;
         });
}

/// Writes a tree as YAML, each value with a comment that says where it was written.
class Printer {
 public:
  Printer(std::string file, bool with_origins)
      : file_(std::move(file)), with_origins_(with_origins) {}

  std::string print(const YamlNode& root) {
    map(root, 0);
    return std::move(text_);
  }

 private:
  void line(std::string line, const SourcePosition& origin) {
    if (with_origins_) {
      line.resize(std::max(line.size() + 2, kOriginColumn), ' ');
      line += fmt::format("# {}:{}:{}", origin.file, origin.line, origin.column);
      if (origin.file == "--set")
        line += ", override";
      else if (origin.file != file_)
        line += ", inherited";
    }
    text_ += line + '\n';
  }

  void value(const std::string& prefix, const YamlNode& node, std::size_t indent) {
    if (is_flat_list(node)) {
      std::string items;
      for (const YamlNode& item : node.items)
        items += (items.empty() ? "" : ", ") + scalar_text(item);
      line(fmt::format("{} [{}]", prefix, items),
           node.items.empty() ? node.position : node.items.front().position);
    } else if (node.kind == YamlNode::Kind::list) {
      text_ += prefix + '\n';
      for (const YamlNode& item : node.items) list_item(item, indent + 2);
    } else if (node.kind == YamlNode::Kind::map && !node.entries.empty()) {
      text_ += prefix + '\n';
      map(node, indent + 2);
    } else if (node.kind == YamlNode::Kind::map) {
      line(prefix + " {}", node.position);
    } else {
      line(prefix + ' ' + scalar_text(node), node.position);
    }
  }

  void list_item(const YamlNode& item, std::size_t indent) {
    value(std::string(indent, ' ') + '-', item, indent);
  }

  void map(const YamlNode& node, std::size_t indent) {
    for (const YamlEntry& entry : node.entries) {
      YamlNode key;
      key.kind = YamlNode::Kind::scalar;
      key.scalar = entry.key;
      value(std::string(indent, ' ') + scalar_text(key) + ':', entry.value, indent);
    }
  }

  std::string file_;
  bool with_origins_;
  std::string text_;
};

}  // namespace

std::string ConfigDocument::to_yaml(bool with_origins) const {
  return Printer(state_->file, with_origins).print(state_->root);
}

}  // namespace tessera::core
