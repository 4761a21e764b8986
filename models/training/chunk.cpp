#include "models/training/chunk.hpp"

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

namespace tessera::training {
namespace {

using workload::PartWork;
using workload::Pass;
using workload::Step;
using workload::Steps;
using Direction = workload::Exchange::Direction;

/// A step and the part it belongs to.
struct Item {
  const PartWork* part;
  const Step* step;
  bool again = false;      ///< Of a forward pass that is computed again.
  bool attention = false;  ///< Of attention and router: HostCost::Graphs::attention_and_router.
};

void append(std::vector<Item>& to, const PartWork& part, const Steps& steps, bool again = false) {
  const bool attention = &steps == &part.before_dispatch || &steps == &part.finish_weight_gradient;
  for (const Step& step : steps) to.push_back({&part, &step, again, attention});
}

/// Steps [from, until) of `gradients`, counted with the steps before them, and between them those
/// of `weights` that are ready; `rest`: whatever is left of them too. Moves `next` on.
void merge(std::vector<Item>& to, const PartWork& part, const Steps& gradients, int before,
           const Steps& weights, std::size_t& next, bool rest) {
  const bool attention = &gradients == &part.finish_gradient;
  const auto take = [&](const Step& step) { to.push_back({&part, &step, false, attention}); };
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    for (; next < weights.size() && weights[next].ready <= before + static_cast<int>(i); ++next)
      take(weights[next]);
    take(gradients[i]);
  }
  for (; rest && next < weights.size(); ++next) take(weights[next]);
}

Pass pass_of(const Step& step) { return step.work() ? step.work()->pass : step.transfer()->pass; }

}  // namespace

/// Steps up to an exchange or to the end of the chunk.
struct ChunkPlanner::Segment {
  std::vector<Item> main;      ///< What the exchange waits for.
  std::vector<Item> trailing;  ///< Weight gradients: run while the exchange does.
  std::optional<Direction> exchange;
  std::string exchange_part, exchange_name;
  bool exchange_counts = false;  ///< How many rows it moves was computed just before it.
  Pass pass = Pass::forward;

  void close(Direction direction, const PartWork& part, std::string name, bool counts) {
    exchange = direction;
    exchange_counts = counts;
    exchange_part = part.name;
    exchange_name = std::move(name);
  }
};

void ChunkPlanner::append_forward(std::vector<Segment>& segments, const PartWork& part,
                                  bool again) {
  const std::string suffix = again ? " recompute" : "";
  const auto exchange = [&](Direction direction, const char* name) {
    if (!part.exchanges) return;
    segments.back().close(direction, part, name + suffix, direction == Direction::dispatch);
    segments.emplace_back();
  };
  append(segments.back().main, part, part.before_dispatch, again);
  exchange(Direction::dispatch, "dispatch");
  append(segments.back().main, part, part.experts, again);
  exchange(Direction::combine, "combine");
  append(segments.back().main, part, part.after_combine, again);
}

std::vector<ChunkPlanner::Segment> ChunkPlanner::forward_segments(const StageWork& stage) {
  std::vector<Segment> segments(1);
  for (const PartWork& part : stage) append_forward(segments, part, false);
  return segments;
}

/// Gradients of one part; its weight gradients where `weights` says.
void ChunkPlanner::append_backward(std::vector<Segment>& segments, const PartWork& part,
                                   Weights weights) {
  const bool in_place = weights == Weights::in_place;
  static const Steps kNone;
  const Steps& experts = in_place ? part.experts_weight_gradient : kNone;
  const Steps& finish = in_place ? part.finish_weight_gradient : kNone;
  const auto exchange = [&](Direction direction, const char* name) {
    if (!part.exchanges) return;
    segments.back().close(direction, part, name, false);
    segments.emplace_back();
  };
  const auto trail = [&](const Steps& list) {
    if (weights == Weights::beside_exchanges) append(segments.back().trailing, part, list);
  };
  std::size_t next = 0;
  merge(segments.back().main, part, part.start_gradient, 0, experts, next, false);
  // The gradient of a combine moves rows as a dispatch does.
  exchange(Direction::dispatch, "combine gradient");
  merge(segments.back().main, part, part.experts_gradient,
        static_cast<int>(part.start_gradient.size()), experts, next, true);
  trail(part.experts_weight_gradient);
  exchange(Direction::combine, "dispatch gradient");
  next = 0;
  merge(segments.back().main, part, part.finish_gradient, 0, finish, next, true);
  trail(part.finish_weight_gradient);
}

