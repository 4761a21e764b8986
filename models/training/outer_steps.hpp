#pragma once

#include <cstdint>

#include "models/training/training.hpp"
#include "sim/core/data_type.hpp"
#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

/// Low-communication training across sites with thin links (DiLoCo, arXiv 2311.08105): every site
/// takes `inner_steps` steps on its own data, then the sites average how far their parameters moved
/// and take one outer step. Data stays in its site; what crosses the links are parameters.
namespace tessera::training {

struct OuterStepSpec {
  int sites = 2;                ///< Each one the scenario's cluster.
  core::BytesPerSecond link{};  ///< Of one site to the others, each way.
  core::Seconds latency{};      ///< One way.
  std::int64_t inner_steps = 500;
  core::DataType exchange = core::DataType::fp32;  ///< Of the averaged differences.
  /// Inner steps go on while differences travel (arXiv 2501.18512, section 2.3).
  bool overlapped = false;
};

/// Times of one round of a site: inner steps and the outer one.
struct OuterStep {
  core::Seconds exchange{};  ///< Ring all-reduce over the sites' links.
  core::Seconds update{};    ///< Nesterov momentum on FP32, spread over the site's GPUs.
  core::Seconds exposed{};   ///< Added to `inner_steps` steps.

  /// Mean time of an inner step, its part of the outer one included.
  [[nodiscard]] core::Seconds mean_step(core::Seconds step, std::int64_t inner_steps) const {
    return core::Seconds{step.value() + exposed.value() / static_cast<double>(inner_steps)};
  }
};

/// 2 (n-1)/n of the bytes over one site's link, and 2 (n-1) latencies (a ring of n sites).
[[nodiscard]] core::Seconds ring_over_sites(double bytes, const OuterStepSpec& spec);
/// `parameters` of the model; `step` of a site, inner.
[[nodiscard]] OuterStep outer_step(const OuterStepSpec& spec, double parameters, core::Seconds step,
                                   int gpus, core::BytesPerSecond hbm_rate);

/// Parameters of the whole model, MTP modules included.
[[nodiscard]] double trained_parameters(const workload::Architecture& architecture);

/// Adds what the sites together reach (quantities outer_step_time, step_time_across_sites,
/// tokens_per_day_across_sites, outer_communication_fraction, synchronous_step_time), with the
/// interval of `step`, and what was assumed. Returns the mean inner step.
core::Estimate add_outer_steps(core::Result& result, const OuterStepSpec& spec,
                               const TrainingJob& job, const core::Estimate& step);

}  // namespace tessera::training
