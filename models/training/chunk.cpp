#include "models/training/chunk.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <optional>
#include <utility>

namespace tessera::training {
namespace {

using core::Time;
using workload::PartWork;
using workload::Pass;
using workload::Work;
using Direction = workload::Exchange::Direction;

std::string category_of(Pass pass) {
  switch (pass) {
    case Pass::forward:
      return "forward";
    case Pass::input_gradient:
      return "backward";
    case Pass::weight_gradient:
      return "weight";
    case Pass::optimizer:
      return "optimizer";
  }
  return "forward";
}

/// A kernel and the part it belongs to.
struct Item {
  const PartWork* part;
  const Work* work;
};

void append(std::vector<Item>& to, const PartWork& part, const std::vector<Work>& works) {
  for (const Work& work : works) to.push_back({&part, &work});
}

}  // namespace

/// Kernels up to an exchange or to the end of the chunk.
struct ChunkPlanner::Segment {
  std::vector<Item> main;      ///< What the exchange waits for.
  std::vector<Item> trailing;  ///< Weight gradients: run while the exchange does.
  std::optional<Direction> exchange;
  std::string exchange_part, exchange_name;
  Pass pass = Pass::forward;

  void close(Direction direction, const PartWork& part, std::string name) {
    exchange = direction;
    exchange_part = part.name;
    exchange_name = std::move(name);
  }
};

std::vector<ChunkPlanner::Segment> ChunkPlanner::forward_segments(const StageWork& stage) {
  std::vector<Segment> segments(1);
  for (const PartWork& part : stage) {
    append(segments.back().main, part, part.before_dispatch);
    if (part.exchanges) {
      segments.back().close(Direction::dispatch, part, "dispatch");
      segments.emplace_back();
    }
    append(segments.back().main, part, part.experts);
    if (part.exchanges) {
      segments.back().close(Direction::combine, part, "combine");
      segments.emplace_back();
    }
    append(segments.back().main, part, part.after_combine);
  }
  return segments;
}

std::vector<ChunkPlanner::Segment> ChunkPlanner::backward_segments(const StageWork& stage,
                                                                   bool with_weight_gradient) {
  const auto weights = [&](Segment& segment, const PartWork& part, const std::vector<Work>& list) {
    if (with_weight_gradient) append(segment.trailing, part, list);
  };
  std::vector<Segment> segments(1);
  for (auto part = stage.rbegin(); part != stage.rend(); ++part) {
    append(segments.back().main, *part, part->start_gradient);
    if (part->exchanges) {  // the gradient of a combine moves rows as a dispatch does
      segments.back().close(Direction::dispatch, *part, "combine gradient");
      segments.emplace_back();
    }
    append(segments.back().main, *part, part->experts_gradient);
    weights(segments.back(), *part, part->experts_weight_gradient);
    if (part->exchanges) {
      segments.back().close(Direction::combine, *part, "dispatch gradient");
      segments.emplace_back();
    }
    append(segments.back().main, *part, part->finish_gradient);
    weights(segments.back(), *part, part->finish_weight_gradient);
  }
  for (Segment& segment : segments) segment.pass = Pass::input_gradient;
  return segments;
}

/// Appends segments to a plan. Each direction of travel is a chain: a segment waits for the
/// exchange that ended the one before.
class ChunkPlanner::Writer {
 public:
  struct Chain {
    int last = -1;      ///< Node that completes what was written so far.
    int exchange = -1;  ///< Exchange that the next segment waits for.
  };

  Writer(CostTable& costs, int shared_sms) : costs_(costs), shared_sms_(shared_sms) {}

