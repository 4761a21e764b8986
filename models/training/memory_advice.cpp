#include "models/training/memory_advice.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "models/training/legality.hpp"
#include "models/training/memory.hpp"
#include "models/training/step_model.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

struct Change {
  std::string name;  ///< As the scenario writes it.
  TrainingJob job;
};

class Changes {
 public:
  explicit Changes(const TrainingJob& job) : job_(job) {}

  std::vector<Change> all() {
    if (!job_.recompute.full) {
      add("recompute: full", [](TrainingJob& j) { j.recompute.full = true; });
    }
    if (job_.sharding == Sharding::none) {
      add("sharding: zero1", [](TrainingJob& j) { j.sharding = Sharding::zero1; });
    }
    if (job_.pipeline == 1 && !shards_weights(job_.sharding)) {
      add("sharding: fsdp", [](TrainingJob& j) { j.sharding = Sharding::fsdp; });
    }
    if (job_.micro_batch > 1) {
      add("micro_batch: 1", [](TrainingJob& j) { j.micro_batch = 1; });
    }
    if (job_.precision.moments == core::DataType::fp32) {
      add("moments: bf16", [](TrainingJob& j) { j.precision.moments = core::DataType::bf16; });
    }
    add(fmt::format("tensor: {}", 2 * job_.tensor), [](TrainingJob& j) {
      j.tensor *= 2;
      j.sequence_parallel = true;
    });
    add(fmt::format("pipeline: {}", 2 * job_.pipeline), [](TrainingJob& j) {
      j.pipeline *= 2;
      j.stages.clear();
    });
    return std::move(changes_);
  }

 private:
  void add(std::string name, const std::function<void(TrainingJob&)>& change) {
    changes_.push_back({std::move(name), job_});
    change(changes_.back().job);
  }

  const TrainingJob& job_;
  std::vector<Change> changes_;
};

/// Bytes of the fullest rank; none where the job is not legal or not modelled.
std::optional<double> needed(const TrainingJob& job) {
  if (!contradictions(job).empty()) return std::nullopt;
  try {
    const Layout layout(job);
    const workload::RoutedLoad load = route_job(job);
    double most = 0;
    for (const RankMemory& m : plan_memory(job, layout, lower_stages(job, layout, load), load)) {
      most = std::max(most, m.total());
    }
    return most;
  } catch (const core::Refusal&) {
    return std::nullopt;
  }
}

}  // namespace

std::string what_fits(const TrainingJob& job) {
  constexpr double kGigabyte = 1e9;
  const auto available = static_cast<double>(job.device.hbm.size.value());
  std::vector<std::string> fitting, helping;
  for (const Change& change : Changes(job).all()) {
    const std::optional<double> bytes = needed(change.job);
    if (!bytes) continue;
    std::string text = fmt::format("{} ({:.1f} GB)", change.name, *bytes / kGigabyte);
    (*bytes <= available ? fitting : helping).push_back(std::move(text));
  }
  if (!fitting.empty()) return fmt::format("it fits with {}", fmt::join(fitting, " or "));
  if (helping.empty())
    return "more pipeline or expert ranks than the job's shape allows now, or a device with more "
           "memory";
  return fmt::format(
      "no single change of these suffices: {}; more of them together, or a device "
      "with more memory",
      fmt::join(helping, ", "));
}

}  // namespace tessera::training
