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

ImportRules ImportRules::read(const core::ConfigDocument& document) {
  ImportRules rules;
  for (const core::ConfigNode& node : document.root().list("families")) {
    FamilyRule rule{node.choice("family", kernel_families()), {}};
    for (const std::string& part : node.texts("names")) rule.parts.push_back(lower(part));
    rules.families_.push_back(std::move(rule));
  }
  const core::ConfigNode gpus = document.root().object("gpus");
  for (const std::string& name : gpus.keys()) rules.gpus_[name] = gpus.text(name);
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