std::vector<ChunkPlanner::Segment> ChunkPlanner::backward_segments(const StageWork& stage,
                                                                   Weights weights) {
  std::vector<Segment> segments(1);
  for (auto part = stage.rbegin(); part != stage.rend(); ++part) {
    if (part->recomputes_forward) append_forward(segments, *part, true);
    append_backward(segments, *part, weights);
  }
  for (Segment& segment : segments) segment.pass = Pass::input_gradient;
  return segments;
}

/// Appends segments to a plan. Each direction of travel is a chain: a kernel waits for the
/// exchanges and transfers that bring what it reads. Weight gradients read what transfers of their
/// own bring, and nothing of the chain waits for them.
class ChunkPlanner::Writer {
 public:
  /// A node of the communication lane, and the kernels that need not wait for it.
  struct Arrival {
    int node = -1;
    int behind = 0;
  };
  struct Chain {
    int last = -1;    ///< Node that completes what was written so far.
    int kernel = -1;  ///< The last kernel, weight gradients included.
    std::vector<Arrival> arrivals;
    std::vector<Arrival> weight_arrivals;
  };

  Writer(CostTable& costs, int shared_sms, const HostCost& host)
      : costs_(costs), shared_sms_(shared_sms), host_(host) {}

  void write(const Segment& segment, Chain& chain, bool main_beside_exchange) {
    for (const Item& item : segment.main) {
      step(item, chain, main_beside_exchange ? shared_sms_ : 0, segment.pass);
    }
    if (segment.exchange) exchange(segment, chain);
    const bool beside = main_beside_exchange || segment.exchange.has_value();
    for (const Item& item : segment.trailing)
      step(item, chain, beside ? shared_sms_ : 0, segment.pass);
  }

  /// `direction`: forward or input_gradient, whichever way the chunk runs.
  void step(const Item& item, Chain& chain, int sms, Pass direction) {
    const bool weight = pass_of(*item.step) == Pass::weight_gradient;
    std::vector<Arrival>& arrivals = weight ? chain.weight_arrivals : chain.arrivals;
    plan_.nodes.push_back(node_of(item, direction));
    plan_.nodes.back().host = launch(item);
    if (const workload::Transfer* transfer = item.step->transfer()) {
      plan_.nodes.back().after = chain.kernel;
      arrivals.push_back({index(), transfer->behind});
    } else {
      Node& node = plan_.nodes.back();
      node.kernel = &costs_.kernel(item.step->work()->op, sms, item.step->work()->promoted);
      node.after = await(arrivals);
      chain.kernel = index();
    }
    if (!weight) chain.last = index();
  }
  ChunkPlan& plan() { return plan_; }

 private:
  int index() const { return static_cast<int>(plan_.nodes.size()) - 1; }

  /// The last arrival that a kernel waits for; the others come one kernel nearer.
  static int await(std::vector<Arrival>& arrivals) {
    int after = -1;
    for (Arrival& arrival : arrivals) {
      if (arrival.behind-- == 0) after = std::max(after, arrival.node);
    }
    std::erase_if(arrivals, [](const Arrival& arrival) { return arrival.behind < 0; });
    return after;
  }

  Node node_of(const Item& item, Pass direction) {
    Node node;
    node.part = item.part->name;
    node.pass = item.again ? Pass::input_gradient : pass_of(*item.step);
    if (const workload::Transfer* transfer = item.step->transfer()) {
      node.name = transfer->name;
      node.category = "communication";
      node.lane = Lane::communication;
      node.network = &costs_.transfer(*transfer);
    } else {
      node.name = item.step->work()->name;
      node.category = node.pass == Pass::weight_gradient ? "weight"
                      : direction == Pass::forward       ? "forward"
                                                         : "backward";
    }
    if (item.again) node.name += " recompute";
    return node;
  }

