#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "sim/app/price_choice.hpp"
#include "sim/app/run_settings.hpp"
#include "sim/app/scenario.hpp"
#include "sim/core/study_result.hpp"

/// Devices side by side at serving: for each, the largest batch that fits and keeps the limits.
namespace tessera::app {

/// What is compared.
struct ServingQuestion {
  std::string scenario;               ///< As read_scenario takes it: a decode scenario.
  std::vector<std::string> set;       ///< Changes of every column.
  std::vector<std::string> clusters;  ///< Names of clusters, or of devices; empty: the scenario's.
  /// Each a set of limits, "tpot=50ms,tokens_per_second_per_user=20 tokens/s".
  std::vector<std::string> slo;
  PriceChoice prices;  ///< Of every column.
};

/// What one cluster gives under one set of limits.
struct ServingColumn {
  std::string name;  ///< Of the cluster.
  std::string device;
  std::optional<std::size_t> point;  ///< Index into the comparison's points; none: see `reason`.
  std::string reason;                ///< Why there is no point.
  core::Attainment attainment = core::Attainment::no;
};

struct ServingAnswer {
  std::vector<core::StudyTarget> targets;  ///< Empty: whatever fits.
  std::vector<ServingColumn> columns;      ///< In the order of the clusters.
  std::vector<std::string> sentences;      ///< Which wins, and how surely.
};

struct ServingComparison {
  core::StudyResult study;  ///< All batches that were tried on all clusters, and the front.
  std::vector<ServingAnswer> answers;  ///< One a set of limits.
};

/// Finds, on each cluster and for each set of limits, the largest `batch.sequences` that fits and
/// keeps them: by powers of two, then by halving the step to the first that does not. Throws
/// core::ConfigError for clusters and limits that are none; what a cluster cannot do is a reason in
/// its column.
[[nodiscard]] ServingComparison compare_serving(const ServingQuestion& question,
                                                const RunSettings& settings);

/// Runs the points of all columns once more for their whole answers, which reports explain.
void complete_best(ServingComparison& comparison, const ServingQuestion& question,
                   const RunSettings& settings);

/// One table a set of limits, the sentences, the columns that have no point and why.
void print_comparison(const ServingComparison& comparison, std::FILE* stream);

/// Which column wins in throughput and in price, and whether the intervals tell it apart.
[[nodiscard]] std::vector<std::string> winners(const core::StudyResult& study,
                                               const ServingAnswer& answer);

}  // namespace tessera::app
