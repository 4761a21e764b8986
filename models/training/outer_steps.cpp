#include "models/training/outer_steps.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "models/workload/parameters.hpp"
#include "models/workload/part_builder.hpp"

namespace tessera::training {
namespace {

using core::Seconds;

constexpr double kFp32Bytes = 4;
/// FP32 elements that the outer update moves for a parameter: reads difference, momentum and the
/// parameters that the round began with, writes momentum, those parameters and the new ones.
constexpr double kUpdateElements = 6;

}  // namespace

Seconds ring_over_sites(double bytes, const OuterStepSpec& spec) {
  const double hops = 2.0 * (spec.sites - 1);
  return Seconds{hops / spec.sites * bytes / spec.link.value() + hops * spec.latency.value()};
}

OuterStep outer_step(const OuterStepSpec& spec, double parameters, Seconds step, int gpus,
                     core::BytesPerSecond hbm_rate) {
  OuterStep outer;
  outer.exchange = ring_over_sites(parameters * workload::weight_bytes(spec.exchange), spec);
  outer.update = Seconds{parameters * kUpdateElements * kFp32Bytes / gpus / hbm_rate.value()};
  const double hidden = spec.overlapped ? static_cast<double>(spec.inner_steps) * step.value() : 0;
  outer.exposed = Seconds{std::max(0.0, outer.exchange.value() - hidden) + outer.update.value()};
  return outer;
}

double trained_parameters(const workload::Architecture& architecture) {
  double parameters = workload::main_parameters(architecture).total();
  if (architecture.mtp_modules > 0) {
    parameters += static_cast<double>(architecture.mtp_modules) *
                  workload::mtp_parameters(architecture).total();
  }
  return parameters;
}

core::Estimate add_outer_steps(core::Result& result, const OuterStepSpec& spec,
                               const TrainingJob& job, const core::Estimate& step) {
  const double parameters = trained_parameters(job.architecture);
  const core::BytesPerSecond hbm_rate{job.device.hbm.peak_rate.value() * job.device.hbm.reachable};
  const auto mean_step = [&](double inner) {
    return outer_step(spec, parameters, Seconds{inner}, job.gpus, hbm_rate)
        .mean_step(Seconds{inner}, spec.inner_steps)
        .value();
  };
  const core::Grade grade = core::worst(step.grade, core::Grade::assumed);
  const auto add = [&](const char* name, const char* unit,
                       const std::function<double(double)>& of) {
    const double a = of(step.lower), b = of(step.upper);
    result.quantities.emplace_back(
        name, core::Estimate{of(step.value), std::min(a, b), std::max(a, b), unit, grade});
    return result.quantities.back().second;
  };
  const OuterStep outer = outer_step(spec, parameters, Seconds{step.value}, job.gpus, hbm_rate);
  const double tokens =
      static_cast<double>(job.sequences * job.sequence_length) * static_cast<double>(spec.sites);
  const core::Estimate mean = add("step_time_across_sites", "s", mean_step);
  add("outer_step_time", "s",
      [&](double) { return outer.exchange.value() + outer.update.value(); });
  add("outer_communication_fraction", "1",
      [&](double inner) { return 1 - inner / mean_step(inner); });
  add("tokens_per_day_across_sites", "tokens/d",
      [&](double inner) { return tokens / mean_step(inner) * 86400; });
  const double every_step =
      ring_over_sites(parameters * workload::weight_bytes(job.precision.gradients), spec).value();
  add("synchronous_step_time", "s", [&](double inner) { return inner + every_step; });
  result.assumptions.push_back(fmt::format(
      "{} sites take {} steps each between outer steps, which average {:.3g} GB over links of "
      "{:.3g} Gbit/s in a ring, {}; that fewer exchanges reach the same loss is not modelled. "
      "synchronous_step_time averages gradients over the same links after every step.",
      spec.sites, spec.inner_steps, parameters * workload::weight_bytes(spec.exchange) / 1e9,
      spec.link.value() * 8e-9,
      spec.overlapped ? "beside the next inner steps" : "while training stands still"));
  return mean;
}

}  // namespace tessera::training
