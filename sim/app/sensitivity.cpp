#include "sim/app/sensitivity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "sim/app/fabric_network.hpp"

namespace tessera::app {
namespace {

using training::Stage;
using training::StageEntry;

/// By how much the NICs' reachable part of their rate is moved to either side.
constexpr double kNicEfficiencyStep = 0.10;

struct Variant {
  std::string choice;
  std::string value;
  Scenario scenario;
};

std::vector<Stage> stages_of(const training::TrainingJob& job) {
  if (!job.stages.empty()) return job.stages;
  return training::assumed_stages(job);
}

/// "4 4 4 1 layers": how many each stage has.
std::string layout_text(const std::vector<Stage>& stages) {
  std::string text;
  for (const Stage& stage : stages) {
    const auto layers = std::count_if(stage.begin(), stage.end(), [](const StageEntry& entry) {
      return entry.kind == StageEntry::Kind::layer;
    });
    text += fmt::format("{}{}", text.empty() ? "" : " ", layers);
  }
  return text + " layers";
}

/// As many layers a stage as divide evenly, those left over on the first (or last) stages;
/// embedding first, head and MTP last.
std::vector<Stage> even_stages(const training::TrainingJob& job, bool more_first) {
  const std::int64_t layers = job.architecture.layers;
  const std::int64_t more = layers % job.pipeline;
  std::vector<Stage> stages(static_cast<std::size_t>(job.pipeline));
  std::int64_t next = 0;
  for (int s = 0; s < job.pipeline; ++s) {
    const bool one_more = more_first ? s < more : s >= job.pipeline - more;
    for (std::int64_t i = 0; i < layers / job.pipeline + (one_more ? 1 : 0); ++i)
      stages[static_cast<std::size_t>(s)].push_back({StageEntry::Kind::layer, next++});
  }
  stages.front().insert(stages.front().begin(), {StageEntry::Kind::embedding, 0});
  for (std::int64_t m = 0; m < job.architecture.mtp_modules; ++m)
    stages.back().push_back({StageEntry::Kind::mtp, m});
  stages.back().push_back({StageEntry::Kind::head, 0});
  return stages;
}

/// The last stage's border moved by `layers`: so many more (or fewer) layers beside the head, taken
/// from (or given to) the stage before. None when either has too few.
std::optional<std::vector<Stage>> with_border_moved(std::vector<Stage> stages, int layers) {
  if (stages.size() < 2) return std::nullopt;
  const auto is_layer = [](const StageEntry& e) { return e.kind == StageEntry::Kind::layer; };
  Stage& before = stages[stages.size() - 2];
  Stage& last = stages.back();
  for (; layers > 0; --layers) {
    if (!is_layer(before.back())) return std::nullopt;
    last.insert(last.begin(), before.back());
    before.pop_back();
    if (before.empty()) return std::nullopt;
  }
  for (; layers < 0; ++layers) {
    if (!is_layer(last.front())) return std::nullopt;
    before.push_back(last.front());
    last.erase(last.begin());
  }
  return stages;
}

std::size_t stage_with(const std::vector<Stage>& stages, StageEntry::Kind kind) {
  for (std::size_t s = 0; s < stages.size(); ++s)
    for (const StageEntry& entry : stages[s])
      if (entry.kind == kind) return s;
  return stages.size();
}

class Variants {
 public:
  Variants(const Scenario& base, const kernels::ImplementationLibrary& library)
      : base_(base), library_(library), stages_(stages_of(base.training())) {}

  std::vector<Variant> all() {
    add_layouts();
    add_kernels();
    add_placements();
    add_network();
    return std::move(variants_);
  }

 private:
  Scenario& add(std::string choice, std::string value) {
    variants_.push_back({std::move(choice), std::move(value), base_});
    return variants_.back().scenario;
  }

