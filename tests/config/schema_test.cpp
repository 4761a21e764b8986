#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "models/device/cluster_file.hpp"
#include "models/device/device_file.hpp"
#include "models/device/export_rules.hpp"
#include "models/device/price_list.hpp"
#include "models/workload/architecture_file.hpp"
#include "models/workload/video_transformer.hpp"
#include "sim/core/data_root.hpp"

namespace tessera::config_test {
namespace {

using nlohmann::ordered_json;

/// Checks that a resolved description has exactly the keys of its schema: but for keys with a
/// default there, one on one side only is a mistake of the schema.
void check_keys(const ordered_json& schema, const ordered_json& value, const std::string& path) {
  if (!schema.contains("properties")) return;
  std::set<std::string> in_schema;
  for (const auto& [key, unused] : schema["properties"].items())
    if (key != "extends" && (!unused.contains("default") || value.contains(key)))
      in_schema.insert(key);
  std::set<std::string> in_value;
  for (const auto& [key, unused] : value.items()) in_value.insert(key);
  INFO("at '" << path << "'");
  CHECK(in_schema == in_value);
  for (const auto& [key, part] : schema["properties"].items())
    if (value.contains(key)) check_keys(part, value[key], path + "." + key);
}

void check(const std::string& schema_name, const std::string& name,
           const core::LoadOptions& options) {
  std::ifstream stream(core::data_root() / "workloads/schema" / (schema_name + ".json"));
  const ordered_json schema = ordered_json::parse(stream);
  INFO(schema_name << " " << name);
  check_keys(schema, core::ConfigDocument::load(name, options).resolved(false), "");
}

TEST_CASE("the schemas for editors have the keys of the readers", "[config][schema]") {
  for (const std::string& name : core::names_in("hw_configs/devices"))
    check("device", name, device::device_options());
  for (const std::string& name : core::names_in("hw_configs/nodes"))
    check("node", name, device::node_options());
  for (const std::string& name : core::names_in("hw_configs/clusters"))
    check("cluster", name, device::cluster_options());
  for (const std::string& name : core::names_in("hw_configs/fabrics"))
    check("fabric", name, {.kind = "fabric", .folder = "hw_configs/fabrics"});
  check("prices", "prices", device::price_options());
  check("export_rules", "export_rules", device::export_rule_options());
  for (const std::string& name : core::names_in("workloads/architectures")) {
    if (workload::load_video_transformer(name)) continue;  // has keys of its own
    check("architecture", name, {.kind = "architecture", .folder = workload::kArchitectureFolder});
  }
}

}  // namespace
}  // namespace tessera::config_test
