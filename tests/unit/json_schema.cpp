#include "tests/unit/json_schema.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace tessera::testing {
namespace {

using nlohmann::json;

bool has_type(const json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

class Validator {
 public:
  explicit Validator(const json& root) : root_(root) {}

  void check(const json& schema, const json& value, const std::string& path) {
    if (schema == true) return;
    if (schema == false) return report(path, "is not allowed");
    if (schema.contains("$ref"))
      check(root_.at(json::json_pointer(schema.at("$ref").get<std::string>().substr(1))), value,
            path);
    check_keywords(schema, path);
    check_value(schema, value, path);
    if (value.is_object()) check_object(schema, value, path);
    if (value.is_array() && schema.contains("items"))
      for (std::size_t i = 0; i < value.size(); ++i)
        check(schema.at("items"), value[i], path + "/" + std::to_string(i));
  }

  std::vector<std::string> errors;

 private:
  void report(const std::string& path, const std::string& message) {
    errors.push_back(path + ": " + message);
  }

  void check_keywords(const json& schema, const std::string& path) {
    static const std::set<std::string> kKnown = {"$schema",
                                                 "$ref",
                                                 "$defs",
                                                 "title",
                                                 "description",
                                                 "type",
                                                 "const",
                                                 "enum",
                                                 "items",
                                                 "required",
                                                 "minimum",
                                                 "properties",
                                                 "additionalProperties"};
    for (const auto& [keyword, argument] : schema.items())
      if (!kKnown.contains(keyword)) report(path, "unknown keyword " + keyword);
  }

  void check_value(const json& schema, const json& value, const std::string& path) {
    if (schema.contains("type")) {
      const json types =
          schema.at("type").is_array() ? schema.at("type") : json::array({schema.at("type")});
      if (std::none_of(types.begin(), types.end(),
                       [&](const json& type) { return has_type(value, type); }))
        report(path, "is a " + std::string(value.type_name()));
    }
    if (schema.contains("const") && value != schema.at("const")) report(path, "is another value");
    if (schema.contains("enum")) {
      const json& allowed = schema.at("enum");
      if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
        report(path, "is none of the allowed values");
    }
    if (schema.contains("minimum") && value.is_number() && value < schema.at("minimum"))
      report(path, "is too small");
  }

  void check_object(const json& schema, const json& value, const std::string& path) {
    for (const json& key : schema.value("required", json::array()))
      if (!value.contains(key.get<std::string>())) report(path, "lacks " + key.get<std::string>());
    const json properties = schema.value("properties", json::object());
    const json others = schema.value("additionalProperties", json(true));
    for (const auto& [key, member] : value.items())
      check(properties.contains(key) ? properties.at(key) : others, member, path + "/" + key);
  }

  const json& root_;
};

}  // namespace

std::vector<std::string> schema_errors(const json& schema, const json& value) {
  Validator validator{schema};
  validator.check(schema, value, "");
  return validator.errors;
}

}  // namespace tessera::testing
