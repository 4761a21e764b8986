#pragma once

#include <bit>
#include <cassert>
#include <cstdint>
#include <queue>
#include <vector>

namespace tessera::core {

/// The events of one GPU, in order of time, first come first served within a cycle.
///
/// A ring of one-cycle buckets holds the near future, a heap what lies beyond it. Kernels schedule
/// almost everything within a few thousand cycles, so an event costs a push onto a bucket and a bit
/// scan.
template <class Payload>
class TimingWheel {
 public:
  TimingWheel() : heads_(kBuckets, kNone), tails_(kBuckets, kNone), occupied_(kBuckets / 64, 0) {}

  [[nodiscard]] std::int64_t now() const { return now_; }
  [[nodiscard]] bool empty() const { return near_ == 0 && far_.empty(); }
  [[nodiscard]] std::uint64_t processed() const { return processed_; }

  /// Requires: time >= now().
  void schedule(std::int64_t time, Payload payload) {
    assert(time >= now_ && "an event cannot be scheduled in the past");
    if (time - now_ < kBuckets) {
      push(time, payload);
    } else {
      far_.push({time, sequence_++, payload});
    }
  }

  /// Advances to the earliest event and removes it. Requires: !empty().
  Payload pop() {
    if (near_ == 0) now_ = far_.top().time;
    admit_far();
    advance();
    const auto bucket = static_cast<std::size_t>(now_ & kMask);
    const std::int32_t index = heads_[bucket];
    Node& node = nodes_[static_cast<std::size_t>(index)];
    heads_[bucket] = node.next;
    if (node.next == kNone) {
      tails_[bucket] = kNone;
      occupied_[bucket / 64] &= ~(std::uint64_t{1} << (bucket % 64));
    }
    node.next = free_;
    free_ = index;
    --near_;
    ++processed_;
    return node.payload;
  }

 private:
  static constexpr std::int64_t kBuckets = 8192;
  static constexpr std::int64_t kMask = kBuckets - 1;
  static constexpr std::int32_t kNone = -1;

  struct Node {
    Payload payload;
    std::int32_t next;
  };
  struct Far {
    std::int64_t time;
    std::uint64_t sequence;
    Payload payload;
    bool operator<(const Far& other) const {
      return time != other.time ? time > other.time : sequence > other.sequence;
    }
  };

  void push(std::int64_t time, const Payload& payload) {
    std::int32_t index = free_;
    if (index == kNone) {
      index = static_cast<std::int32_t>(nodes_.size());
      nodes_.push_back({payload, kNone});
    } else {
      free_ = nodes_[static_cast<std::size_t>(index)].next;
      nodes_[static_cast<std::size_t>(index)] = {payload, kNone};
    }
    const auto bucket = static_cast<std::size_t>(time & kMask);
    if (tails_[bucket] == kNone) {
      heads_[bucket] = index;
      occupied_[bucket / 64] |= std::uint64_t{1} << (bucket % 64);
    } else {
      nodes_[static_cast<std::size_t>(tails_[bucket])].next = index;
    }
    tails_[bucket] = index;
    ++near_;
  }

  /// Far events that the ring now reaches. They were scheduled before any event of their cycle that
  /// is in the ring was, except those scheduled meanwhile; both orders are deterministic.
  void admit_far() {
    while (!far_.empty() && far_.top().time - now_ < kBuckets) {
      push(far_.top().time, far_.top().payload);
      far_.pop();
    }
  }

  /// Moves `now_` to the first occupied bucket.
  void advance() {
    assert(near_ > 0 && "pop() needs an event");
    std::size_t word = static_cast<std::size_t>(now_ & kMask) / 64;
    std::uint64_t bits = occupied_[word] & (~std::uint64_t{0} << ((now_ & kMask) % 64));
    while (bits == 0) {
      word = (word + 1) % occupied_.size();
      bits = occupied_[word];
    }
    const auto bucket = static_cast<std::int64_t>(word * 64) + std::countr_zero(bits);
    now_ += (bucket - now_) & kMask;
  }

  std::vector<Node> nodes_;
  std::vector<std::int32_t> heads_;
  std::vector<std::int32_t> tails_;
  std::vector<std::uint64_t> occupied_;
  std::priority_queue<Far> far_;
  std::int32_t free_ = kNone;
  std::int64_t now_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t near_ = 0;
  std::uint64_t processed_ = 0;
};

}  // namespace tessera::core