  /// What the host takes for an item; a graph is launched as one module.
  core::Time launch(const Item& item) {
    const bool replays = item.attention && host_.graphs == HostCost::Graphs::attention_and_router;
    const bool begins = replays && !replaying_;
    replaying_ = replays;
    if (begins) return host_.launch + host_.module;
    if (replays) return {};
    const workload::Work* work = item.step->work();
    if (!work) return host_.launch;
    return host_.launch * work->launches + (work->module ? host_.module : core::Time{});
  }

  /// The host that launches kernel by kernel has to know how many rows come from whom before it can
  /// ask for them; backward it knows from before.
  void exchange(const Segment& segment, Chain& chain) {
    const bool counts = segment.exchange_counts && host_.launch > core::Time{};
    replaying_ = false;
    plan_.nodes.push_back({.part = segment.exchange_part,
                           .name = segment.exchange_name,
                           .category = "communication",
                           .lane = Lane::communication,
                           .exchange = &costs_.exchange(*segment.exchange),
                           .direction = *segment.exchange,
                           .pass = segment.pass,
                           .after = chain.kernel,
                           .host = host_.launch,
                           .host_after = counts ? chain.kernel : -1});
    chain.last = index();
    chain.arrivals.push_back({index(), 0});
  }

  CostTable& costs_;
  int shared_sms_;
  const HostCost& host_;
  bool replaying_ = false;  ///< The item before was of the same graph.
  ChunkPlan plan_;
};

ChunkPlanner::ChunkPlanner(CostTable& costs, int communication_sms, int device_sms,
                           bool weights_beside_exchanges, const HostCost& host)
    : costs_(costs),
      shared_sms_(device_sms - communication_sms),
      weights_beside_exchanges_(weights_beside_exchanges),
      host_(host) {
  assert(shared_sms_ > 0 && "communication must leave SMs to computation");
}

ChunkPlan ChunkPlanner::forward(const StageWork& stage) {
  Writer writer(costs_, shared_sms_, host_);
  Writer::Chain chain;
  for (const Segment& segment : forward_segments(stage)) writer.write(segment, chain, false);
  writer.plan().forward_output = chain.last;
  return std::move(writer.plan());
}

ChunkPlan ChunkPlanner::backward(const StageWork& stage, bool with_weight_gradient) {
  Writer writer(costs_, shared_sms_, host_);
  Writer::Chain chain;
  const Weights weights = !with_weight_gradient       ? Weights::none
                          : weights_beside_exchanges_ ? Weights::beside_exchanges
                                                      : Weights::in_place;
  for (const Segment& segment : backward_segments(stage, weights)) {
    writer.write(segment, chain, false);
  }
  writer.plan().backward_output = chain.last;
  return std::move(writer.plan());
}

ChunkPlan ChunkPlanner::weight_gradient(const StageWork& stage) {
  Writer writer(costs_, shared_sms_, host_);
  Writer::Chain chain;
  for (auto part = stage.rbegin(); part != stage.rend(); ++part) {
    std::vector<Item> items;
    append(items, *part, part->experts_weight_gradient);
    append(items, *part, part->finish_weight_gradient);
    for (const Item& item : items) {
      chain.kernel = -1;  // what is gathered again has been there since the forward pass
      writer.step(item, chain, 0, Pass::input_gradient);
    }
  }
  return std::move(writer.plan());
}

ChunkPlan ChunkPlanner::overlapped(const StageWork& forward_stage,
                                   const StageWork& backward_stage) {
  const std::vector<Segment> forward = forward_segments(forward_stage);
  const std::vector<Segment> backward =
      backward_segments(backward_stage, Weights::beside_exchanges);
  const bool shared = forward.size() > 1 || backward.size() > 1;
  Writer writer(costs_, shared_sms_, host_);
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
