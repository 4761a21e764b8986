#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstdint>
#include <queue>
#include <utility>
#include <vector>

namespace tessera::core {

/// The events of one GPU, in order of time, first come first served within a cycle.
///
/// A ring of one-cycle buckets holds the near future, a heap what lies beyond it. Kernels schedule
/// almost everything within a few thousand cycles, so an event costs a link into a bucket and a bit
/// scan. Events belong to who schedules them: an `Event` has a member `Event* next`, which is the
/// wheel's while the event is scheduled.
template <class Event>
class TimingWheel {
 public:
  [[nodiscard]] std::int64_t now() const { return now_; }
  [[nodiscard]] bool empty() const { return due_ == nullptr && near_ == 0 && far_.empty(); }

  /// Requires: time >= now(); `event` is not scheduled.
  void schedule(std::int64_t time, Event& event) {
    assert(time >= now_ && "an event cannot be scheduled in the past");
    if (time - now_ < kBuckets) {
      push(time, event);
    } else {
      far_.push({time, sequence_++, &event});
    }
  }

  /// Advances to the earliest event and removes it. Requires: !empty().
  Event& pop() {
    if (!far_.empty()) admit_far();
    if (due_ == nullptr) advance();
    Event& first = *due_->next;
    if (&first == due_) {
      due_ = nullptr;
    } else {
      due_->next = first.next;
    }
    return first;
  }

 private:
  static constexpr std::int64_t kBuckets = 8192;
  static constexpr std::int64_t kMask = kBuckets - 1;
  static constexpr std::size_t kWords = kBuckets / 64;

  struct Far {
    std::int64_t time;
    std::uint64_t sequence;
    Event* event;
    bool operator<(const Far& other) const {
      return time != other.time ? time > other.time : sequence > other.sequence;
    }
  };

  /// Puts `event` behind the ring of events that ends with `last`.
  static void append(Event*& last, Event& event) {
    if (last == nullptr) {
      event.next = &event;
    } else {
      event.next = last->next;
      last->next = &event;
    }
    last = &event;
  }

  void push(std::int64_t time, Event& event) {
    if (time == now_) {
      append(due_, event);
      return;
    }
    const auto bucket = static_cast<std::size_t>(time & kMask);
    if (buckets_[bucket] == nullptr) {
      occupied_[bucket / 64] |= std::uint64_t{1} << (bucket % 64);
      ++near_;
    }
    append(buckets_[bucket], event);
  }

  /// Far events that the ring now reaches. They were scheduled before any event of their cycle that
  /// is in the ring was, except those scheduled meanwhile; both orders are deterministic.
  void admit_far() {
    if (due_ == nullptr && near_ == 0) now_ = far_.top().time;
    while (!far_.empty() && far_.top().time - now_ < kBuckets) {
      push(far_.top().time, *far_.top().event);
      far_.pop();
    }
  }

  /// Moves `now_` to the first occupied bucket, whose events become due.
  void advance() {
    assert(near_ > 0 && "pop() needs an event");
    std::size_t word = static_cast<std::size_t>(now_ & kMask) / 64;
    std::uint64_t bits = occupied_[word] & (~std::uint64_t{0} << (now_ % 64));
    while (bits == 0) {
      word = (word + 1) % kWords;
      bits = occupied_[word];
    }
    const std::size_t bucket = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
    now_ += (static_cast<std::int64_t>(bucket) - now_) & kMask;
    occupied_[word] &= ~(std::uint64_t{1} << (bucket % 64));
    due_ = std::exchange(buckets_[bucket], nullptr);
    --near_;
  }

  Event* due_ = nullptr;  ///< The last of the events of this cycle, linked in a ring.
  std::int64_t now_ = 0;
  std::array<std::uint64_t, kWords> occupied_{};                 ///< A bit for each of them.
  std::vector<Event*> buckets_ = std::vector<Event*>(kBuckets);  ///< Each its last, as due_.
  std::size_t near_ = 0;                                         ///< Buckets that hold events.
  std::priority_queue<Far> far_;
  std::uint64_t sequence_ = 0;
};

}  // namespace tessera::core
