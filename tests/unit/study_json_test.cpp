#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "reports/aggregate.hpp"
#include "reports/bill.hpp"
#include "reports/ownership.hpp"
#include "reports/study_page.hpp"
#include "reports/study_tables.hpp"
#include "sim/core/data_root.hpp"
#include "tests/sample_study.hpp"
#include "tests/unit/json_schema.hpp"

using namespace tessera;
using Errors = std::vector<std::string>;
using nlohmann::json;

namespace {

Errors errors_of(const json& study) {
  std::ifstream file(core::data_root() / "workloads/schema/study_result.json");
  return testing::schema_errors(json::parse(file), study);
}

json json_of(const core::StudyResult& study) { return json::parse(reports::study_json(study)); }

}  // namespace

TEST_CASE("a study's result.json keeps its schema, full and empty", "[study]") {
  core::StudyResult study = testing::sample_study();
  CHECK(errors_of(json_of(study)) == Errors{});
  study.targets = {{"tokens_per_second_per_user", false, 20, "token/s"}};
  study.for_each = {"batch.sequences"};
  study.points[0].name = "h20_sxm";
  study.points[0].quantities[1].reset();
  CHECK(errors_of(json_of(study)) == Errors{});
  core::StudyResult empty;
  empty.kind = "sweep";
  empty.fidelity = "cycle";
  CHECK(errors_of(json_of(empty)) == Errors{});
}

TEST_CASE("the schema of a study's result.json notices what is wrong", "[study]") {
  json value = json_of(testing::sample_study());
  value.erase("best");
  value["points"][0]["quantities"]["tokens_per_dollar"].erase("upper");
  value["points"][1]["meets_targets"] = "maybe";
  value["front"]["points"][0]["certain"] = "yes";
  value["extra"] = 1;
  CHECK(errors_of(value) == Errors{": lacks best", "/extra: is not allowed",
                                   "/front/points/0/certain: is a string",
                                   "/points/0/quantities/tokens_per_dollar: lacks upper",
                                   "/points/1/meets_targets: is none of the allowed values"});
}

TEST_CASE("a study's result.json says which points are best and on the front", "[study]") {
  const core::StudyResult study = testing::sample_study();
  const json value = json_of(study);
  REQUIRE(value["best"].size() == study.best.size());
  CHECK(value["best"][0] == json{{"title", "Least dollars"}, {"number", 3}});
  CHECK(value["front"]["points"].size() == study.front->points.size());
  CHECK(value["points"][4]["refused"]["kind"] == "does_not_fit");
}

TEST_CASE("an axis is called by as much of its path as tells it apart", "[study]") {
  core::StudyResult study;
  study.axes = {{"disaggregation.prefill.cluster", {}},
                {"disaggregation.decode.cluster", {}},
                {"batch.sequences", {}},
                {"cluster", {}}};
  CHECK(reports::axis_names(study) ==
        std::vector<std::string>{"prefill.cluster", "decode.cluster", "sequences", "cluster"});
}

TEST_CASE("the total of an owned hour is the bill's own", "[study]") {
  core::Result result = testing::sample_study().best[0].result;
  result.cost = {
      {"server", testing::estimate(1, "USD/GPU/h", core::Grade::fitted, 0.5), ""},
      {"space", testing::estimate(1, "USD/GPU/h", core::Grade::assumed, 0.5), ""},
      {reports::kOwnedHour, testing::estimate(2, "USD/GPU/h", core::Grade::assumed, 0.3), ""},
      {"a million tokens", testing::estimate(0.5, "USD", core::Grade::assumed), ""}};
  const auto bills = reports::bills_of(result);
  REQUIRE(bills.size() == 2);
  CHECK(bills[1].parts.size() == 2);
  const json items = reports::waterfall_json(bills[1]);
  CHECK(items.back()["item"] == "total");
  CHECK(items.back()["upper"] == 2 * 1.3);
  CHECK(items.back()["grade"] == "assumed");
}

TEST_CASE("pools of servers are billed and shown apart", "[study]") {
  core::Result result;
  const auto phase = [](const char* rank, const char* name, double seconds) {
    return core::PhaseRow{rank, name, testing::estimate(seconds, "s", core::Grade::fitted)};
  };
  result.phases = {phase("prefill", "attention", 3), phase("prefill", "experts", 1),
                   phase("decode", "attention", 0.01), phase("decode", "exchange", 0.03)};
  const auto dollars = [](double value) {
    return testing::estimate(value, "USD", core::Grade::assumed);
  };
  result.quantities = {{"dollars_per_million_tokens", dollars(0.6)},
                       {"dollars_per_million_tokens_of_prefill", dollars(0.4)},
                       {"dollars_per_million_tokens_of_decode", dollars(0.2)}};
  const auto bills = reports::bills_of(result);
  REQUIRE(bills.size() == 1);
  REQUIRE(bills[0].parts.size() == 4);
  CHECK(bills[0].parts[0].first == "prefill: attention");
  CHECK(std::abs(bills[0].parts[0].second.value - 0.3) < 1e-12);
  CHECK(bills[0].parts[3].first == "decode: exchange");
  CHECK(std::abs(bills[0].parts[3].second.value - 0.15) < 1e-12);
  const auto tables = reports::phase_tables(result);
  REQUIRE(tables.size() == 1);
  CHECK(tables[0].heads == Errors{"prefill", "decode"});
  CHECK(tables[0].rows[0].seconds == std::vector<std::optional<double>>{3, 0.01});
  CHECK(tables[0].rows[1].seconds == std::vector<std::optional<double>>{1, std::nullopt});
}

TEST_CASE("what tokens cost is split by phase once", "[study]") {
  core::StudyResult study = testing::sample_study();
  core::Result& result = study.best[0].result;
  // Decode also says what bounds the same 5 ms.
  result.phases.push_back({"0", std::string(core::kBoundBy) + "hbm",
                           testing::estimate(4e-3, "s", core::Grade::fitted)});
  result.phases.push_back(
      {"0", std::string(core::kBoundBy) + "l2", testing::estimate(1e-3, "s", core::Grade::fitted)});
  REQUIRE(reports::bills_of(result).size() == 1);
  const auto parts = reports::bills_of(result).front().parts;
  REQUIRE(parts.size() == 2);
  CHECK(parts[0].first == "attention");
  CHECK(std::abs(parts[0].second.value / 0.5 - 0.4) < 1e-12);
  CHECK(std::abs(parts[1].second.value / 0.5 - 0.6) < 1e-12);
  CHECK(reports::bindings_over_ranks(result).size() == 2);
  // The bill of the first best point on the page: two phases and their total.
  const std::string page = reports::to_study_html(study, "");
  CHECK(page.find("\"item\":\"attention\"") != std::string::npos);
  CHECK(page.find("\"item\":\"bound by hbm\"") == std::string::npos);
}
