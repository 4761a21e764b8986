#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "models/device/cluster_spec.hpp"
#include "models/serving/inference.hpp"
#include "models/training/goodput.hpp"
#include "models/training/outer_steps.hpp"
#include "models/training/training.hpp"
#include "reports/cost.hpp"
#include "sim/core/config.hpp"
#include "sim/core/result.hpp"

namespace tessera::app {

/// What a user asks: a job, the machine that it runs on, and what to set beside the prediction.
struct Scenario {
  std::string name;   ///< File stem.
  std::string title;  ///< For people.
  std::variant<training::TrainingJob, serving::InferenceJob> job;
  device::ClusterSpec cluster;
  reports::CostAssumptions cost;
  /// What the scenario states for its own cluster, taken or not: USD per GPU and hour, and per GPU.
  std::optional<double> stated_rental;
  std::optional<double> stated_server;
  std::vector<core::PublishedRow> published;  ///< Without predictions.
  /// Kernel implementations instead of the device's defaults, the first that can run an operator.
  std::vector<std::string> kernels;
  std::optional<training::ReliabilitySpec> reliability;  ///< Of a run of `job.tokens`.
  std::optional<training::OuterStepSpec> sites;          ///< The cluster is one of several.
  bool sensitivity = false;  ///< `run` also repeats it with each unpublished choice changed.
  std::string resolved;  ///< JSON of every value with its origin, and of overrides below cluster
                         ///< and architecture.

  [[nodiscard]] bool trains() const { return std::holds_alternative<training::TrainingJob>(job); }
  /// Requires: the job is of this kind.
  [[nodiscard]] training::TrainingJob& training() { return std::get<training::TrainingJob>(job); }
  [[nodiscard]] const training::TrainingJob& training() const {
    return std::get<training::TrainingJob>(job);
  }
  [[nodiscard]] serving::InferenceJob& inference() { return std::get<serving::InferenceJob>(job); }
  [[nodiscard]] const serving::InferenceJob& inference() const {
    return std::get<serving::InferenceJob>(job);
  }
  [[nodiscard]] const device::DeviceSpec& device() const { return cluster.node.device; }
};

/// How a scenario is changed on its way in.
struct ScenarioOptions {
  std::vector<std::string> set;                ///< "path=value" of the command line.
  std::optional<std::string> other_cluster;    ///< Instead of the scenario's own; its stated rental
                                               ///< then does not apply, market prices do.
  std::vector<core::Override> overrides = {};  ///< Further changes, after `set`.
  /// Rents and server prices are the list's, not the scenario's own, except those in `overrides`.
  bool market_prices = false;
  std::map<std::string, double> quoted_rental = {};  ///< By device, before all others; USD/GPU/h.
};

/// Reads a scenario by path or bare name of workloads/scenarios, with everything that it names, and
/// checks that its parts agree. Throws core::ConfigError with all mistakes, and core::Refusal
/// (outside_model) for jobs that Tessera does not simulate.
[[nodiscard]] Scenario read_scenario(const std::string& path_or_name,
                                     const ScenarioOptions& options = {});

}  // namespace tessera::app
