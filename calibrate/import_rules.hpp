#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/imported_rows.hpp"
#include "calibrate/operator_shapes.hpp"

namespace tessera::core {
class ConfigDocument;
}

namespace tessera::calibrate {

/// What the importers know about other tools' names: a reading of calibrate/import_rules.yaml.
/// Nothing that is not in that file is recognised.
class ImportRules {
 public:
  /// Throws core::ConfigError.
  static ImportRules load();
  static ImportRules from_text(const std::string& text, const std::string& file);

  /// Family of a kernel: that of the first rule with a part which the name contains, letters in
  /// either case; other when there is none.
  [[nodiscard]] KernelFamily family(std::string_view kernel) const;
  /// Device of hw_configs that a driver calls `marketing_name`, exactly; `unknown` when not listed.
  [[nodiscard]] std::string gpu(std::string_view marketing_name) const;
  /// Nsight Compute's metric behind a name of its details page; `name` itself when not listed.
  [[nodiscard]] std::string ncu_metric(std::string_view section, std::string_view name) const;
  /// How an operator of PyTorch's profiler gives its shape; none when it is not listed.
  [[nodiscard]] const OperatorRule* operator_rule(std::string_view name) const;
  /// PyTorch's element types as the measurements call them.
  [[nodiscard]] const std::map<std::string, std::string, std::less<>>& types() const {
    return types_;
  }
  /// nccl-tests' name of a collective of torch.distributed; "" when it is not listed.
  [[nodiscard]] std::string collective(std::string_view torch_name) const;
  struct CollectiveType {
    std::string name;  ///< nccl-tests'.
    std::int64_t bytes = 0;
  };
  [[nodiscard]] const CollectiveType* collective_type(std::string_view torch_name) const;

 private:
  static ImportRules read(const core::ConfigDocument& document);

  struct FamilyRule {
    KernelFamily family;
    std::vector<std::string> parts;  ///< Lower case.
  };
  std::vector<FamilyRule> families_;
  std::map<std::string, std::string, std::less<>> gpus_;
  std::map<std::pair<std::string, std::string>, std::string> ncu_metrics_;  ///< Section, name.
  std::map<std::string, std::string, std::less<>> types_, collectives_;
  std::map<std::string, OperatorRule, std::less<>> operators_;
  std::map<std::string, CollectiveType, std::less<>> collective_types_;
};

}  // namespace tessera::calibrate
