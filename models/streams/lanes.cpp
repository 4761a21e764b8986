#include "models/streams/lanes.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace tessera::streams {

TimeRange Node::time() const {
  if (kernel) return kernel->time;
  if (exchange) return exchange->time;
  return {network->time, network->lower, network->upper, Family::network};
}

double Node::hbm_bytes() const {
  if (kernel) return kernel->result.hbm_bytes;
  return exchange ? exchange->hbm_bytes : network->hbm_bytes;
}

namespace {

using core::Time;
using Direction = workload::Exchange::Direction;

constexpr auto kCompute = static_cast<std::size_t>(Lane::compute);
constexpr auto kCommunication = static_cast<std::size_t>(Lane::communication);
constexpr auto kSharding = static_cast<std::size_t>(Lane::sharding);

/// All lanes of one GPU, advanced from one node's end to the next.
class Lanes {
 public:
  Lanes(const ChunkPlan& plan, core::BytesPerSecond hbm_rate, const Variation& variation, int sms)
      : plan_(plan),
        hbm_per_ps_(hbm_rate.value() / core::kPicosecondsPerSecond),
        sms_(sms),
        launched_(plan.nodes.size(), 0.0) {
    run_.spans.resize(plan.nodes.size());
    exposed_.resize(plan.nodes.size(), 0.0);
    done_.resize(plan.nodes.size(), false);
    active_.fill(-1);
    for (std::size_t i = 0; i < plan.nodes.size(); ++i) {
      const Node& node = plan.nodes[i];
      length_.push_back(static_cast<double>(node.time().at(variation).value()));
      queue_[static_cast<std::size_t>(node.lane)].push_back(static_cast<int>(i));
    }
  }

  ChunkRun finish() {
    double now = 0;
    while (true) {
      launch();
      // Collectives are enqueued before the kernels that they run beside, at a higher priority.
      for (const std::size_t lane : {kCommunication, kSharding, kCompute}) start(lane, now);
      const bool idle =
          std::all_of(active_.begin(), active_.end(), [](int node) { return node < 0; });
      if (idle && !next_launch(now)) break;
      now = advance(now);
      if (plan_.sharding_trails && !ended_ && drained(kCompute) && drained(kCommunication)) {
        ended_ = now;
      }
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      assert(next_[lane] == queue_[lane].size() && "a chunk's nodes must not wait for each other");
    }
    run_.duration = Time{std::llround(ended_.value_or(now))};
    run_.forward_ready = end_of(plan_.forward_output);
    run_.backward_ready = end_of(plan_.backward_output);
    run_.exposed_dispatch = Time{std::llround(exposed_dispatch_)};
    run_.exposed_combine = Time{std::llround(exposed_combine_)};
    run_.exposed_collectives = Time{std::llround(exposed_collectives_)};
    run_.exposed_sharding = Time{std::llround(exposed_sharding_)};
    for (const double time : exposed_) run_.exposed.push_back(Time{std::llround(time)});
    run_.stretched = Time{std::llround(stretched_)};
    run_.ceded = Time{std::llround(ceded_)};
    run_.host = Time{std::llround(host_)};
    return std::move(run_);
  }

 private:
  [[nodiscard]] bool drained(std::size_t lane) const {
    return active_[lane] < 0 && next_[lane] == queue_[lane].size();
  }
  [[nodiscard]] bool ended(int node) const {
    return node < 0 || done_[static_cast<std::size_t>(node)];
  }

  /// Everything that the host comes to before it has to wait for what a node computes.
  void launch() {
    for (; next_launch_ < plan_.nodes.size(); ++next_launch_) {
      const Node& node = plan_.nodes[next_launch_];
      if (node.lane == Lane::sharding) continue;
      if (!ended(node.host_after)) return;
      const double read = static_cast<double>(end_of(node.host_after).value());
      const double took = next_launch_ == 0 ? 0 : static_cast<double>(node.host.value());
      launched_[next_launch_] = host_now_ = std::max(host_now_, read) + took;
    }
  }

