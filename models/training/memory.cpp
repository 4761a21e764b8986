#include "models/training/memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "models/training/memory_advice.hpp"
#include "models/training/shard_traffic.hpp"
#include "sim/core/diagnostics.hpp"

namespace tessera::training {
namespace {

using workload::PartWork;

constexpr double kGigabyte = 1e9;

/// Bytes by number format, in the order of a ledger's formats.
using FormatBytes = std::vector<double>;

double total(const FormatBytes& bytes) { return std::accumulate(bytes.begin(), bytes.end(), 0.0); }

/// Number formats of the tensors that stages keep.
class Formats {
 public:
  explicit Formats(const std::vector<StageWork>& stages) {
    std::set<std::string> found;
    for (const StageWork& stage : stages)
      for (const PartWork& part : stage)
        for (const auto* list : {&part.saved, &part.recomputed, &part.deferred})
          for (const workload::SavedTensor& tensor : *list) found.insert(tensor.format);
    names_.assign(found.begin(), found.end());
  }

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] FormatBytes none() const { return FormatBytes(names_.size()); }
  void add(FormatBytes& to, const std::vector<workload::SavedTensor>& tensors) const {
    for (const workload::SavedTensor& tensor : tensors) {
      const auto at = std::lower_bound(names_.begin(), names_.end(), tensor.format);
      to[static_cast<std::size_t>(at - names_.begin())] += tensor.bytes;
    }
  }

 private:
  std::vector<std::string> names_;  ///< Sorted.
};

/// Activations of one rank while it follows its program.
class ActivationLedger {
 public:
  explicit ActivationLedger(const std::vector<StageWork>& stages)
      : formats_(stages), none_(formats_.none()), now_(none_), peak_(none_) {
    for (const StageWork& stage : stages) {
      FormatBytes &saved = saved_.emplace_back(none_), &deferred = deferred_.emplace_back(none_);
      // A full backward keeps one part's weight gradient inputs, and what it computes again, at a
      // time.
      FormatBytes& transient = transient_.emplace_back(none_);
      for (const PartWork& part : stage) {
        formats_.add(saved, part.saved);
        formats_.add(deferred, part.deferred);
        FormatBytes kept = none_;
        formats_.add(kept, part.deferred);
        formats_.add(kept, part.recomputed);
        if (total(kept) > total(transient)) transient = kept;
      }
    }
  }

  void run(const Instruction& instruction) {
    const auto f = static_cast<std::size_t>(instruction.forward.stage);
    const auto b = static_cast<std::size_t>(instruction.backward.stage);
    switch (instruction.action) {
      case Action::forward:
        hold(saved_[f], 1, none_);
        break;
      case Action::backward:
        hold(none_, 0, transient_[b]);
        release(saved_[b], 1);
        break;
      case Action::input_gradient:
        hold(none_, 0, deferred_[b]);  // grows while the saved tensors are still there
        release(saved_[b], 1);
        hold(deferred_[b], 0, none_);
        break;
      case Action::weight_gradient:
        release(deferred_[b], 0);
        break;
      case Action::overlapped:
        hold(saved_[f], 1, transient_[b]);
        release(saved_[b], 1);
        break;
    }
  }

  [[nodiscard]] double peak() const { return total(peak_); }
  [[nodiscard]] int most_chunks() const { return most_chunks_; }
  /// Of the peak, by the name of the format.
  [[nodiscard]] std::map<std::string, double> peak_by_format() const {
    std::map<std::string, double> bytes;
    for (std::size_t i = 0; i < peak_.size(); ++i) bytes[formats_.names()[i]] = peak_[i];
    return bytes;
  }

 private:
  void hold(const FormatBytes& bytes, int chunks, const FormatBytes& transient) {
    for (std::size_t i = 0; i < now_.size(); ++i) now_[i] += bytes[i];
    chunks_ += chunks;
    most_chunks_ = std::max(most_chunks_, chunks_);
    if (total(now_) + total(transient) <= total(peak_)) return;
    for (std::size_t i = 0; i < now_.size(); ++i) peak_[i] = now_[i] + transient[i];
  }
  void release(const FormatBytes& bytes, int chunks) {
    for (std::size_t i = 0; i < now_.size(); ++i) now_[i] -= bytes[i];
    chunks_ -= chunks;
  }

  Formats formats_;
  FormatBytes none_, now_, peak_;
  std::vector<FormatBytes> saved_, deferred_, transient_;  ///< By stage.
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

std::pair<std::string, std::string> format_key(const char* kind, core::DataType type) {
  return {kind, std::string{core::to_string(type)}};
}

/// The same of a stage, added to what the rank holds.
void add_weights(RankMemory& memory, const TrainingJob& job, const workload::ParameterCount& held) {
  const double bytes = weight_copies(job, held);
  memory.weights += bytes;
  const double low =
      (held.low_precision + held.routed) * workload::low_precision_weight_bytes(job.precision);
  memory.formats[format_key("weights", job.precision.linear)] += low;
  memory.formats[format_key("weights", core::DataType::bf16)] += bytes - low;
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
    add_weights(memory, job, held);
  } else if (job.sharding == Sharding::zero3) {
    add_weights(memory, job, layout.updated(stage));
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
  const workload::PrecisionRecipe& p = job.precision;
  memory.formats[format_key("gradients", p.gradients)] += memory.gradients;
  memory.formats[format_key("master_weights", p.master_weights)] += memory.master_weights;
  memory.formats[format_key("moments", p.moments)] += memory.moments;
  for (const auto& [format, bytes] : ledger.peak_by_format())
    memory.formats[{"activations", format}] += bytes;
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