  void add_layouts() {
    const training::TrainingJob& job = base_.training();
    for (const bool more_first : {true, false}) {
      std::vector<Stage> stages = even_stages(job, more_first);
      if (stages != stages_) add_layout(std::move(stages));
    }
    for (const int layers : {1, -1})
      if (auto stages = with_border_moved(stages_, layers)) add_layout(std::move(*stages));
    const std::size_t last = stages_.size() - 1;
    const std::size_t now = stage_with(stages_, StageEntry::Kind::mtp);
    for (const std::size_t target : {last - std::min<std::size_t>(last, 1), last})
      if (now < stages_.size() && target != now)
        add("MTP module", fmt::format("on stage {}, layers spread anew", target))
            .training()
            .stages = training::assumed_stages(job, static_cast<int>(target));
  }

  void add_layout(std::vector<Stage> stages) {
    std::string value = layout_text(stages);
    add("layers per stage", std::move(value)).training().stages = std::move(stages);
  }

  /// The device's default kernels for one family instead of those that the scenario asks for.
  void add_kernels() {
    for (const bool attention : {true, false}) {
      std::vector<std::string> kept = base_.kernels;
      std::erase_if(kept, [&](const std::string& name) {
        const kernels::Implementation* named = library_.find(name);
        return named != nullptr && (named->family == "attention") == attention;
      });
      if (kept != base_.kernels)
        add(attention ? "attention kernels" : "GEMM kernels", "the device's default ones").kernels =
            std::move(kept);
    }
  }

  void add_placements() {
    using training::Placement;
    using training::ReductionOverlap;
    const bool expert_first = base_.training().placement == Placement::expert_first;
    add("node placement of expert groups",
        expert_first ? "pipeline ranks side by side in a node" : "experts side by side in a node")
        .training()
        .placement = expert_first ? Placement::pipeline_first : Placement::expert_first;
    const bool exposed = base_.training().reduction == ReductionOverlap::exposed;
    add("gradient reduction", exposed ? "overlapped" : "exposed").training().reduction =
        exposed ? ReductionOverlap::overlapped : ReductionOverlap::exposed;
  }

  void add_network() {
    const double efficiency = base_.cluster.node.nic.efficiency;
    for (const double factor : {1 - kNicEfficiencyStep, 1 + kNicEfficiencyStep}) {
      const double moved = std::min(1.0, efficiency * factor);
      add("NIC efficiency", fmt::format("{:.3f} instead of {:.3f}", moved, efficiency))
          .cluster.node.nic.efficiency = moved;
    }
  }

  const Scenario& base_;
  const kernels::ImplementationLibrary& library_;
  std::vector<Stage> stages_;
  std::vector<Variant> variants_;
};

}  // namespace

void add_sensitivity(core::Result& result, const Scenario& scenario, KernelSource& kernels,
                     streams::NetworkTimer& network, const RunOptions& options,
                     RunStatistics& statistics) {
  const double base = result.find("step_time")->value;
  RunOptions quietly = options;
  quietly.check_fidelity = false;
  for (const Variant& variant : Variants{scenario, kernels.library()}.all()) {
    try {
      std::optional<FabricNetworkTimer> changed;
      if (variant.scenario.cluster.node.nic.efficiency != scenario.cluster.node.nic.efficiency)
        changed.emplace(variant.scenario.cluster, variant.scenario.training().architecture.moe,
                        variant.scenario.training().routing,
                        options.unfold ? fabric::Folding::none : fabric::Folding::automatic);
      streams::NetworkTimer& used = changed ? *changed : network;
      const core::Estimate step =
          simulate(variant.scenario, kernels, used, quietly, statistics).step;
      result.sensitivity.push_back({variant.choice, variant.value, step, step.value / base - 1});
    } catch (const core::Refusal& refusal) {
      core::SensitivityRow row;
      row.choice = variant.choice;
      row.value = variant.value;
      row.refused = refusal.what();
      result.sensitivity.push_back(std::move(row));
    }
  }
}

}  // namespace tessera::app
