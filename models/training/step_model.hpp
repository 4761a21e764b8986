#pragma once

#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "models/training/chunk.hpp"
#include "models/training/cost_table.hpp"
#include "models/training/layout.hpp"
#include "models/training/pipeline.hpp"
#include "models/training/shard_traffic.hpp"
#include "models/training/training.hpp"
#include "models/workload/lowering.hpp"
#include "models/workload/routing.hpp"

namespace tessera::training {

/// A rank's step cut into stretches that do not overlap and sum to the step.
struct PhaseTimes {
  core::Time forward{};     ///< 1F: forward chunks on their own, exposed exchanges included.
  core::Time backward{};    ///< 1B: backward chunks on their own; full ones with their weight
                            ///< gradients, others only the input gradient.
  core::Time weight{};      ///< 1W: weight gradients that run as instructions of their own.
  core::Time overlapped{};  ///< 1F1B: pairs.
  core::Time optimizer{};   ///< Exposed gradient reduction, update, gathering of parameters.
  core::Time bubble{};      ///< The rest: waiting for messages, for other ranks' gradients, for the
                            ///< norm over all ranks, for the last rank.
};

/// Name of a stretch in which reductions end that began beside chunks.
inline constexpr const char* kTrailing = "gradient reduction";

/// Stretches of the optimizer phase of one rank.
struct OptimizerRun {
  struct Stretch {
    const char* name;
    bool network;
    core::Time start{};
    core::Time end{};
  };
  std::vector<Stretch> stretches;
  core::Time exposed{};  ///< Of all stretches, what lies after the rank's last chunk.
  core::Time end{};
};

/// One step under one variation of the costs.
struct StepRun {
  PipelineRun pipeline;
  std::vector<PhaseTimes> phases;  ///< By rank.
  std::vector<OptimizerRun> optimizer;
  std::vector<core::Time> sharding_end;  ///< By rank: of reductions that began beside its chunks.
  core::Time step{};
};

/// Routing of the job's MoE layers over one expert-parallel group.
[[nodiscard]] workload::RoutedLoad route_job(const TrainingJob& job);
/// Works of every stage on the hottest expert rank. Throws core::Refusal.
[[nodiscard]] std::vector<StageWork> lower_stages(const TrainingJob& job, const Layout& layout,
                                                  const workload::RoutedLoad& load);

/// Name of the node that stands for the pipeline's messages beside a chunk.
inline constexpr const char* kMessages = "pipeline messages";

/// A job made ready to run: operators lowered, kernels and exchanges timed, chunks planned.
class StepModel {
 public:
  /// Throws core::Refusal; `job`, `kernels` and `network` outlive the model.
  StepModel(const TrainingJob& job, gpu::KernelTimer& kernels, NetworkTimer& network);

  [[nodiscard]] StepRun run(const Variation& variation = {});

  [[nodiscard]] const Layout& layout() const { return layout_; }
  /// TrainingJob::unexplained.
  [[nodiscard]] double unexplained() const { return job_.unexplained; }
  [[nodiscard]] const workload::RoutedLoad& load() const { return load_; }
  [[nodiscard]] const std::vector<StageWork>& stages() const { return stages_; }
  [[nodiscard]] const CostTable& costs() const { return costs_; }
  [[nodiscard]] const ShardTraffic& traffic() const { return traffic_; }
  [[nodiscard]] core::BytesPerSecond hbm_rate() const { return hbm_rate_; }
  /// What an instruction runs.
  const ChunkPlan& plan(const Instruction& instruction);
  /// The same with times.
  const ChunkRun& chunk(const Instruction& instruction, const Variation& variation);
  /// Kernels of a rank's optimizer phase.
  struct OptimizerKernels {
    std::vector<const KernelCost*> norm, update, after_gather;
  };
  [[nodiscard]] const OptimizerKernels& optimizer_kernels(int rank) const {
    return optimizer_[static_cast<std::size_t>(rank)];
  }
  /// One activation or gradient from a pipeline rank to another that holds the next stage.
  [[nodiscard]] const NetworkCost& send_cost(int from, int to) const {
    return sends_.at({from, to});
  }
  /// The same for all pairs of ranks that send.
  [[nodiscard]] const std::map<std::pair<int, int>, NetworkCost>& sends() const { return sends_; }

 private:
  /// Action, forward shape, backward shape, traffic.
  using PlanKey = std::tuple<Action, int, int, ChunkTraffic>;
  using RunKey = std::tuple<PlanKey, Variation::Side, Family>;

  void find_shapes();
  void prepare_optimizer();
  void prepare_sends();
  /// Lets messages run beside a chunk of an interleaved schedule, the last one's result away and
  /// the next one's input here (Megatron-Core, overlap_p2p_comm).
  void add_messages(ChunkPlan& plan) const;
  [[nodiscard]] PlanKey key(const Instruction& instruction) const;
  /// When each rank's sharding lane has ended what its chunks left to it.
  void finish_sharding(StepRun& run, const Variation& variation);
  /// Up to the norm of the gradients; returns when the last rank has it.
  core::Time reduce_gradients(StepRun& run, const Variation& variation) const;
  void update_parameters(StepRun& run, core::Time start, const Variation& variation) const;
  void cut_into_phases(StepRun& run) const;
  [[nodiscard]] std::vector<core::Time> stages_ready(const PipelineRun& pipeline) const;

  const TrainingJob& job_;
  NetworkTimer& network_;
  Layout layout_;
  workload::RoutedLoad load_;
  CostTable costs_;
  ChunkPlanner planner_;
  ShardTraffic traffic_;
  core::BytesPerSecond hbm_rate_;
  std::vector<StageWork> stages_;
  std::vector<int> shape_;  ///< By stage: the first stage with the same kinds of parts.
  std::vector<OptimizerKernels> optimizer_;
  std::map<std::pair<int, int>, NetworkCost> sends_;
  /// Beside each chunk of an interleaved schedule: the slowest message that leaves a node, and one
  /// that comes; no time where messages stay inside.
  NetworkCost messages_;
  std::map<PlanKey, ChunkPlan> plans_;
  std::map<RunKey, ChunkRun> chunks_;
};

}  // namespace tessera::training
