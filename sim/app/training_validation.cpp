#include "sim/app/training_validation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "reports/aggregate.hpp"
#include "sim/app/fabric_network.hpp"
#include "sim/app/progress.hpp"
#include "sim/app/scenario.hpp"
#include "sim/core/data_root.hpp"

namespace tessera::app {
namespace {

/// What each choice can be; a row's own is left out.
const std::map<std::string, std::pair<std::string, std::vector<std::string>>> kChoices{
    {"recompute", {"recompute", {"none", "selective", "full"}}},
    {"sharding", {"parallelism.data.sharding", {"none", "zero1", "zero2", "zero3"}}},
};

/// A recipe of workloads/published by path, one of workloads/scenarios by name.
std::string scenario_of(const std::string& recipe) {
  const auto path = core::data_root() / "workloads" / "published" / (recipe + ".yaml");
  return std::filesystem::exists(path) ? path.string() : recipe;
}

/// Kernels by device: rows on one device share them.
class Simulator {
 public:
  Simulator(const RunOptions& options, RunStatistics& statistics)
      : options_(options), statistics_(statistics) {
    options_.check_fidelity = false;
    options_.sensitivity = false;
  }

  /// Throws core::Refusal, core::ConfigError.
  training::TrainingResult run(const PublishedRun& published,
                               const std::vector<std::string>& others) {
    std::vector<std::string> set = published.set;
    set.insert(set.end(), others.begin(), others.end());
    Scenario scenario = read_scenario(scenario_of(published.recipe), {set, std::nullopt});
    // It ran; how far our sum of memory is off is said, and no reason to know nothing of its time.
    scenario.training().must_fit = false;
    std::unique_ptr<KernelSource>& kernels = kernels_[scenario.training().device.name];
    if (!kernels) kernels = std::make_unique<KernelSource>(scenario.training().device, options_);
    FabricNetworkTimer network{scenario.cluster, scenario.training().architecture.moe,
                               scenario.training().routing};
    training::TrainingResult trained = simulate(scenario, *kernels, network, options_, statistics_);
    tokens_ =
        static_cast<double>(scenario.training().sequences * scenario.training().sequence_length) /
        scenario.training().gpus;
    memory_size_ = static_cast<double>(scenario.training().device.hbm.size.value());
    return trained;
  }

  /// Of the last run: tokens a step and GPU.
  [[nodiscard]] double tokens() const { return tokens_; }
  [[nodiscard]] double memory_size() const { return memory_size_; }

 private:
  RunOptions options_;
  RunStatistics& statistics_;
  std::map<std::string, std::unique_ptr<KernelSource>> kernels_;
  double tokens_ = 0;
  double memory_size_ = 0;
};

/// Mean over ranks of every phase as a part of the step, the largest first.
std::vector<std::string> phases_of(const training::TrainingResult& trained) {
  std::map<std::string, std::pair<double, int>> sums;
  for (const core::PhaseRow& row : trained.result.phases) {
    if (row.rank == "all") continue;
    sums[row.phase].first += row.time.value;
    ++sums[row.phase].second;
  }
  std::vector<std::pair<double, std::string>> parts;
  for (const auto& [phase, sum] : sums)
    parts.emplace_back(sum.first / sum.second / trained.step.value, phase);
  std::stable_sort(parts.begin(), parts.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> texts;
  for (const auto& [part, phase] : parts)
    if (part >= 0.005) texts.push_back(fmt::format("{} {:.0f} %", phase, 100 * part));
  return texts;
}

std::vector<OtherChoice> make_others(const PublishedRun& run, Simulator& simulator) {
  std::vector<OtherChoice> others;
  for (const std::string& name : run.not_stated) {
    const auto choice = kChoices.find(name);
    if (choice == kChoices.end()) continue;
    const auto& [path, values] = choice->second;
    for (const std::string& value : values) {
      const std::string setting = fmt::format("{}={}", path, value);
      if (std::find(run.set.begin(), run.set.end(), setting) != run.set.end()) continue;
      OtherChoice other{fmt::format("{}: {}", name, value), std::nullopt};
      try {
        const training::TrainingResult trained = simulator.run(run, {setting});
        other.predicted = simulator.tokens() / trained.step.value;
      } catch (const core::Refusal&) {
      } catch (const core::ConfigError&) {
      }
      others.push_back(std::move(other));
    }
  }
  return others;
}

ValidatedRun validate(const PublishedRun& run, Simulator& simulator, bool with_others) {
  ValidatedRun validated{.run = run};
  try {
    const training::TrainingResult trained = simulator.run(run, {});
    const double tokens = simulator.tokens();
    validated.predicted =
        core::Estimate{tokens / trained.step.value, tokens / trained.step.upper,
                       tokens / trained.step.lower, "tokens/s/GPU", trained.step.grade};
    validated.memory = reports::memory_over_ranks(trained.result).worst_total;
    validated.memory_size = simulator.memory_size();
    validated.phases = phases_of(trained);
  } catch (const core::Refusal& refusal) {
    validated.refused = refusal.what();
    return validated;
  } catch (const core::ConfigError& error) {
    validated.refused = error.what();
    return validated;
  }
  if (with_others) validated.others = make_others(run, simulator);
  return validated;
}

}  // namespace

std::optional<double> ValidatedRun::error() const {
  if (!predicted) return std::nullopt;
  return predicted->value / run.tokens_per_gpu - 1;
}

bool ValidatedRun::inside() const {
  return predicted && predicted->lower <= run.tokens_per_gpu &&
         run.tokens_per_gpu <= predicted->upper;
}

bool ValidatedRun::inside_choices() const {
  if (!predicted) return false;
  double slowest = predicted->value, fastest = predicted->value;
  for (const OtherChoice& other : others) {
    slowest = std::min(slowest, other.predicted.value_or(slowest));
    fastest = std::max(fastest, other.predicted.value_or(fastest));
  }
  return slowest * predicted->lower / predicted->value <= run.tokens_per_gpu &&
         run.tokens_per_gpu <= fastest * predicted->upper / predicted->value;
}

std::vector<ValidatedRun> validate_training(const TrainingValidationOptions& options,
                                            const RunOptions& run, RunStatistics& statistics) {
  std::vector<PublishedRun> published =
      read_published_runs(options.results.empty() ? shipped_training_results() : options.results);
  if (!options.rows.empty())
    std::erase_if(published, [&](const PublishedRun& row) {
      return std::find(options.rows.begin(), options.rows.end(), row.id) == options.rows.end();
    });
  Simulator simulator{run, statistics};
  std::vector<ValidatedRun> runs;
  Progress progress{"runs"};
  for (const PublishedRun& row : published) {
    runs.push_back(validate(row, simulator, options.other_choices));
    progress.show(runs.size(), published.size());
  }
  return runs;
}

}  // namespace tessera::app