  void write(const Segment& segment, Chain& chain, bool main_beside_exchange) {
    for (const Item& item : segment.main) {
      kernel(item, main_beside_exchange ? shared_sms_ : 0, std::exchange(chain.exchange, -1));
      chain.last = index();
    }
    if (segment.exchange) {
      exchange(segment, chain.last);
      chain.last = chain.exchange = index();
    }
    const bool beside = main_beside_exchange || segment.exchange.has_value();
    for (const Item& item : segment.trailing) kernel(item, beside ? shared_sms_ : 0, -1);
  }
  void kernel(const Item& item, int sms, int after) {
    plan_.nodes.push_back({.part = item.part->name,
                           .name = item.work->name,
                           .category = category_of(item.work->pass),
                           .lane = Lane::compute,
                           .kernel = &costs_.kernel(item.work->op, sms),
                           .exchange = nullptr,
                           .pass = item.work->pass,
                           .after = after});
  }
  ChunkPlan& plan() { return plan_; }

 private:
  int index() const { return static_cast<int>(plan_.nodes.size()) - 1; }
  void exchange(const Segment& segment, int after) {
    plan_.nodes.push_back({.part = segment.exchange_part,
                           .name = segment.exchange_name,
                           .category = "communication",
                           .lane = Lane::communication,
                           .kernel = nullptr,
                           .exchange = &costs_.exchange(*segment.exchange),
                           .direction = *segment.exchange,
                           .pass = segment.pass,
                           .after = after});
  }

  CostTable& costs_;
  int shared_sms_;
  ChunkPlan plan_;
};

ChunkPlanner::ChunkPlanner(CostTable& costs, int communication_sms, int device_sms)
    : costs_(costs), shared_sms_(device_sms - communication_sms) {
  assert(shared_sms_ > 0 && "communication must leave SMs to computation");
}

ChunkPlan ChunkPlanner::forward(const StageWork& stage) {
  Writer writer(costs_, shared_sms_);
  Writer::Chain chain;
  for (const Segment& segment : forward_segments(stage)) writer.write(segment, chain, false);
  writer.plan().forward_output = chain.last;
  return std::move(writer.plan());
}

ChunkPlan ChunkPlanner::backward(const StageWork& stage, bool with_weight_gradient) {
  Writer writer(costs_, shared_sms_);
  Writer::Chain chain;
  for (const Segment& segment : backward_segments(stage, with_weight_gradient)) {
    writer.write(segment, chain, false);
  }
  writer.plan().backward_output = chain.last;
  return std::move(writer.plan());
}

ChunkPlan ChunkPlanner::weight_gradient(const StageWork& stage) {
  Writer writer(costs_, shared_sms_);
  for (auto part = stage.rbegin(); part != stage.rend(); ++part) {
    std::vector<Item> items;
    append(items, *part, part->experts_weight_gradient);
    append(items, *part, part->finish_weight_gradient);
    for (const Item& item : items) writer.kernel(item, 0, -1);
  }
  return std::move(writer.plan());
}

ChunkPlan ChunkPlanner::overlapped(const StageWork& forward_stage,
                                   const StageWork& backward_stage) {
  const std::vector<Segment> forward = forward_segments(forward_stage);
  const std::vector<Segment> backward = backward_segments(backward_stage, true);
  const bool shared = forward.size() > 1 || backward.size() > 1;
  Writer writer(costs_, shared_sms_);
  Writer::Chain forward_chain, backward_chain;
  for (std::size_t i = 0; i < std::max(forward.size(), backward.size()); ++i) {
    if (i < backward.size()) writer.write(backward[i], backward_chain, shared);
    if (i < forward.size()) writer.write(forward[i], forward_chain, shared);
  }
  writer.plan().forward_output = forward_chain.last;
  writer.plan().backward_output = backward_chain.last;
  return std::move(writer.plan());
}

namespace {

/// Both lanes of one GPU, advanced from one node's end to the next.
class Lanes {
 public:
  Lanes(const ChunkPlan& plan, core::BytesPerSecond hbm_rate, const Variation& variation)
      : plan_(plan), hbm_per_ps_(hbm_rate.value() / core::kPicosecondsPerSecond) {
    run_.spans.resize(plan.nodes.size());
    done_.resize(plan.nodes.size(), false);
    for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
      const Node& node = plan.nodes[i];
      length_.push_back(static_cast<double>(node.time().at(variation).value()));
      queue_[static_cast<std::size_t>(node.lane)].push_back(static_cast<int>(i));
    }
  }

