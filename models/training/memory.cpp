#include "models/training/memory.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/training/memory_advice.hpp"
#include "models/training/shard_traffic.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

using workload::PartWork;

constexpr double kGigabyte = 1e9;

double saved(const StageWork& stage) {
  double bytes = 0;
  for (const PartWork& part : stage) bytes += part.saved_bytes();
  return bytes;
}

double deferred(const StageWork& stage) {
  double bytes = 0;
  for (const PartWork& part : stage) bytes += part.deferred_bytes();
  return bytes;
}

/// A full backward keeps one part's weight gradient inputs, and what it computes again, at a time.
double largest_deferred(const StageWork& stage) {
  double bytes = 0;
  for (const PartWork& part : stage) {
    bytes = std::max(bytes, part.deferred_bytes() + part.recomputed_bytes());
  }
  return bytes;
}

/// Activations of one rank while it follows its program.
class ActivationLedger {
 public:
  explicit ActivationLedger(const std::vector<StageWork>& stages) {
    for (const StageWork& work : stages) {
      saved_.push_back(saved(work));
      deferred_.push_back(deferred(work));
      transient_.push_back(largest_deferred(work));
    }
  }

  void run(const Instruction& instruction) {
    const auto f = static_cast<std::size_t>(instruction.forward.stage);
    const auto b = static_cast<std::size_t>(instruction.backward.stage);
    switch (instruction.action) {
      case Action::forward:
        hold(saved_[f], 1, 0);
        break;
      case Action::backward:
        hold(0, 0, transient_[b]);
        hold(-saved_[b], -1, 0);
        break;
      case Action::input_gradient:
        hold(0, 0, deferred_[b]);  // grows while the saved tensors are still there
        hold(deferred_[b] - saved_[b], -1, 0);
        break;
      case Action::weight_gradient:
        hold(-deferred_[b], 0, 0);
        break;
      case Action::overlapped:
        hold(saved_[f], 1, transient_[b]);
        hold(-saved_[b], -1, 0);
        break;
    }
  }

  [[nodiscard]] double peak() const { return peak_; }
  [[nodiscard]] int most_chunks() const { return most_chunks_; }

 private:
  void hold(double bytes, int chunks, double transient) {
    now_ += bytes;
    chunks_ += chunks;
    peak_ = std::max(peak_, now_ + transient);
    most_chunks_ = std::max(most_chunks_, chunks_);
  }

  std::vector<double> saved_, deferred_, transient_;  ///< By stage.
  double now_ = 0, peak_ = 0;
  int chunks_ = 0, most_chunks_ = 0;
};

/// Operands read and written by one kernel, as far as they are activations.
double operand_bytes(const workload::Operator& op) {
  struct Visitor {
    double operator()(const workload::Gemm& g) const {
      const auto m = static_cast<double>(g.m), n = static_cast<double>(g.n),
                 k = static_cast<double>(g.k);
      const double inputs = g.accumulate ? (m + n) * k : m * k;
      return inputs * workload::activation_bytes(g.type) +
             (g.accumulate ? 0 : m * n * workload::activation_bytes(g.output));
    }
    double operator()(const workload::GroupedGemm& g) const {
      double rows = 0;
      for (const std::int64_t size : g.sizes) rows += static_cast<double>(size);
      const double width = static_cast<double>(g.n), other = static_cast<double>(g.fixed);
      const bool depth = g.varying == workload::GroupedGemm::Varying::depth;
      return rows * other * workload::activation_bytes(g.type) +
             rows * width * workload::activation_bytes(depth ? g.type : g.output);
    }
    double operator()(const workload::Attention& a) const {
      const double tensors = a.backward ? 2 : 1;  // each operand and its gradient
      return tensors * static_cast<double>(a.batch * a.q_length * a.heads) *
             static_cast<double>(2 * a.qk_dim + 2 * a.v_dim) * workload::activation_bytes(a.type);
    }
    double operator()(const workload::AbsorbedAttention& a) const {
      return static_cast<double>(a.batch * a.q_length * a.heads) *
             static_cast<double>(2 * a.latent + a.rotary) * workload::activation_bytes(a.type);
    }
    double operator()(const workload::Stream& s) const {
      return static_cast<double>(s.rows) * static_cast<double>(s.columns) *
             (workload::activation_bytes(s.input) + workload::activation_bytes(s.output));
    }
    double operator()(const workload::Exchange&) const { return 0; }
    double operator()(const workload::IndexScores& s) const {
      constexpr double kLogitBytes = 4;
      return static_cast<double>(s.batch * s.q_length * s.heads * s.dim) *
                 workload::activation_bytes(s.type) +
             workload::index_pairs(s) * kLogitBytes;
    }
    double operator()(const workload::SelectTopK& s) const {
      constexpr double kBytes = 4;  // of a logit and of an index
      return static_cast<double>(s.rows * (s.columns + s.selected)) * kBytes;
    }
  };
  return std::visit(Visitor{}, op);
}

