#include "models/training/chunk.hpp"

#include <algorithm>
#include <cassert>
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

}  // namespace tessera::training
