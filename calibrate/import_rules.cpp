#include "calibrate/import_rules.hpp"

#include <algorithm>
#include <cctype>

#include "sim/core/config.hpp"

namespace tessera::calibrate {
namespace {

std::string lower(std::string_view text) {
  std::string result{text};
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

using Kind = OperatorRule::Kind;

const std::vector<std::pair<std::string, Kind>> kKinds = {
    {"gemm", Kind::gemm},
    {"batched_gemm", Kind::batched_gemm},
    {"scaled_gemm", Kind::scaled_gemm},
    {"attention", Kind::attention},
    {"cast", Kind::cast},
    {"static_quantize", Kind::static_quantize},
    {"fused_moe", Kind::fused_moe}};
const std::vector<std::pair<std::string, bool>> kLayouts = {{"bshd", false}, {"bhsd", true}};
constexpr int kMostArguments = 64;

OperatorRule read_operator(const core::ConfigNode& node) {
  const auto position = [&](const char* key) {
    return static_cast<int>(node.integer(key, 0, kMostArguments));
  };
  OperatorRule rule{.kind = node.choice("kind", kKinds)};
  switch (rule.kind) {
    case Kind::scaled_gemm:
      rule.scale_a = position("scale_a");
      rule.scale_b = position("scale_b");
      [[fallthrough]];
    case Kind::gemm:
    case Kind::batched_gemm:
      rule.a = position("a");
      rule.b = position("b");
      rule.b_transposed = node.boolean_or("b_transposed", false);
      break;
    case Kind::attention:
      rule.heads_first = node.choice("layout", kLayouts);
      rule.absent = node.integers("absent", 0, kMostArguments);
      rule.window = node.integers("window", 0, kMostArguments);
      rule.causal = position("causal");
      break;
    case Kind::static_quantize:
      rule.scale = position("scale");
      [[fallthrough]];
    case Kind::cast:
      rule.from = position("from");
      rule.to = position("to");
      break;
    case Kind::fused_moe:
      rule.tokens = position("tokens");
      rule.weights = position("weights");
      break;
  }
  return rule;
}

using Names = std::map<std::string, std::string, std::less<>>;

Names read_names(const core::ConfigNode& node) {
  Names names;
  for (const std::string& name : node.keys()) names[name] = node.text(name);
  return names;
}

template <class Map>
auto pointer_to(const Map& map, std::string_view key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

const core::LoadOptions kOptions{.kind = "import rules", .folder = "calibrate"};

}  // namespace

KernelFamily ImportRules::family(std::string_view kernel) const {
  const std::string name = lower(kernel);
  for (const FamilyRule& rule : families_)
    for (const std::string& part : rule.parts)
      if (name.find(part) != std::string::npos) return rule.family;
  return KernelFamily::other;
}

std::string ImportRules::gpu(std::string_view marketing_name) const {
  const auto found = gpus_.find(marketing_name);
  return found == gpus_.end() ? std::string{kUnknown} : found->second;
}

std::string ImportRules::ncu_metric(std::string_view section, std::string_view name) const {
  const auto found = ncu_metrics_.find({std::string{section}, std::string{name}});
  return found == ncu_metrics_.end() ? std::string{name} : found->second;
}

const OperatorRule* ImportRules::operator_rule(std::string_view name) const {
  return pointer_to(operators_, name);
}

std::string ImportRules::collective(std::string_view torch_name) const {
  const std::string* name = pointer_to(collectives_, torch_name);
  return name == nullptr ? std::string{} : *name;
}

const ImportRules::CollectiveType* ImportRules::collective_type(std::string_view torch_name) const {
  return pointer_to(collective_types_, torch_name);
}

ImportRules ImportRules::read(const core::ConfigDocument& document) {
  ImportRules rules;
  for (const core::ConfigNode& node : document.root().list("families")) {
    FamilyRule rule{node.choice("family", kernel_families()), {}};
    for (const std::string& part : node.texts("names")) rule.parts.push_back(lower(part));
    rules.families_.push_back(std::move(rule));
  }
  rules.gpus_ = read_names(document.root().object("gpus"));
  rules.types_ = read_names(document.root().object("types"));
  rules.collectives_ = read_names(document.root().object("collectives"));
  for (const core::ConfigNode& node : document.root().list("collective_types"))
    rules.collective_types_[node.text("type")] = {node.text("name"), node.integer("bytes", 1, 16)};
  for (const core::ConfigNode& node : document.root().list("operators"))
    rules.operators_[node.text("operator")] = read_operator(node);
  for (const core::ConfigNode& node : document.root().list("ncu_details"))
    rules.ncu_metrics_[{node.text("section"), node.text("name")}] = node.text("metric");
  document.finish();
  return rules;
}

ImportRules ImportRules::load() {
  return read(core::ConfigDocument::load("import_rules", kOptions));
}

ImportRules ImportRules::from_text(const std::string& text, const std::string& file) {
  return read(core::ConfigDocument::from_text(text, file, kOptions));
}

}  // namespace tessera::calibrate
