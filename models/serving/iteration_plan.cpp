#include "models/serving/iteration_plan.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <utility>

#include "sim/core/diagnostics.hpp"

namespace tessera::serving {
namespace {

using streams::Lane;
using streams::Node;
using workload::Exchange;
using workload::ExpertPath;
using workload::ForwardPart;
using workload::ForwardPass;
using workload::InferenceLowering;
using workload::Steps;
using workload::Stream;
using workload::StreamKind;
using workload::Transfer;
using workload::Work;

/// Rows of experts are still to come.
InferenceLowering::Job lowering_job(const InferenceJob& job, const ForwardPass& pass) {
  return {job.architecture, job.precision, job.split, pass, {}, job.engine};
}

/// Which operators of the model a step belongs to.
std::string group_of(const Work& work, const std::string& home) {
  if (const auto* stream = std::get_if<Stream>(&work.op)) {
    switch (stream->kind) {
      case StreamKind::rms_norm:
      case StreamKind::add_rms_norm:
        return "norms";
      case StreamKind::quantize:
        return "casts";
      default:
        break;
    }
  }
  if (home != "attention") return home;
  const std::string family = workload::family(work.op);
  if (family == "attention" || family == "absorbed_attention") return "attention core";
  if (family == "index_scores" || family == "select_top_k") return "attention index";
  if (work.name.starts_with("gate")) return "gate";
  return "attention projections";
}

/// A pass without layers, and what lowers its parts for the GPU whose experts get most tokens.
std::pair<LoweredPass, InferenceLowering> lowering_of(const InferenceJob& job,
                                                      const ForwardPass& pass, PassLoads& loads) {
  InferenceLowering::Job lowering = lowering_job(job, pass);
  LoweredPass lowered;
  lowered.pass = pass;
  lowered.sent_tokens = InferenceLowering{lowering}.sent_tokens();
  if (job.architecture.has_experts()) {
    lowered.load = loads.of(lowered.sent_tokens);
    lowering.expert_rows = loads.hottest_rows(pass, lowered.sent_tokens);
  }
  return {std::move(lowered), InferenceLowering{std::move(lowering)}};
}

constexpr const char* kBuffers = "exchange buffers";

/// Writes nodes of one or two batches, each of which waits for its own transfers.
class Writer {
 public:
  Writer(const InferenceJob& job, IterationCosts& costs) : job_(job), costs_(costs) {
    // Beside exchanges that take SMs kernels are launched on what is left, all of them, since their
    // grids are set before.
    const bool shares = job.two_batch_overlap && job.split.path == ExpertPath::normal;
    sms_ = shares ? job.device.sm.count - job.communication_sms : 0;
  }

  void add(int batch, const ForwardPart& part, const Steps& steps, const std::string& home) {
    for (const workload::Step& step : steps) {
      if (const Work* work = step.work())
        compute(batch, part.name, *work, home);
      else
        collect(batch, part.name, *step.transfer());
    }
  }
  /// The exchange leaves when this batch's last kernel has ended; kernels go on beside it.
  void leave(int batch, const ForwardPart& part, Exchange::Direction direction,
             const LoweredPass& pass) {
    const bool dispatch = direction == Exchange::Direction::dispatch;
    Node node;
    node.part = part.name;
    node.name = dispatch ? "dispatch" : "combine";
    node.category = "communication";
    node.lane = Lane::communication;
    node.exchange = &costs_.exchange(question_of(part, direction, pass), pass.load);
    node.direction = direction;
    node.after = last_[index(batch)];
    sent_[index(batch)] = push(std::move(node), dispatch ? "dispatch" : "combine");
  }
  /// The batch's SMs fill buffers with `steps` and send them; only then do other kernels run.
  void send(int batch, const ForwardPart& part, const Steps& steps, Exchange::Direction direction,
            const LoweredPass& pass) {
    add(batch, part, steps, kBuffers);
    if (!part.exchanges) return;
    const streams::NetworkCost& cost =
        costs_.sending(question_of(part, direction, pass), pass.load);
    if (cost.time == core::Time{}) return;
    Node node;
    node.part = part.name;
    node.name = direction == Exchange::Direction::dispatch ? "dispatch posts" : "combine posts";
    node.category = "forward";
    node.network = &cost;
    last_[index(batch)] = push(std::move(node), kBuffers);
  }
  /// The batch's next kernel waits for its exchange.
  void arrive(int batch) {
    // The lane runs in order: who waits for its later node waits for the earlier one.
    int& pending = pending_[index(batch)];
    pending = std::max(pending, std::exchange(sent_[index(batch)], -1));
  }
  /// The second batch begins where the first one is.
  void split() {
    last_[1] = last_[0];
    pending_[1] = pending_[0];
  }
  /// The first batch goes on when both have ended.
  void join() {
    last_[0] = std::max(last_[0], last_[1]);
    pending_[0] = std::max(pending_[0], pending_[1]);
  }

  void remember(const workload::RoutedLoad& load) { plan_.load = load; }

  IterationPlan take() { return std::move(plan_); }

