#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "models/gpu/kernel_result.hpp"
#include "models/kernels/tile_kernel.hpp"

/// What the tile engine keeps of SMs, CTAs, roles and of what is under way between them. An event
/// of the wheel is the thing that it happens to, laid out so that what one event touches lies on
/// few cache lines: that is what an event costs.
namespace tessera::gpu {

/// A server keeps time to 1/256 cycle: one box is often less than a cycle.
inline constexpr int kFractionBits = 8;
inline constexpr std::int64_t kFraction = std::int64_t{1} << kFractionBits;

/// How long boxes take at one rate, in fractions of a cycle. Most boxes of a kind take as long as
/// the last one, which spares a division.
class BoxTimes {
 public:
  explicit BoxTimes(double bytes_per_cycle) : bytes_per_cycle_(bytes_per_cycle) {}

  /// Requires: bytes >= 0.
  std::int64_t of(double bytes, std::size_t kind) {
    Last& last = last_[kind % last_.size()];
    if (last.bytes != bytes) last = {bytes, fractions(bytes)};
    return last.fractions;
  }
  [[nodiscard]] std::int64_t fractions(double bytes) const {
    // Of positive numbers this is llround, without its call.
    return std::max<std::int64_t>(
        1, static_cast<std::int64_t>(bytes * kFraction / bytes_per_cycle_ + 0.5));
  }

 private:
  struct Last {
    double bytes = -1;
    std::int64_t fractions = 0;
  };
  double bytes_per_cycle_;
  std::array<Last, 8> last_;
};

/// A server of a shared resource.
struct Server {
  std::int64_t free_at = 0;  ///< In 1/kFraction cycles.

  /// Reserves `fractions` of a cycle from cycle `now` on; returns {start, end}, rounded to whole
  /// cycles (start down, end up).
  std::pair<std::int64_t, std::int64_t> reserve(std::int64_t now, std::int64_t fractions) {
    const std::int64_t start = std::max(now * kFraction, free_at);
    free_at = start + fractions;
    return {start >> kFractionBits, (free_at + kFraction - 1) >> kFractionBits};
  }
  /// The last reservation in cycles, exactly, for the recorder.
  [[nodiscard]] std::pair<double, double> last(std::int64_t fractions) const {
    return {static_cast<double>(free_at - fractions) / kFraction,
            static_cast<double>(free_at) / kFraction};
  }
};

struct alignas(64) SmState {
  Server tensor;
  std::array<Server, kernels::kPipes> pipes;
  Server issue;
  Server port_in;
  Server port_out;
};

enum class EventKind : std::uint8_t { start_cluster, resume, at_l2, from_l2, store_at_l2, stored };

struct Event {
  Event* next = nullptr;  ///< In the wheel or in a pool.
  EventKind kind = EventKind::resume;
};

struct CtaState;
struct ClusterState;

/// A warp role; an event when it is to go on.
struct Role : Event {
  kernels::TileProgram program;
  CtaState* cta = nullptr;
  Role* next_waiting = nullptr;  ///< For the same barrier, or the same stores.
  std::int64_t target = 0;       ///< Arrivals that it waits for.
  std::int64_t blocked_since = 0;
};

/// When something arrives at a barrier, and what delayed it most: one number, so that the later of
/// two is the greater.
class Arrival {
 public:
  Arrival() = default;
  Arrival(std::int64_t time, Resource cause)
      : stamp_(time << kCauseBits | static_cast<std::int64_t>(cause)) {}
  [[nodiscard]] std::int64_t time() const { return stamp_ >> kCauseBits; }
  [[nodiscard]] Resource cause() const {
    return static_cast<Resource>(stamp_ & ((std::int64_t{1} << kCauseBits) - 1));
  }
  auto operator<=>(const Arrival&) const = default;

 private:
  static constexpr int kCauseBits = 4;
  std::int64_t stamp_ = 0;
};

/// Counts arrivals as soon as it is certain when they come, mostly ahead of time, so that they need
/// no events. They come in the order in which they became certain.
class BarrierState {
 public:
  [[nodiscard]] std::int64_t arrivals() const { return static_cast<std::int64_t>(arrivals_); }
  /// Returns when it comes: not before those that became certain before it.
  Arrival add(Arrival arrival) {
    const Arrival before = last_[arrivals_ % kRemembered];
    return last_[++arrivals_ % kRemembered] = std::max(before, arrival);
  }
  /// The `n`th arrival, or the earliest after it that is remembered. Requires: n <= arrivals().
  [[nodiscard]] Arrival arrival(std::int64_t n) const {
    const std::uint64_t earliest = arrivals_ < kRemembered ? 0 : arrivals_ - kRemembered + 1;
    return last_[std::max(static_cast<std::uint64_t>(n), earliest) % kRemembered];
  }

  Role* waiting = nullptr;  ///< For arrivals that are not certain yet.

 private:
  /// Roles that are further behind wait for what has come already.
  static constexpr std::uint64_t kRemembered = 2;

  std::uint64_t arrivals_ = 0;
  std::array<Arrival, kRemembered> last_{};
};

struct CtaState {
  std::vector<BarrierState> barriers;
  SmState* sm = nullptr;
  ClusterState* cluster = nullptr;
  std::size_t sm_index = 0;
  kernels::Cta cta;
  std::vector<Role> roles;
  std::size_t live_roles = 0;
  int open_stores = 0;
  bool ended = true;
  Role* waiting_for_stores = nullptr;
};

/// CTAs placed together; an event when they are to start.
struct ClusterState : Event {
  std::vector<CtaState> ctas;
  std::vector<std::int64_t> tiles;  ///< Given so far; -1 ends.
  std::size_t live_ctas = 0;
};

/// A load or store under way; an event at each place that it reaches. A cache line: no delay lasts
/// 2^31 cycles.
struct alignas(64) Transfer : Event {
  kernels::Barrier barrier = kernels::kNoBarrier;
  bool cluster_wide = false;
  bool remote = false;
  bool merged = false;  ///< With another read of the same box under way.
  CtaState* cta = nullptr;
  kernels::Box box;
  std::int32_t issue_delay = 0;
  std::int32_t hbm_delay = 0;
};

/// Transfers are made and end all the time.
class TransferPool {
 public:
  /// One whose values are left from its last use.
  Transfer& take() {
    if (free_ == nullptr) return all_.emplace_back();
    Transfer& transfer = *free_;
    free_ = static_cast<Transfer*>(transfer.next);
    return transfer;
  }
  void give(Transfer& transfer) {
    transfer.next = free_;
    free_ = &transfer;
  }

 private:
  std::deque<Transfer> all_;
  Transfer* free_ = nullptr;
};

}  // namespace tessera::gpu
