#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

/// A run of weeks composed of simulated steps: failures, checkpoints, restarts, spares, stragglers.
namespace tessera::training {

/// Parts of one kind whose failure interrupts the job. Lifetimes are exponential.
struct FailingComponent {
  std::string name;
  double count = 0;      ///< In the job.
  core::Seconds mtbf{};  ///< Of one.
  /// Takes its node out until `repair` has passed; otherwise the job restarts on the same nodes.
  bool removes_node = true;
};

enum class CheckpointInterval {
  fixed,
  young,    ///< sqrt(2 w M): w to write, M mean time between failures (Young, CACM 17(9), 1974).
  daly,     ///< Daly's higher-order estimate (FGCS 22(3), 2006, equation 37).
  simulate  ///< Of least mean time to train in simulation.
};

struct ReliabilitySpec {
  std::vector<FailingComponent> components;
  core::Seconds detection{};  ///< From a failure until it is noticed.
  core::Seconds restart{};    ///< From there to the first step: scheduling, start, loading. A
                              ///< failure meanwhile begins detection and restart anew.
  core::Seconds write{};      ///< Training stands still for one checkpoint.
  CheckpointInterval rule = CheckpointInterval::daly;
  core::Seconds interval{};  ///< Of useful time between checkpoints, for `fixed`.
  int spares = 0;            ///< Nodes ready to take over.
  core::Seconds repair{};    ///< Until a node that was taken out is a spare again.
  /// Standard deviation of GPUs' step times over their mean, beside what their power limits make of
  /// it (TrainingJob::part_spread); the slowest of all sets the pace.
  double straggler_spread = 0;
  core::Seconds
      window{};  ///< Interruptions and effective time are counted this long; 0: to the end.
  int runs = 1000;
  std::uint64_t seed = 1;
};

/// What is to be trained, and on how many GPUs.
struct TrainingRun {
  double steps = 0;
  core::Estimate step;  ///< Seconds; its interval counts as a normal error of all steps together.
  int gpus = 0;
};

/// One simulated run; all times in seconds.
struct GoodputRun {
  double total = 0;                ///< Until the last step.
  double useful = 0;               ///< Steps that counted, at the slowest GPU's pace.
  double rework = 0;               ///< Steps since the last checkpoint that were lost.
  double writing = 0;              ///< Checkpoints.
  double down = 0;                 ///< Detection and restart.
  double waiting = 0;              ///< For a node, when no spare is left.
  double straggling = 0;           ///< Of `useful`: more than the mean GPU would take.
  std::vector<int> interruptions;  ///< By component, in the window.
  double window = 0;               ///< The window, or the run where it is shorter.
  double effective = 0;            ///< Useful part of the window.
};

/// Middle and ends of a distribution over runs.
struct Spread {
  double median = 0, p05 = 0, p95 = 0, mean = 0;
};

struct Goodput {
  Spread total_days, interruptions, effective;
  std::vector<double> by_component;                        ///< Mean interruptions in the window.
  GoodputRun mean;                                         ///< Of all runs.
  core::Seconds mtbf{};                                    ///< Of the job; 0 where nothing fails.
  core::Seconds interval{}, young{}, daly{}, simulated{};  ///< 0 where nothing fails.
};

/// Mean time between failures of the whole job; 0 where nothing fails.
[[nodiscard]] core::Seconds job_mtbf(const ReliabilitySpec& spec);
/// Optimal useful time between checkpoints of `write`, by closed form. Requires mtbf > 0.
[[nodiscard]] core::Seconds young_interval(core::Seconds write, core::Seconds mtbf);
[[nodiscard]] core::Seconds daly_interval(core::Seconds write, core::Seconds mtbf);
/// Daly's expected time for `work` of useful time in whole intervals (FGCS 22(3), 2006, equation
/// 20): M exp(R/M) (exp((t + w)/M) - 1) work / t. Requires mtbf > 0.
[[nodiscard]] core::Seconds daly_expected_time(core::Seconds work, core::Seconds interval,
                                               core::Seconds write, core::Seconds restart,
                                               core::Seconds mtbf);

/// Run number `index` of the simulation with this interval; equal arguments give equal runs.
[[nodiscard]] GoodputRun simulate_run(const ReliabilitySpec& spec, const TrainingRun& run,
                                      core::Seconds interval, int index);
/// `spec.runs` of them. Throws core::Refusal (outside_model) where a run makes no progress: the job
/// fails faster than it restarts.
[[nodiscard]] Goodput simulate_goodput(const ReliabilitySpec& spec, const TrainingRun& run);

/// Adds quantities (days_to_train, effective_training_time, interruptions, ...), the rows of the
/// goodput section, and what was assumed.
void add_goodput(core::Result& result, const ReliabilitySpec& spec, const TrainingRun& run);

}  // namespace tessera::training
