#include "sim/core/study_result.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

namespace tessera::core {
namespace {

Estimate figure(double value, double spread, const std::string& unit = "1") {
  return {value, value - spread, value + spread, unit, Grade::fitted};
}

/// Points of (tokens_per_second_per_user, tokens_per_dollar, tpot).
StudyResult study_of(const std::vector<std::vector<Estimate>>& rows) {
  StudyResult study;
  study.quantities = {"tokens_per_second_per_user", "tokens_per_dollar", "tpot"};
  for (const auto& row : rows) {
    StudyPoint point;
    point.number = study.points.size();
    for (const Estimate& e : row) point.quantities.emplace_back(e);
    study.points.push_back(point);
  }
  return study;
}

std::vector<std::size_t> indices(const StudyFront& front) {
  std::vector<std::size_t> list;
  for (const FrontPoint& point : front.points) list.push_back(point.point);
  return list;
}

}  // namespace

TEST_CASE("a front keeps what nothing beats in both directions, by ascending x", "[study]") {
  const StudyResult study = study_of({{figure(3, 0), figure(1, 0), figure(1, 0)},
                                      {figure(1, 0), figure(3, 0), figure(1, 0)},
                                      {figure(2, 0), figure(2, 0), figure(1, 0)},
                                      {figure(1.5, 0), figure(1.5, 0), figure(1, 0)},
                                      {figure(1, 0), figure(2.5, 0), figure(1, 0)}});
  const StudyFront front = front_of(study, "tokens_per_second_per_user", "tokens_per_dollar");
  CHECK(indices(front) == std::vector<std::size_t>{1, 2, 0});
  for (const FrontPoint& point : front.points) CHECK(point.certain);
}

TEST_CASE("equal points are on the front together", "[study]") {
  const StudyResult study = study_of(
      {{figure(1, 0), figure(1, 0), figure(1, 0)}, {figure(1, 0), figure(1, 0), figure(1, 0)}});
  CHECK(indices(front_of(study, "tokens_per_second_per_user", "tokens_per_dollar")).size() == 2);
}

TEST_CASE("a point beaten within intervals stays on the front as uncertain", "[study]") {
  const StudyResult study = study_of({{figure(2, 0.1), figure(2, 0.1), figure(1, 0)},
                                      {figure(1.9, 0.1), figure(1.9, 0.1), figure(1, 0)},
                                      {figure(1.7, 0.1), figure(1.7, 0.1), figure(1, 0)}});
  // 1.9 + 0.1 reaches 2 - 0.1; 1.7 + 0.1 does not.
  const StudyFront front = front_of(study, "tokens_per_second_per_user", "tokens_per_dollar");
  REQUIRE(indices(front) == std::vector<std::size_t>{1, 0});
  CHECK_FALSE(front.points[0].certain);
  CHECK(front.points[1].certain);
  CHECK(indices(front_of(study, "tokens_per_second_per_user", "tokens_per_dollar", false)) ==
        std::vector<std::size_t>{0});
}

TEST_CASE("less is better for times: the front turns around", "[study]") {
  const StudyResult study = study_of({{figure(1, 0), figure(1, 0), figure(10, 0)},
                                      {figure(1, 0), figure(2, 0), figure(20, 0)},
                                      {figure(1, 0), figure(1, 0), figure(20, 0)}});
  CHECK(indices(front_of(study, "tpot", "tokens_per_dollar")) == std::vector<std::size_t>{0, 1});
}

TEST_CASE("points that did not answer are on no front", "[study]") {
  StudyResult study = study_of({{figure(1, 0), figure(1, 0), figure(10, 0)}});
  study.points.push_back({.number = 1, .refusal_kind = "does_not_fit", .refused = "too large"});
  CHECK(indices(front_of(study, "tpot", "tokens_per_dollar")) == std::vector<std::size_t>{0});
  CHECK(attainment(study, study.points[1]) == Attainment::no);
}

TEST_CASE("a point stands to a target by value and by interval", "[study]") {
  StudyResult study = study_of({{figure(1, 0), figure(1, 0), figure(0.040, 0.005, "s")},
                                {figure(1, 0), figure(1, 0), figure(0.048, 0.005, "s")},
                                {figure(1, 0), figure(1, 0), figure(0.052, 0.005, "s")},
                                {figure(1, 0), figure(1, 0), figure(0.060, 0.005, "s")}});
  study.targets = {{"tpot", true, 0.050, "s"}};
  const auto at = [&](std::size_t i) { return attainment(study, study.points[i]); };
  CHECK(at(0) == Attainment::surely);
  CHECK(at(1) == Attainment::probably);
  CHECK(at(2) == Attainment::hardly);
  CHECK(at(3) == Attainment::no);
  study.targets.push_back({"tokens_per_second_per_user", false, 2, "1"});
  CHECK(at(0) == Attainment::no);
}

TEST_CASE("which quantities are better when larger", "[study]") {
  for (const char* name : {"tokens_per_second_per_gpu", "tokens_per_second_per_user",
                           "tokens_per_dollar", "mfu_bf16_causal", "largest_batch"})
    CHECK(more_is_better(name));
  for (const char* name :
       {"tpot", "ttft", "step_time", "dollars_per_million_tokens", "joules_per_token", "gpu_power",
        "kv_cache_per_token", "megawatt_hours_per_trillion_tokens"})
    CHECK_FALSE(more_is_better(name));
}

}  // namespace tessera::core