  ChunkRun finish() {
    double now = 0;
    while (true) {
      for (std::size_t lane = 0; lane < 2; ++lane) start(lane, now);
      if (active_[0] < 0 && active_[1] < 0) break;
      now = advance(now);
    }
    for (std::size_t lane = 0; lane < 2; ++lane) {
      assert(next_[lane] == queue_[lane].size() && "a chunk's nodes must not wait for each other");
    }
    run_.duration = Time{std::llround(now)};
    run_.forward_ready = end_of(plan_.forward_output);
    run_.backward_ready = end_of(plan_.backward_output);
    run_.exposed_dispatch = Time{std::llround(exposed_[0])};
    run_.exposed_combine = Time{std::llround(exposed_[1])};
    run_.stretched = Time{std::llround(stretched_)};
    return std::move(run_);
  }

 private:
  void start(std::size_t lane, double now) {
    if (active_[lane] >= 0 || next_[lane] == queue_[lane].size()) return;
    const int node = queue_[lane][next_[lane]];
    const int after = plan_.nodes[static_cast<std::size_t>(node)].after;
    if (after >= 0 && !done_[static_cast<std::size_t>(after)]) return;
    active_[lane] = node;
    left_[lane] = length_[static_cast<std::size_t>(node)];
    run_.spans[static_cast<std::size_t>(node)].first = Time{std::llround(now)};
    ++next_[lane];
  }

  /// Bytes that the lane's node asks of HBM a picosecond when nothing slows it.
  double demand(std::size_t lane) const {
    if (active_[lane] < 0) return 0;
    const auto node = static_cast<std::size_t>(active_[lane]);
    return length_[node] > 0 ? plan_.nodes[node].hbm_bytes() / length_[node] : 0;
  }

  double speed() const {
    if (active_[0] < 0 || active_[1] < 0) return 1;
    const double asked = demand(0) + demand(1);
    return asked > hbm_per_ps_ ? hbm_per_ps_ / asked : 1;
  }

  /// Runs to the next end of a node; returns its time.
  double advance(double now) {
    const double rate = speed();
    double work = std::numeric_limits<double>::infinity();
    for (std::size_t lane = 0; lane < 2; ++lane) {
      if (active_[lane] >= 0) work = std::min(work, left_[lane]);
    }
    const double passed = work / rate;
    account(passed, passed - work);
    for (std::size_t lane = 0; lane < 2; ++lane) {
      if (active_[lane] < 0) continue;
      left_[lane] -= work;
      if (left_[lane] <= 0) end(lane, now + passed);
    }
    return now + passed;
  }

  void account(double passed, double lost) {
    stretched_ += lost;
    if (active_[1] < 0 || active_[0] >= 0) return;
    const Node& node = plan_.nodes[static_cast<std::size_t>(active_[1])];
    exposed_[node.direction == Direction::combine ? 1 : 0] += passed;
  }

  void end(std::size_t lane, double when) {
    const auto node = static_cast<std::size_t>(std::exchange(active_[lane], -1));
    done_[node] = true;
    run_.spans[node].second = Time{std::llround(when)};
  }

  Time end_of(int node) const {
    return node < 0 ? Time{} : run_.spans[static_cast<std::size_t>(node)].second;
  }

  const ChunkPlan& plan_;
  double hbm_per_ps_;
  std::vector<double> length_;  ///< Picoseconds of every node alone.
  std::vector<bool> done_;
  std::vector<int> queue_[2];
  std::size_t next_[2] = {0, 0};
  int active_[2] = {-1, -1};
  double left_[2] = {0, 0};
  double exposed_[2] = {0, 0};
  double stretched_ = 0;
  ChunkRun run_;
};

}  // namespace

ChunkRun run_chunk(const ChunkPlan& plan, core::BytesPerSecond hbm_rate,
                   const Variation& variation) {
  return Lanes(plan, hbm_rate, variation).finish();
}

}  // namespace tessera::training
