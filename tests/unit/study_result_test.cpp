#include "sim/core/study_result.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <cmath>
#include <string>
#include <vector>

namespace tessera::core {
namespace {

using Catch::Matchers::WithinRel;

constexpr double kTight = 1e-12;

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

TEST_CASE("a point that none beats for sure stays on the front as uncertain", "[study]") {
  const auto spread = [](double value) {
    return Estimate{value, value / 1.1, value * 1.1, "1", Grade::fitted};
  };
  // Their ratios err by 1.1 to the power of the root of 2: 1.144.
  const StudyResult study = study_of({{spread(2), spread(2), figure(1, 0)},
                                      {spread(1.76), spread(1.76), figure(1, 0)},
                                      {spread(1.74), spread(1.74), figure(1, 0)}});
  const StudyFront front = front_of(study, "tokens_per_second_per_user", "tokens_per_dollar");
  REQUIRE(indices(front) == std::vector<std::size_t>{1, 0});
  CHECK_FALSE(front.points[0].certain);
  CHECK(front.points[1].certain);
}

TEST_CASE("two points of one device share half of their error", "[study]") {
  StudyResult study = study_of(
      {{figure(2, 0), figure(2, 0), figure(1, 0)}, {figure(1, 0), figure(1, 0), figure(1, 0)}});
  const auto ratio = [&] {
    return ratio_of(study, study.points[0], study.points[1], "tokens_per_second_per_user");
  };
  study.points[0].quantities[0] = Estimate{2, 2 / 1.3, 2 * 1.2, "1", Grade::fitted};
  study.points[1].quantities[0] = Estimate{1, 1 / 1.2, 1 * 1.1, "1", Grade::transferred};
  CHECK(ratio().value == 2);
  CHECK(ratio().grade == Grade::transferred);
  // Up when the first errs upwards and the second downwards.
  CHECK_THAT(std::log(ratio().upper / 2),
             WithinRel(std::hypot(std::log(1.2), std::log(1.2)), kTight));
  CHECK_THAT(std::log(2 / ratio().lower),
             WithinRel(std::hypot(std::log(1.3), std::log(1.1)), kTight));
  // c2 = a2 + b2 - 2 x 0.5 a b: of equal errors one is left.
  for (StudyPoint& point : study.points) point.facts = {{kDeviceFact, "h20_sxm"}};
  CHECK_THAT(ratio().upper, WithinRel(2 * 1.2, kTight));
  study.points[1].facts = {{kDeviceFact, "h200_sxm"}};
  CHECK(ratio().upper > 2.5);
}

TEST_CASE("the price of one device cancels between its points", "[study]") {
  StudyResult study;
  study.quantities = {"tokens_per_dollar", "dollars_per_million_tokens",
                      "tokens_per_second_per_gpu"};
  const auto add = [&](double tokens) {
    const auto around = [](double value, double down, double up) {
      return Estimate{value, value / down, value * up, "1", Grade::assumed};
    };
    StudyPoint point;
    // A rent that is known to a factor of 2, tokens to +10 and -20 %.
    point.quantities = {around(tokens * 1e3, 2.1, 2.1), around(1e3 / tokens, 2.1, 2.1),
                        around(tokens, 1.25, 1.1)};
    point.quantities[2]->grade = Grade::fitted;
    study.points.push_back(point);
  };
  add(150);
  add(100);
  const auto ratio = [&](const char* name) {
    return ratio_of(study, study.points[0], study.points[1], name);
  };
  CHECK(ratio("tokens_per_dollar").upper > 1.5 * 2.1);
  CHECK_FALSE(surely_no_worse(study, study.points[0], study.points[1], "tokens_per_dollar"));
  for (StudyPoint& point : study.points) point.facts = {{kDeviceFact, "h20_sxm"}};
  const Estimate tokens = ratio("tokens_per_second_per_gpu");
  CHECK_THAT(ratio("tokens_per_dollar").lower, WithinRel(tokens.lower, kTight));
  CHECK_THAT(ratio("tokens_per_dollar").upper, WithinRel(tokens.upper, kTight));
  CHECK_THAT(ratio("dollars_per_million_tokens").lower, WithinRel(1 / tokens.upper, kTight));
  CHECK(ratio("tokens_per_dollar").grade == Grade::fitted);
  CHECK(surely_no_worse(study, study.points[0], study.points[1], "tokens_per_dollar"));
  CHECK(surely_no_worse(study, study.points[0], study.points[1], "dollars_per_million_tokens"));
}

TEST_CASE("points of one device at different prices share no error of a bill", "[study]") {
  StudyResult study = study_of(
      {{figure(2, 0), figure(2, 0), figure(1, 0)}, {figure(1, 0), figure(1, 0), figure(1, 0)}});
  study.axes = {{"cost.kind", {"rental", "ownership"}}};
  study.points[0].settings = {"rental"};
  study.points[1].settings = {"ownership"};
  for (StudyPoint& point : study.points) point.facts = {{kDeviceFact, "h20_sxm"}};
  for (StudyPoint& point : study.points)
    point.quantities[1] = Estimate{1, 1 / 1.5, 1.5, "1", Grade::assumed};
  const double both = std::exp(std::sqrt(2.0) * std::log(1.5));
  CHECK_THAT(ratio_of(study, study.points[0], study.points[1], "tokens_per_dollar").upper,
             WithinRel(both, kTight));
  study.points[1].settings = {"rental"};
  CHECK(ratio_of(study, study.points[0], study.points[1], "tokens_per_dollar").upper < 1.6);
}

TEST_CASE("points of two models share no error, on one device too", "[study]") {
  StudyResult study = study_of(
      {{figure(2, 0), figure(2, 0), figure(1, 0)}, {figure(1, 0), figure(1, 0), figure(1, 0)}});
  study.axes = {{"architecture", {"deepseek_v3", "kimi_k2"}}};
  study.points[0].settings = {"deepseek_v3"};
  study.points[1].settings = {"kimi_k2"};
  for (StudyPoint& point : study.points) {
    point.facts = {{kDeviceFact, "h20_sxm"}};
    point.quantities[0] = Estimate{1, 1 / 1.2, 1.2, "1", Grade::fitted};
  }
  const auto upper = [&] {
    return ratio_of(study, study.points[0], study.points[1], "tokens_per_second_per_user").upper;
  };
  CHECK_THAT(upper(), WithinRel(std::exp(std::sqrt(2.0) * std::log(1.2)), kTight));
  study.points[1].settings = {"deepseek_v3"};
  CHECK_THAT(upper(), WithinRel(1.2, kTight));
}

TEST_CASE("more requests and busier pools are better", "[study]") {
  CHECK(more_is_better("requests_per_second"));
  CHECK(more_is_better("decode_busy"));
  CHECK_FALSE(more_is_better("dollars_per_million_tokens_of_prefill"));
  CHECK_FALSE(more_is_better("kv_transfer_exposed"));
}

TEST_CASE("points of different jobs do not beat each other", "[study]") {
  StudyResult study = study_of(
      {{figure(2, 0), figure(2, 0), figure(1, 0)}, {figure(1, 0), figure(1, 0), figure(1, 0)}});
  study.axes = {{"batch.context", {"1024", "4096"}}, {"batch.sequences", {"8"}}};
  study.points[0].settings = {"1024", "8"};
  study.points[1].settings = {"4096", "8"};
  const auto front = [&] {
    for (StudyPoint& point : study.points) point.job = job_of(study, point);
    return indices(front_of(study, "tokens_per_second_per_user", "tokens_per_dollar"));
  };
  CHECK(front() == std::vector<std::size_t>{0});
  CHECK(jobs_of(study) == std::vector<std::string>{""});
  study.for_each = {"batch.context"};
  CHECK(front() == std::vector<std::size_t>{1, 0});
  CHECK(jobs_of(study) == std::vector<std::string>{"batch.context 1024", "batch.context 4096"});
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
