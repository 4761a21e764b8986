#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "reports/csv.hpp"
#include "reports/json.hpp"
#include "tests/sample_result.hpp"
#include "tests/unit/json_schema.hpp"

namespace {

using nlohmann::json;
using tessera::testing::sample_result;
using tessera::testing::schema_errors;
using Errors = std::vector<std::string>;

json result_schema() {
  std::ifstream file{TESSERA_SOURCE_DIR "/workloads/schema/result.json"};
  return json::parse(file);
}

json sample_json() { return json::parse(tessera::reports::to_json(sample_result())); }

}  // namespace

TEST_CASE("result.json keeps its schema, full and empty", "[report]") {
  CHECK(schema_errors(result_schema(), sample_json()) == Errors{});
  CHECK(schema_errors(result_schema(), json::parse(tessera::reports::to_json({}))) == Errors{});
}

TEST_CASE("the schema of result.json notices what is missing, foreign or of the wrong type",
          "[report]") {
  auto value = sample_json();
  value.erase("kernels");
  value["quantities"]["mfu"].erase("lower");
  value["quantities"]["step_time"]["grade"] = "guessed";
  value["phases"][1]["time"]["value"] = "1 s";
  value["extra"] = 1;
  CHECK(schema_errors(result_schema(), value) ==
        Errors{": lacks kernels", "/extra: is not allowed", "/phases/1/time/value: is a string",
               "/quantities/mfu: lacks lower",
               "/quantities/step_time/grade: is none of the allowed values"});
}

TEST_CASE("result.json carries the numbers of the result, exactly", "[report]") {
  auto result = sample_result();
  result.quantities[0].second.value = 0.1 + 0.2;  // needs 17 digits
  result.quantities[1].second.upper = std::numeric_limits<double>::infinity();
  const auto value = json::parse(tessera::reports::to_json(result));
  CHECK(value["quantities"]["step_time"]["value"] == 0.1 + 0.2);
  CHECK(value["quantities"]["mfu"]["upper"].is_null());
  CHECK(value["published"][0]["error"] == 19.5 / 19.926 - 1.0);
  CHECK(value["published"][1]["predicted"].is_null());
  CHECK(value["scenario"]["job"] == "training");
}

TEST_CASE("equal results give equal bytes", "[report]") {
  CHECK(tessera::reports::to_json(sample_result()) == tessera::reports::to_json(sample_result()));
}

TEST_CASE("text that is not UTF-8 does not break result.json", "[report]") {
  tessera::core::Result result;
  result.title = "caf\xE9";
  CHECK(json::parse(tessera::reports::to_json(result))["title"] == "caf\xEF\xBF\xBD");
}

TEST_CASE("kernels.csv has a head and one quoted line a kernel", "[report]") {
  auto result = sample_result();
  result.kernels.resize(1);
  result.kernels[0].energy_joules = 0.0552;
  result.kernels[0].time = {0.5, 0.25, 0.75, "s", tessera::core::Grade::fitted};
  CHECK(tessera::reports::kernels_csv(result) ==
        "name,family,implementation,shape,pass,calls_per_step,time_s,time_lower_s,time_upper_s,"
        "grade,cycles,clock_hz,flops,hbm_bytes,l2_bytes,energy_joules,binding,note\n"
        "q_down_projection,gemm,library,4096x1536x7168,forward,480,0.5,0.25,0.75,fitted,161460,"
        "1755000000,90200000000,86000000,258000000,0.0552,tensor,\"a note, \"\"quoted\"\"\"\n");
}
