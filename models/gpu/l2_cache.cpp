#include "models/gpu/l2_cache.hpp"

#include <algorithm>

namespace tessera::gpu {
namespace {
constexpr std::int32_t kNone = -1;
constexpr unsigned kInitialBits = 10;
}  // namespace

L2Cache::L2Cache(std::int64_t capacity_bytes, std::int64_t dirty_bytes)
    : capacity_(capacity_bytes),
      dirty_limit_(dirty_bytes),
      index_(std::size_t{1} << kInitialBits, kNone),
      shift_(64 - kInitialBits) {}

L2Cache::Lookup L2Cache::read(const kernels::Box& box, std::int64_t now, std::int64_t window) {
  const std::uint64_t key = key_of(box);
  const std::int32_t found = find(key);
  if (found != kNone) {
    unlink(found);
    link_newest(found);
    Entry& entry = entries_[static_cast<std::size_t>(found)];
    const bool merged = now < entry.answered;
    if (!merged) entry.answered = std::max(now, entry.ready) + window;
    return {.hit = true, .merged = merged, .ready = entry.ready};
  }
  const std::int64_t written_back = make_place(box.bytes);
  add(box, false, 0);
  return {.written_back = written_back};
}

L2Cache::Lookup L2Cache::write(const kernels::Box& box, std::int64_t now) {
  const std::int32_t found = find(key_of(box));
  if (found != kNone) {
    unlink(found);
    link_newest(found);
    mark_dirty(found);
    return {.hit = true, .ready = now, .written_back = clean()};
  }
  const std::int64_t written_back = make_place(box.bytes);
  mark_dirty(add(box, false, now));
  return {.ready = now, .written_back = written_back + clean()};
}

void L2Cache::mark_dirty(std::int32_t entry) {
  Entry& e = entries_[static_cast<std::size_t>(entry)];
  if (e.dirty) return;
  e.dirty = true;
  dirty_ += e.bytes;
  written_.push_back(e.key);
}

std::int64_t L2Cache::clean() {
  std::int64_t written_back = 0;
  while (dirty_ > dirty_limit_ && !written_.empty()) {
    const std::int32_t found = find(written_.front());
    written_.pop_front();
    // One that was evicted meanwhile has been written; a newer one of the same key comes later.
    if (found == kNone || !entries_[static_cast<std::size_t>(found)].dirty) continue;
    Entry& e = entries_[static_cast<std::size_t>(found)];
    e.dirty = false;
    dirty_ -= e.bytes;
    written_back += e.bytes;
  }
  return written_back;
}

std::int32_t L2Cache::find(std::uint64_t key) const {
  for (std::size_t at = home(key);; at = (at + 1) & (index_.size() - 1)) {
    const std::int32_t entry = index_[at];
    if (entry == kNone || entries_[static_cast<std::size_t>(entry)].key == key) return entry;
  }
}

void L2Cache::index_insert(std::uint64_t key, std::int32_t entry) {
  std::size_t at = home(key);
  while (index_[at] != kNone) at = (at + 1) & (index_.size() - 1);
  index_[at] = entry;
}

void L2Cache::index_erase(std::uint64_t key) {
  const std::size_t mask = index_.size() - 1;
  std::size_t at = home(key);
  while (entries_[static_cast<std::size_t>(index_[at])].key != key) at = (at + 1) & mask;
  // Close the gap: move back every later entry of the run whose home lies at or before the gap.
  for (std::size_t next = (at + 1) & mask; index_[next] != kNone; next = (next + 1) & mask) {
    const std::size_t wanted = home(entries_[static_cast<std::size_t>(index_[next])].key);
    if (((next - wanted) & mask) >= ((next - at) & mask)) {
      index_[at] = index_[next];
      at = next;
    }
  }
  index_[at] = kNone;
}

void L2Cache::grow() {
  index_.assign(index_.size() * 2, kNone);
  --shift_;
  for (std::int32_t entry = newest_; entry != kNone;
       entry = entries_[static_cast<std::size_t>(entry)].older)
    index_insert(entries_[static_cast<std::size_t>(entry)].key, entry);
}

void L2Cache::unlink(std::int32_t entry) {
  Entry& e = entries_[static_cast<std::size_t>(entry)];
  (e.newer == kNone ? newest_ : entries_[static_cast<std::size_t>(e.newer)].older) = e.older;
  (e.older == kNone ? oldest_ : entries_[static_cast<std::size_t>(e.older)].newer) = e.newer;
}

void L2Cache::link_newest(std::int32_t entry) {
  Entry& e = entries_[static_cast<std::size_t>(entry)];
  e.newer = kNone;
  e.older = newest_;
  if (newest_ != kNone) entries_[static_cast<std::size_t>(newest_)].newer = entry;
  newest_ = entry;
  if (oldest_ == kNone) oldest_ = entry;
}

std::int32_t L2Cache::add(const kernels::Box& box, bool dirty, std::int64_t ready) {
  if ((count_ + 1) * 2 > index_.size()) grow();
  std::int32_t entry;
  if (free_.empty()) {
    entry = static_cast<std::int32_t>(entries_.size());
    entries_.push_back({});
  } else {
    entry = free_.back();
    free_.pop_back();
  }
  entries_[static_cast<std::size_t>(entry)] = {.key = key_of(box),
                                               .ready = ready,
                                               .answered = 0,
                                               .newer = kNone,
                                               .older = kNone,
                                               .bytes = box.bytes,
                                               .dirty = dirty};
  index_insert(key_of(box), entry);
  link_newest(entry);
  used_ += box.bytes;
  ++count_;
  return entry;
}

std::int64_t L2Cache::make_place(std::int64_t bytes) {
  std::int64_t written_back = 0;
  while (used_ + bytes > capacity_ && oldest_ != kNone) {
    const std::int32_t victim = oldest_;
    const Entry& e = entries_[static_cast<std::size_t>(victim)];
    if (e.dirty) {
      written_back += e.bytes;
      dirty_ -= e.bytes;
    }
    used_ -= e.bytes;
    evicted_ += e.bytes;
    index_erase(e.key);
    unlink(victim);
    free_.push_back(victim);
    --count_;
  }
  return written_back;
}

}  // namespace tessera::gpu