  /// The lane's next node, if it waits for nothing but its launch.
  [[nodiscard]] std::optional<std::size_t> ready(std::size_t lane) const {
    if (active_[lane] >= 0 || next_[lane] == queue_[lane].size()) return std::nullopt;
    const auto index = static_cast<std::size_t>(queue_[lane][next_[lane]]);
    const Node& node = plan_.nodes[index];
    const bool known = lane == kSharding || index < next_launch_;
    if (!known || !ended(node.after) || !ended(node.gathered)) return std::nullopt;
    return index;
  }

  void start(std::size_t lane, double now) {
    const std::optional<std::size_t> node = ready(lane);
    if (!node || now < launched_[*node]) return;
    const int taken = taken_sms();
    if (lane == kCompute)
      late_ctas_ = lacks_sms(plan_.nodes[*node].kernel, taken);
    else if (const int more = plan_.nodes[*node].sms_taken(); more > 0 && !late_ctas_) {
      const Node* kernel = running(kCompute);
      if (kernel && lacks_sms(kernel->kernel, taken + more)) return;
    }
    active_[lane] = static_cast<int>(*node);
    left_[lane] = length_[*node];
    run_.spans[*node].first = Time{std::llround(now)};
    ++next_[lane];
  }

  /// When, after `now`, the host launches the first of what waits for nothing else.
  [[nodiscard]] std::optional<double> next_launch(double now) const {
    std::optional<double> when;
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      if (const auto node = ready(lane); node && launched_[*node] > now)
        when = std::min(when.value_or(launched_[*node]), launched_[*node]);
    return when;
  }

  [[nodiscard]] const Node* running(std::size_t lane) const {
    return active_[lane] < 0 ? nullptr : &plan_.nodes[static_cast<std::size_t>(active_[lane])];
  }

  /// Bytes that the lane's node asks of HBM a picosecond when nothing slows it.
  [[nodiscard]] double demand(std::size_t lane) const {
    if (active_[lane] < 0) return 0;
    const double length = length_[static_cast<std::size_t>(active_[lane])];
    return length > 0 ? running(lane)->hbm_bytes() / length : 0;
  }

  /// SMs that collectives hold.
  [[nodiscard]] int taken_sms() const {
    int taken = 0;
    for (const std::size_t lane : {kCommunication, kSharding})
      if (const Node* node = running(lane)) taken += node->sms_taken();
    return taken;
  }

  /// Whether tiles of `kernel` were dealt to more CTAs than `taken` SMs leave room for.
  [[nodiscard]] bool lacks_sms(const KernelCost* kernel, int taken) const {
    return kernel && kernel->dealt && sms_ > 0 && taken > 0 && kernel->dealt->ctas + taken > sms_;
  }

  /// Part of its rate that the running kernel keeps beside collectives on some of its SMs.
  [[nodiscard]] double kept_sms() const {
    const Node* kernel = running(kCompute);
    if (!kernel || !kernel->kernel || sms_ == 0 || kernel->kernel->sms > 0) return 1;
    if (kernel->kernel->dealt || kernel->kernel->result.binding == gpu::Resource::hbm) return 1;
    return static_cast<double>(std::max(1, sms_ - taken_sms())) / sms_;
  }

  /// CTAs that found no SM begin: what the others have done lies before them, and when those have
  /// ended they run alone.
  void begin_late_ctas() {
    const auto node = static_cast<std::size_t>(active_[kCompute]);
    const double behind =
        (length_[node] - left_[kCompute]) * plan_.nodes[node].kernel->dealt->alone;
    left_[kCompute] += behind;
    ceded_ += behind;
    late_ctas_ = false;
  }

  /// Part of the asked rates that HBM gives.
  [[nodiscard]] double kept_hbm(double compute_rate) const {
    double asked = 0;
    int running = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      running += active_[lane] >= 0;
      asked += demand(lane) * (lane == kCompute ? compute_rate : 1);
    }
    return running > 1 && asked > hbm_per_ps_ ? hbm_per_ps_ / asked : 1;
  }