double largest_operands(const StageWork& stage) {
  double bytes = 0;
  for (const PartWork& part : stage) {
    for (const workload::Steps* list : part.lists()) {
      for (const workload::Step& step : *list) {
        if (step.work() && !step.work()->after_backward)
          bytes = std::max(bytes, operand_bytes(step.work()->op));
      }
    }
  }
  return bytes;
}

double buffer_bytes(const TrainingJob& job, const Layout& layout,
                    const workload::RoutedLoad& load) {
  const std::int64_t parts = std::int64_t{job.context} * (job.sequence_parallel ? job.tensor : 1);
  const std::int64_t rows = job.micro_batch * job.sequence_length / parts;
  const auto tokens = static_cast<double>(rows);
  const double row = static_cast<double>(job.architecture.hidden);
  double experts = 0;
  if (job.architecture.has_experts()) {
    // One row a token and rank arrives at the hottest rank; a forward and a backward chunk each
    // have a dispatch and a combine under way.
    const double received = static_cast<double>(load.total_on(load.hottest_rank)) *
                            load.ranks_per_token / static_cast<double>(job.architecture.moe.top_k);
    experts = 2 * received * row *
              (workload::activation_bytes(job.precision.dispatch) +
               workload::activation_bytes(job.precision.combine));
  }
  // Activation and gradient, sent and received, in each direction.
  const double pipeline = layout.ranks() > 1 ? 4 * layout.placement().directions() * tokens * row *
                                                   workload::activation_bytes(core::DataType::bf16)
                                             : 0;
  return experts + pipeline;
}

/// Bytes of the weights that products read.
double weight_copies(const TrainingJob& job, const workload::ParameterCount& held) {
  return held.high_precision * workload::weight_bytes(core::DataType::bf16) +
         (held.low_precision + held.routed) *
             workload::resident_weight_bytes(job.precision, job.gather_low_precision);
}

/// What is whole for a while although ranks keep only shards of it: the root unit and two layers'
/// weights (all of them where they stay after forward), and gradients of the root and of the layers
/// whose reduction runs and whose backward does.
double gathered_bytes(const TrainingJob& job, const Layout& layout, int stage) {
  if (!shards_gradients(job.sharding)) return 0;
  const std::vector<TrafficUnit> units = layer_units(layout, stage);
  const core::DataType wire = job.reduce_in.value_or(job.precision.gradients);
  double weights = 0, largest_weights = 0, largest_gradients = 0;
  for (std::size_t u = 1; u < units.size(); ++u) {
    const double bytes = weight_copies(job, units[u].held);
    weights += bytes;
    largest_weights = std::max(largest_weights, bytes);
    largest_gradients =
        std::max(largest_gradients, units[u].held.total() * workload::weight_bytes(wire));
  }
  const auto layers = static_cast<double>(units.size() - 1);
  const double root = weight_copies(job, units.front().held);
  double bytes = units.front().held.total() * workload::weight_bytes(wire) +
                 std::min(2.0, layers) * largest_gradients;
  if (!shards_weights(job.sharding)) return bytes;
  const double ahead = std::min(layers, job.prefetch == Prefetch::none ? 1.0 : 2.0);
  return bytes + root + (job.reshard_after_forward ? ahead * largest_weights : weights);
}

