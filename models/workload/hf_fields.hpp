#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/core/config.hpp"

namespace tessera::workload {

/// A field of a configuration that changes nothing that is simulated, and why.
struct IgnoredField {
  std::string name;
  std::string why;
};

/// One map of a Hugging Face config.json, of which every field is accounted for: used, known to be
/// irrelevant, or reported by finish() as one that is not understood.
class HfFields {
 public:
  HfFields(core::ConfigNode node, std::string model_type)
      : node_(std::move(node)), model_type_(std::move(model_type)) {}

  /// Whether the field is there and not null; a null is accounted for.
  [[nodiscard]] bool has(std::string_view key);
  /// The field, which counts as used.
  [[nodiscard]] core::ConfigNode use(std::string_view key);
  /// A count: an integer in [min, 2^24].
  [[nodiscard]] std::int64_t count(std::string_view key, std::int64_t min = 1);
  [[nodiscard]] std::int64_t count_or(std::string_view key, std::int64_t min,
                                      std::int64_t fallback);
  [[nodiscard]] bool flag_or(std::string_view key, bool fallback);
  [[nodiscard]] std::string text_or(std::string_view key, const std::string& fallback);
  [[nodiscard]] std::vector<std::string> texts(std::string_view key);
  /// Reports a field whose value is not the only one that is understood; absent ones are fine.
  void expect(std::string_view key, std::int64_t value, const std::string& why);
  void expect(std::string_view key, bool value, const std::string& why);
  void expect(std::string_view key, const std::string& value, const std::string& why);
  /// Fields that this kind of model does not use, whatever they say.
  void ignore(std::string_view key, const std::string& why);
  void fail(std::string_view key, const std::string& message) { use(key).fail(message); }

  /// Reports fields that nobody asked for and that are not irrelevant for every model.
  void finish();
  [[nodiscard]] const std::vector<IgnoredField>& ignored() const { return ignored_; }
  [[nodiscard]] const core::ConfigNode& node() const { return node_; }
  [[nodiscard]] const std::string& model_type() const { return model_type_; }

 private:
  core::ConfigNode node_;
  std::string model_type_;
  std::set<std::string, std::less<>> used_;
  std::vector<IgnoredField> ignored_;
};

}  // namespace tessera::workload