  /// Runs to the next end of a node; returns its time.
  double advance(double now) {
    const double sms = kept_sms(), hbm = kept_hbm(sms);
    double passed = std::numeric_limits<double>::infinity();
    const auto rate = [&](std::size_t lane) { return lane == kCompute ? hbm * sms : hbm; };
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (active_[lane] >= 0) passed = std::min(passed, left_[lane] / rate(lane));
    }
    const std::optional<double> launch = next_launch(now);
    if (launch) passed = std::min(passed, *launch - now);
    if (active_[kCompute] < 0 && ready(kCompute)) host_ += passed;
    account(passed, passed * (1 - hbm), active_[kCompute] < 0 ? 0 : passed * hbm * (1 - sms));
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if (active_[lane] < 0) continue;
      // The node that decided the stretch ends with it, whatever rounding leaves.
      const bool last = left_[lane] / rate(lane) <= passed;
      left_[lane] = last ? 0 : left_[lane] - passed * rate(lane);
      if (last && lane == kCompute && late_ctas_)
        begin_late_ctas();
      else if (last)
        end(lane, now + passed);
    }
    if (late_ctas_ && !lacks_sms(running(kCompute)->kernel, taken_sms())) begin_late_ctas();
    return now + passed;
  }

  void account(double passed, double stretched, double ceded) {
    stretched_ += stretched;
    ceded_ += ceded;
    if (active_[kCompute] >= 0 || ended_) return;
    const Node* node = running(kCommunication);
    if (!node && !running(kSharding)) return;  // the host's
    const int told = node ? active_[kCommunication] : active_[kSharding];
    if (told >= 0) exposed_[static_cast<std::size_t>(told)] += passed;
    if (!node) {
      exposed_sharding_ += passed;
    } else if (!node->exchange) {
      exposed_collectives_ += passed;
    } else {
      (node->direction == Direction::combine ? exposed_combine_ : exposed_dispatch_) += passed;
    }
  }

  void end(std::size_t lane, double when) {
    const auto node = static_cast<std::size_t>(std::exchange(active_[lane], -1));
    done_[node] = true;
    run_.spans[node].second = Time{std::llround(when)};
    if (plan_.nodes[node].lane != Lane::sharding) return;
    run_.sharding_end = run_.spans[node].second;
    run_.sharding_busy += Time{std::llround(length_[node])};
  }

  [[nodiscard]] Time end_of(int node) const {
    return node < 0 ? Time{} : run_.spans[static_cast<std::size_t>(node)].second;
  }

  const ChunkPlan& plan_;
  double hbm_per_ps_;
  int sms_;
  std::optional<double> ended_;   ///< When a chunk whose sharding trails ended.
  std::vector<double> launched_;  ///< By node: when the host has launched it, once it has.
  std::size_t next_launch_ = 0;   ///< Node that the host launches next.
  double host_now_ = 0;           ///< When it is done with the one before.
  std::vector<double> length_;    ///< Picoseconds of every node alone.
  std::vector<double> exposed_;   ///< Picoseconds of every node without a kernel beside it.
  std::vector<bool> done_;
  std::array<std::vector<int>, kLanes> queue_;
  std::array<std::size_t, kLanes> next_{};
  std::array<int, kLanes> active_;
  std::array<double, kLanes> left_{};
  bool late_ctas_ = false;  ///< Of the running kernel, some wait for SMs that collectives hold.
  double exposed_dispatch_ = 0, exposed_combine_ = 0, exposed_collectives_ = 0;
  double exposed_sharding_ = 0, stretched_ = 0, ceded_ = 0, host_ = 0;
  ChunkRun run_;
};

}  // namespace

ChunkRun run_chunk(const ChunkPlan& plan, core::BytesPerSecond hbm_rate, const Variation& variation,
                   int sms) {
  return Lanes(plan, hbm_rate, variation, sms).finish();
}

}  // namespace tessera::streams
