#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/device/device_file.hpp"
#include "reports/export_check.hpp"
#include "sim/core/data_root.hpp"
#include "tests/unit/json_schema.hpp"

using namespace tessera;

TEST_CASE("what export-check prints as JSON keeps to its schema", "[export]") {
  const device::ExportRules rules = device::load_export_rules();
  std::vector<std::vector<reports::ExportCheck>> checks;
  for (const std::string name : {"h20_sxm", "h100_sxm", "b300_sxm"}) {
    std::vector<reports::ExportCheck>& row = checks.emplace_back();
    for (const std::string date : {"2022-01-01", "2023-10-17", "2026-01-15"})
      row.push_back(reports::export_check(device::load_device(name), rules, date));
  }
  const auto json = nlohmann::json::parse(reports::to_json(checks, rules));
  std::ifstream file(core::data_root() / "workloads/schema/export_check.json");
  CHECK(testing::schema_errors(nlohmann::json::parse(file), json) == std::vector<std::string>{});
  CHECK(json["checks"].size() == 9);
  CHECK(json["checks"][0]["standing"]["classes"][0] == "no rule in force");
}