/// Weights, gradients and optimizer state of one stage.
void add_state(RankMemory& memory, const TrainingJob& job, const Layout& layout, int stage) {
  const workload::ParameterCount held = layout.parameters(stage);
  const double updated = layout.updated(stage).total();
  if (!shards_weights(job.sharding)) {
    memory.weights += weight_copies(job, held);
  } else if (job.sharding == Sharding::zero3) {
    memory.weights += weight_copies(job, layout.updated(stage));
  }
  memory.gradients += (shards_gradients(job.sharding) ? updated : held.total()) *
                      workload::weight_bytes(job.precision.gradients);
  memory.master_weights += updated * workload::weight_bytes(job.precision.master_weights);
  memory.moments += 2 * updated * workload::weight_bytes(job.precision.moments);
  memory.gathered += gathered_bytes(job, layout, stage);
}

RankMemory memory_of(const TrainingJob& job, const Layout& layout,
                     const std::vector<StageWork>& stages, const workload::RoutedLoad& load,
                     int rank) {
  RankMemory memory{.rank = rank};
  for (const int stage : layout.stages_of(rank)) {
    add_state(memory, job, layout, stage);
    memory.workspace =
        std::max(memory.workspace, largest_operands(stages[static_cast<std::size_t>(stage)]));
  }
  ActivationLedger ledger(stages);
  for (const Instruction& instruction : layout.program(rank)) {
    ledger.run(instruction);
  }
  memory.activations = ledger.peak();
  memory.chunks_in_flight = ledger.most_chunks();
  memory.buffers = buffer_bytes(job, layout, load);
  memory.workspace += static_cast<double>(job.reserved.value());
  return memory;
}

}  // namespace

std::vector<RankMemory> plan_memory(const TrainingJob& job, const Layout& layout,
                                    const std::vector<StageWork>& stages,
                                    const workload::RoutedLoad& load) {
  std::vector<RankMemory> memory;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    memory.push_back(memory_of(job, layout, stages, load, rank));
  }
  return memory;
}

void require_fit(const TrainingJob& job, const std::vector<RankMemory>& memory) {
  const auto fullest = std::max_element(
      memory.begin(), memory.end(),
      [](const RankMemory& a, const RankMemory& b) { return a.total() < b.total(); });
  const auto available = static_cast<double>(job.device.hbm.size.value());
  if (fullest->total() <= available) return;
  std::vector<std::pair<double, std::string>> kinds{{fullest->weights, "weights"},
                                                    {fullest->gradients, "gradients"},
                                                    {fullest->master_weights, "master weights"},
                                                    {fullest->moments, "moments"},
                                                    {fullest->gathered, "gathered layers"},
                                                    {fullest->activations, "activations"},
                                                    {fullest->buffers, "buffers"},
                                                    {fullest->workspace, "workspace"}};
  std::sort(kinds.rbegin(), kinds.rend());
  std::vector<std::string> parts;
  for (const auto& [bytes, kind] : kinds) {
    if (bytes <= 0) continue;
    parts.push_back(fmt::format("{} {:.1f}", kind, bytes / kGigabyte));
  }
  throw core::Refusal(
      core::RefusalKind::does_not_fit,
      fmt::format("pipeline rank {} needs {:.1f} GB of memory, {} has {:.1f} GB ({} GB); what "
                  "would help: {}",
                  fullest->rank, fullest->total() / kGigabyte, job.device.name,
                  available / kGigabyte, fmt::join(parts, ", "), what_fits(job)));
}

}  // namespace tessera::training
