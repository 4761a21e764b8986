#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "models/kernels/tile_program.hpp"

namespace tessera::gpu {

/// Which boxes the L2 holds: least recently used out first, boxes in flight included.
///
/// Does not model sets, sectors or slices: a box is present as a whole or not at all.
class L2Cache {
 public:
  struct Lookup {
    bool hit = false;               ///< Present or in flight.
    bool merged = false;            ///< Another read of the box is being answered.
    std::int64_t ready = 0;         ///< When a box in flight arrives.
    std::int64_t written_back = 0;  ///< Dirty bytes that made place for it.
  };

  /// `dirty_bytes`: written bytes beyond which the oldest of them go to HBM and stay clean.
  L2Cache(std::int64_t capacity_bytes, std::int64_t dirty_bytes);

  /// Finds `box` and makes it the most recently used; a miss brings it in and expects `fill` to be
  /// called. Reads that come within `window` of one that was not merged, or of its fill, are merged
  /// with it.
  Lookup read(const kernels::Box& box, std::int64_t now = 0, std::int64_t window = 0);
  /// When the box that the last missing read() brought in arrives.
  void fill(std::int64_t ready, std::int64_t window = 0) {
    Entry& entry = entries_[static_cast<std::size_t>(newest_)];
    entry.ready = ready;
    entry.answered = ready + window;
  }
  /// Whether an eighth of what it holds had to leave already: past the burst of reads that a launch
  /// starts with.
  [[nodiscard]] bool full() const { return evicted_ > capacity_ / 8; }
  /// Writes the whole box. `ready` as for a box that is complete.
  Lookup write(const kernels::Box& box, std::int64_t now);

 private:
  struct Entry {
    std::uint64_t key;
    std::int64_t ready;
    std::int64_t answered;  ///< Until when a read of it is under way.
    std::int32_t newer;
    std::int32_t older;
    std::uint32_t bytes;
    bool dirty;
  };

  static std::uint64_t key_of(const kernels::Box& box) {
    return (std::uint64_t{box.tensor} << 56) ^ (std::uint64_t{box.row} << 28) ^ box.column;
  }
  [[nodiscard]] std::size_t home(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15ull) >> shift_);
  }
  [[nodiscard]] std::int32_t find(std::uint64_t key) const;
  void index_insert(std::uint64_t key, std::int32_t entry);
  void index_erase(std::uint64_t key);
  void grow();
  void unlink(std::int32_t entry);
  void link_newest(std::int32_t entry);
  std::int32_t add(const kernels::Box& box, bool dirty, std::int64_t ready);
  /// Evicts until `bytes` more fit; returns the dirty bytes written back.
  std::int64_t make_place(std::int64_t bytes);

  /// Writes the oldest dirty boxes back until no more than the allowed ones are left; returns their
  /// bytes.
  std::int64_t clean();
  void mark_dirty(std::int32_t entry);

  std::int64_t capacity_;
  std::int64_t dirty_limit_;
  std::int64_t dirty_ = 0;
  std::deque<std::uint64_t> written_;  ///< Keys in the order in which they became dirty.
  std::int64_t used_ = 0;
  std::int64_t evicted_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::int32_t> free_;
  std::vector<std::int32_t> index_;  ///< Open addressing, linear probing.
  unsigned shift_;
  std::size_t count_ = 0;
  std::int32_t newest_ = -1;
  std::int32_t oldest_ = -1;
};

}  // namespace tessera::gpu
