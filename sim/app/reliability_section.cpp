#include "sim/app/reliability_section.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/workload/part_builder.hpp"

namespace tessera::app {
namespace {

using core::ConfigNode;
using core::Seconds;
using training::CheckpointInterval;
using training::ReliabilitySpec;

// Bounds that keep arithmetic sane; far outside of any machine.
constexpr double kMaxCount = 1e9;
constexpr std::int64_t kMaxSpares = 1'000'000;
constexpr std::int64_t kMaxRuns = 1'000'000;
constexpr double kMaxSpread = 10;
constexpr Seconds kShortest{1e-3}, kLongest{1e12};

enum class Per { gpu, node, job };

training::FailingComponent read_component(const ConfigNode& node,
                                          const training::TrainingJob& job) {
  training::FailingComponent component;
  component.name = node.text("name");
  component.mtbf = node.quantity<Seconds>("mtbf", kShortest, kLongest);
  component.removes_node = node.boolean_or("removes_node", true);
  if (node.has("count")) {
    component.count = node.number("count", 1e-9, kMaxCount);
    if (node.has("per")) {
      static_cast<void>(node.text("per"));
      node.at("per").fail_against(node.at("count"), "found beside count; expected one of them");
    }
    return component;
  }
  switch (node.choice<Per>("per", {{"gpu", Per::gpu}, {"node", Per::node}, {"job", Per::job}})) {
    case Per::gpu:
      component.count = job.gpus;
      break;
    case Per::node:
      component.count = static_cast<double>(job.gpus) / std::max(job.gpus_per_node, 1);
      break;
    case Per::job:
      component.count = 1;
      break;
  }
  return component;
}

/// Master weights and both moments of the whole model.
double checkpoint_bytes(const training::TrainingJob& job) {
  return training::trained_parameters(job.architecture) *
         (workload::weight_bytes(job.precision.master_weights) +
          2 * workload::weight_bytes(job.precision.moments));
}

void read_checkpoint(const ConfigNode& node, const training::TrainingJob& job,
                     ReliabilitySpec& spec) {
  if (node.has("storage")) {
    const auto rate = node.quantity<core::BytesPerSecond>("storage", core::BytesPerSecond{1},
                                                          core::BytesPerSecond{1e18});
    if (node.has("write")) {
      static_cast<void>(node.text("write"));
      node.at("write").fail_against(node.at("storage"), "found beside storage; expected one");
    }
    if (node.sound()) spec.write = Seconds{checkpoint_bytes(job) / rate.value()};
  } else {
    spec.write = node.quantity<Seconds>("write", kShortest, kLongest);
  }
  const std::vector<std::pair<std::string, CheckpointInterval>> rules{
      {"simulate", CheckpointInterval::simulate},
      {"young", CheckpointInterval::young},
      {"daly", CheckpointInterval::daly}};
  const std::string text = node.text_or("interval", "daly");
  const auto rule =
      std::find_if(rules.begin(), rules.end(), [&](const auto& row) { return row.first == text; });
  spec.rule = rule == rules.end() ? CheckpointInterval::fixed : rule->second;
  if (spec.rule == CheckpointInterval::fixed) {
    spec.interval = node.quantity<Seconds>("interval", kShortest, kLongest);
  }
}

}  // namespace

ReliabilitySpec read_reliability(const ConfigNode& node, const training::TrainingJob& job) {
  ReliabilitySpec spec;
  for (const ConfigNode& item : node.list("components")) {
    spec.components.push_back(read_component(item.object(), job));
  }
  spec.detection = node.quantity_or<Seconds>("detection", Seconds{0}, kLongest, Seconds{0});
  spec.restart = node.quantity<Seconds>("restart", Seconds{0}, kLongest);
  read_checkpoint(node.object("checkpoint"), job, spec);
  spec.spares = static_cast<int>(node.integer_or("spares", 0, kMaxSpares, 0));
  spec.repair = node.quantity_or<Seconds>("repair", Seconds{0}, kLongest, Seconds{0});
  spec.straggler_spread = node.number_or("straggler_spread", 0, kMaxSpread, 0);
  spec.window = node.quantity_or<Seconds>("window", kShortest, kLongest, Seconds{0});
  spec.runs = static_cast<int>(node.integer_or("runs", 1, kMaxRuns, spec.runs));
  spec.seed = job.routing.seed;
  return spec;
}

training::OuterStepSpec read_sites(const ConfigNode& node) {
  using core::DataType;
  constexpr std::int64_t kMaxSites = 10'000, kMaxSteps = 1'000'000'000;
  training::OuterStepSpec spec;
  spec.sites = static_cast<int>(node.integer("count", 2, kMaxSites));
  spec.link = node.quantity<core::BytesPerSecond>("link", core::BytesPerSecond{1},
                                                  core::BytesPerSecond{1e18});
  spec.latency = node.quantity<Seconds>("latency", Seconds{0}, kLongest);
  spec.inner_steps = node.integer("inner_steps", 1, kMaxSteps);
  spec.exchange = node.choice_or<DataType>(
      "exchange", {{"fp32", DataType::fp32}, {"bf16", DataType::bf16}}, spec.exchange);
  spec.overlapped = node.boolean_or("overlapped", spec.overlapped);
  return spec;
}

}  // namespace tessera::app
