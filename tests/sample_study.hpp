#pragma once

#include <string>
#include <vector>

#include "sim/core/study_result.hpp"
#include "tests/sample_result.hpp"

namespace tessera::testing {

/// Two devices by two batches, and a batch that does not fit on one of them.
inline core::StudyResult sample_study() {
  using core::Grade;
  core::StudyResult study;
  study.kind = "sweep";
  study.name = "devices";
  study.title = "Decode of <R1> on two devices";
  study.base = "r1_decode";
  study.fidelity = "analytical";
  study.tessera_version = "0.1.0";
  study.axes = {{"cluster", {"h20_sxm", "h200_sxm"}}, {"batch.sequences", {"8", "64", "512"}}};
  study.quantities = {"tokens_per_second_per_gpu", "tokens_per_second_per_user",
                      "dollars_per_million_tokens", "tokens_per_dollar"};
  struct Answer {
    const char* device;
    const char* batch;
    double per_gpu, per_user, dollars;
  };
  for (const Answer& answer :
       {Answer{"h20_sxm", "8", 300, 40, 1.1}, Answer{"h20_sxm", "64", 900, 14, 0.6},
        Answer{"h200_sxm", "8", 500, 65, 1.5}, Answer{"h200_sxm", "64", 1900, 30, 0.5}}) {
    core::StudyPoint& point = study.points.emplace_back();
    point.number = study.points.size() - 1;
    point.settings = {answer.device, answer.batch};
    point.quantities = {estimate(answer.per_gpu, "token/s", Grade::transferred),
                        estimate(answer.per_user, "token/s", Grade::transferred),
                        estimate(answer.dollars, "USD", Grade::assumed),
                        estimate(1e6 / answer.dollars, "token/USD", Grade::assumed)};
    point.facts = {{"binding", "hbm 61 %"}};
  }
  core::StudyPoint refused;
  refused.number = study.points.size();
  refused.settings = {"h20_sxm", "512"};
  refused.quantities.resize(study.quantities.size());
  refused.refusal_kind = "does_not_fit";
  refused.refused = "needs 200 GB of 96 GB <here>";
  study.points.push_back(refused);
  study.refusals = {{"does_not_fit", 1}};
  study.front = core::front_of(study, "tokens_per_second_per_user", "tokens_per_dollar");
  for (const std::size_t best : {3, 1}) {
    core::Result result;
    result.fits = "h200_sxm";
    result.quantities = {{"dollars_per_million_tokens", *study.points[best].quantities[2]}};
    result.phases = {{"all", "attention", estimate(2e-3, "s", Grade::fitted)},
                     {"all", "experts", estimate(3e-3, "s", Grade::fitted)}};
    result.cost = {{"rental rate", estimate(3.5, "USD/GPU/h", Grade::assumed), "a list, 2026"}};
    result.assumptions = {"Routing is balanced."};
    study.best.push_back({"Least dollars", best, result});
  }
  study.answer = {"h200_sxm wins: 0.500 against 0.600 USD, the intervals overlap."};
  study.warnings = {"Analytical fidelity."};
  return study;
}

}  // namespace tessera::testing