 private:
  ExchangeQuestion question_of(const ForwardPart& part, Exchange::Direction direction,
                               const LoweredPass& pass) {
    const bool dispatch = direction == Exchange::Direction::dispatch;
    return {direction, pass.sent_tokens, received(dispatch ? part.received : part.returned)};
  }
  static std::size_t index(int batch) { return static_cast<std::size_t>(batch); }

  int push(Node node, std::string group) {
    plan_.chunk.nodes.push_back(std::move(node));
    plan_.groups.push_back(std::move(group));
    return static_cast<int>(plan_.chunk.nodes.size()) - 1;
  }
  void compute(int batch, const std::string& part, const Work& work, const std::string& home) {
    Node node;
    node.part = part;
    node.name = work.name;
    node.category = "forward";
    node.kernel = &costs_.kernel(work, sms_);
    node.after = std::exchange(pending_[index(batch)], -1);
    last_[index(batch)] = push(std::move(node), group_of(work, home));
  }
  void collect(int batch, const std::string& part, const Transfer& transfer) {
    Node node;
    node.part = part;
    node.name = transfer.name;
    node.category = "communication";
    node.lane = Lane::communication;
    node.network = &costs_.transfer(transfer);
    node.after = last_[index(batch)];
    pending_[index(batch)] = push(std::move(node), workload::to_string(transfer.kind));
  }
  /// Time of the kernels that empty receive buffers.
  core::Time received(const Steps& steps) {
    core::Time sum{};
    for (const workload::Step& step : steps)
      if (const Work* work = step.work()) sum += costs_.kernel(*work, sms_).result.time;
    return sum;
  }

  const InferenceJob& job_;
  IterationCosts& costs_;
  int sms_;
  std::array<int, 2> last_{-1, -1};     ///< Each batch's last kernel.
  std::array<int, 2> pending_{-1, -1};  ///< Transfer that its next kernel waits for.
  std::array<int, 2> sent_{-1, -1};     ///< Exchange on its way.
  IterationPlan plan_;
};

const char* home_of(const ForwardPart& part) { return part.exchanges ? "routed experts" : "MLPs"; }

/// A part with nothing beside it.
void write_alone(Writer& writer, const ForwardPart& part, const LoweredPass& pass) {
  writer.add(0, part, part.project, "attention");
  writer.add(0, part, part.attend, "attention");
  writer.add(0, part, part.shared, "shared experts");
  if (part.exchanges) {
    writer.leave(0, part, Exchange::Direction::dispatch, pass);
    writer.send(0, part, part.send, Exchange::Direction::dispatch, pass);
    writer.arrive(0);
    writer.add(0, part, part.received, kBuffers);
  }
  writer.add(0, part, part.experts, home_of(part));
  if (part.exchanges) {
    writer.leave(0, part, Exchange::Direction::combine, pass);
    writer.send(0, part, part.returning, Exchange::Direction::combine, pass);
    writer.arrive(0);
    writer.add(0, part, part.returned, kBuffers);
  }
  writer.add(0, part, part.finish, home_of(part));
}

/// Pieces of work of one half that run without a break.
using Stages = std::vector<std::function<void()>>;

/// What ended the layer before begins the first stage of the next.
Stages low_latency_stages(Writer& writer, int batch, const LoweredPass& pass, std::size_t first) {
  Stages stages;
  const ForwardPart* ended = nullptr;
  for (std::size_t i = first; i < pass.layers.size(); ++i) {
    const ForwardPart& part = pass.layers[i];
    const ForwardPart* before = std::exchange(ended, &part);
    stages.push_back([&writer, &part, before, batch] {
      if (before) writer.add(batch, *before, before->finish, home_of(*before));
      writer.add(batch, part, part.project, "attention");
    });
    stages.push_back(
        [&writer, &part, batch] { writer.add(batch, part, part.attend, "attention"); });
    stages.push_back([&writer, &part, &pass, batch] {
      if (part.exchanges) writer.leave(batch, part, Exchange::Direction::dispatch, pass);
      writer.send(batch, part, part.send, Exchange::Direction::dispatch, pass);
      writer.add(batch, part, part.shared, "shared experts");
    });
    stages.push_back([&writer, &part, &pass, batch] {
      if (part.exchanges) writer.arrive(batch);
      writer.add(batch, part, part.received, kBuffers);
      writer.add(batch, part, part.experts, home_of(part));
      if (part.exchanges) writer.leave(batch, part, Exchange::Direction::combine, pass);
      writer.send(batch, part, part.returning, Exchange::Direction::combine, pass);
    });
    stages.push_back([&writer, &part, batch] {
      if (part.exchanges) writer.arrive(batch);
      writer.add(batch, part, part.returned, kBuffers);
    });
  }
  stages.push_back([&writer, ended, batch] {
    if (ended) writer.add(batch, *ended, ended->finish, home_of(*ended));
  });
  return stages;
}

Stages normal_stages(Writer& writer, int batch, const LoweredPass& pass, std::size_t first) {
  Stages stages;
  const ForwardPart* ended = nullptr;
  const auto end = [&writer, batch](const ForwardPart* part) {
    if (!part) return;
    writer.add(batch, *part, part->shared, "shared experts");
    writer.arrive(batch);
    writer.add(batch, *part, part->finish, home_of(*part));
  };
  for (std::size_t i = first; i < pass.layers.size(); ++i) {
    const ForwardPart& part = pass.layers[i];
    const ForwardPart* before = std::exchange(ended, &part);
    stages.push_back([&writer, &part, &pass, before, end, batch] {
      end(before);
      writer.add(batch, part, part.project, "attention");
      writer.add(batch, part, part.attend, "attention");
      if (part.exchanges) writer.leave(batch, part, Exchange::Direction::dispatch, pass);
    });
    stages.push_back([&writer, &part, &pass, batch] {
      if (part.exchanges) writer.arrive(batch);
      writer.add(batch, part, part.experts, home_of(part));
      if (part.exchanges) writer.leave(batch, part, Exchange::Direction::combine, pass);
    });
  }
  stages.push_back([end, ended] { end(ended); });
  return stages;
}

void alternate(const Stages& first, const Stages& second, std::size_t behind) {
  for (std::size_t i = 0; i < first.size() + behind; ++i) {
    if (i < first.size()) first[i]();
    if (i >= behind && i - behind < second.size()) second[i - behind]();
  }
}

void write_layers(Writer& writer, const InferenceJob& job, const ForwardPass& pass,
                  PassLoads& loads) {
  const LoweredPass whole = lower_pass(job, pass, loads);
  writer.remember(whole.load);
  if (!job.two_batch_overlap) {
    for (const ForwardPart& part : whole.layers) write_alone(writer, part, whole);
    return;
  }
  std::size_t first = 0;
  while (first < whole.layers.size() && !whole.layers[first].exchanges)
    write_alone(writer, whole.layers[first++], whole);
  const std::vector<ForwardPass> parts = halves(pass);
  const LoweredPass a = lower_pass(job, parts[0], loads), b = lower_pass(job, parts[1], loads);
  writer.split();
  if (job.split.path == ExpertPath::low_latency)
    alternate(low_latency_stages(writer, 0, a, first), low_latency_stages(writer, 1, b, first), 2);
  else
    alternate(normal_stages(writer, 0, a, first), normal_stages(writer, 1, b, first), 0);
  writer.join();
}

/// The module reads what the iteration verified, which its cache needs too, and drafts a token of
/// every sequence; then one token after the other.
void write_drafts(Writer& writer, const InferenceJob& job, const ForwardPass& pass,
                  PassLoads& loads) {
  ForwardPass drafted = pass;
  for (std::int64_t draft = 0; draft < job.speculation.tokens; ++draft) {
    const auto [lowered, model] = lowering_of(job, drafted, loads);
    write_alone(writer, model.mtp(), lowered);
    const ForwardPart head = model.head(pass.sequences);
    writer.add(0, head, head.finish, "embedding and head");
    drafted.queries = 1;
  }
}

}  // namespace

LoweredPass lower_pass(const InferenceJob& job, const ForwardPass& pass, PassLoads& loads) {
  auto [lowered, model] = lowering_of(job, pass, loads);
  std::map<std::int64_t, std::size_t> known;
  for (std::int64_t n = 0; n < job.architecture.layers; ++n) {
    const std::int64_t like = job.architecture.first_like(n);
    const auto found = known.find(like);
    lowered.layers.push_back(found == known.end() ? model.layer(n) : lowered.layers[found->second]);
    if (found == known.end()) known.emplace(like, lowered.layers.size() - 1);
    lowered.layers.back().name = "layer " + std::to_string(n);
  }
  return std::move(lowered);
}

std::vector<ForwardPass> halves(const ForwardPass& pass) {
  ForwardPass first = pass, second = pass;
  if (pass.sequences > 1) {
    first.sequences = (pass.sequences + 1) / 2;
    second.sequences = pass.sequences - first.sequences;
    return {first, second};
  }
  if (pass.queries < 2)
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        "two batches that overlap need two sequences, or a prompt to cut; batch 1 "
                        "decodes without two_batch_overlap");
  first.queries = (pass.queries + 1) / 2;
  second.queries = pass.queries - first.queries;
  first.context = pass.context - second.queries;
  return {first, second};
}

IterationPlan plan_iteration(const InferenceJob& job, const ForwardPass& pass,
                             IterationCosts& costs, PassLoads& loads) {
  Writer writer{job, costs};
  const InferenceLowering model{lowering_job(job, pass)};
  const ForwardPart embedding = model.embedding();
  writer.add(0, embedding, embedding.project, "embedding and head");
  write_layers(writer, job, pass, loads);
  // A prompt's last token alone is continued; every drafted token is verified.
  const ForwardPart head = model.head(job.phase == Phase::prefill ? pass.sequences : pass.tokens());
  writer.add(0, head, head.finish, "embedding and head");
  write_drafts(writer, job, pass, loads);
  return writer.take();
}

}  // namespace tessera::serving
