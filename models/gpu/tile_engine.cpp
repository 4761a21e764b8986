#include "models/gpu/tile_engine.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace tessera::gpu {

using kernels::Box;
using kernels::kNoBarrier;

namespace {

constexpr double kSteadyTolerance = 0.003;  ///< Of time.
/// Of a launch of many waves, windows take this part each, so that what one wave differs from the
/// next by averages out, but no more waves than the second number.
constexpr std::int64_t kWindowsOfLaunch = 8, kMostWatched = 16;
constexpr double kSteadyTraffic = 0.1;  ///< Of what HBM can move, in boxes, meanwhile.
/// Standard error that the time of the skipped waves may have, of the launch's time.
constexpr double kSkippingError = 0.003;
/// Where there is nothing to gain: events that take some 25 ms to simulate, and a part of what was
/// simulated so far.
constexpr double kFewEvents = 500'000, kSmallPart = 0.5;

/// Standard error of the mean time of a unit of work over the last `count` waves, of that mean.
template <class Waves>
double wave_noise(const Waves& waves, std::size_t count) {
  double sum = 0, squares = 0;
  for (std::size_t i = waves.size() - count; i < waves.size(); ++i) {
    const double rate = static_cast<double>(waves[i].time - waves[i - 1].time) /
                        (waves[i].work - waves[i - 1].work);
    sum += rate;
    squares += rate * rate;
  }
  const auto n = static_cast<double>(count);
  const double variance = std::max(0.0, squares / n - sum * sum / (n * n));
  return std::sqrt(variance / n) / (sum / n);
}

}  // namespace

/// From now on; {start, end} in whole cycles.
std::pair<std::int64_t, std::int64_t> TileEngine::reserve_l2(double bytes,
                                                             const Transfer& transfer) {
  const std::int64_t taken =
      l2_times_.of(bytes, transfer.box.tensor * 2 + (transfer.merged ? 1 : 0));
  const auto reserved = l2_.reserve(wheel_.now(), taken);
  if (recorder_ != nullptr) recorder_->l2(l2_.last(taken).first, l2_.last(taken).second);
  return reserved;
}

/// From now on; the end in whole cycles.
std::int64_t TileEngine::reserve_hbm(std::int64_t fractions) {
  const std::int64_t end = hbm_.reserve(wheel_.now(), fractions).second;
  if (recorder_ != nullptr) recorder_->hbm(hbm_.last(fractions).first, hbm_.last(fractions).second);
  return end;
}

std::int64_t TileEngine::read_hbm(const Box& box) {
  totals_.hbm_read_bytes += box.bytes;
  return reserve_hbm(hbm_read_times_.of(box.bytes, box.tensor));
}

std::int64_t TileEngine::write_hbm(std::int64_t bytes) {
  totals_.hbm_write_bytes += static_cast<double>(bytes);
  return reserve_hbm(hbm_write_times_.of(static_cast<double>(bytes), 0));
}

TileEngine::TileEngine(const Machine& machine, const kernels::TileKernel& kernel, bool exact)
    : machine_(machine),
      kernel_(kernel),
      plan_(kernel.plan()),
      exact_(exact || kernel.plan().period == 0),
      half_latency_(std::llround(machine.l2_latency / 2)),
      l2_latency_(static_cast<std::int64_t>(machine.l2_latency)),
      hbm_latency_(std::llround(machine.hbm_latency)),
      merging_window_(std::llround(machine.l2_latency)),
      issue_fractions_(std::llround(kernel.plan().issue_cycles * kFraction)),
      l2_cache_(static_cast<std::int64_t>(machine.l2_capacity),
                static_cast<std::int64_t>(machine.l2_dirty)),
      port_times_(machine.sm_port_bytes),
      l2_times_(machine.l2_bytes),
      hbm_read_times_(machine.hbm_bytes),
      hbm_write_times_(machine.hbm_write_bytes),
      sms_(static_cast<std::size_t>(machine.sms)) {
  // The boxes that are read last go in first: what the launch brings in takes their place, and not
  // that of the box it reads next, as strict order of use would have it. Real caches are not
  // strict.
  std::vector<kernels::WarmBox> boxes = kernel.warm_boxes();
  std::reverse(boxes.begin(), boxes.end());
  for (const kernels::WarmBox& warm : boxes) {
    if (warm.dirty) {
      l2_cache_.write(warm.box, 0);
    } else {
      l2_cache_.read(warm.box);
    }
  }
}

LaunchTotals TileEngine::run(ActivityRecorder* recorder, double limit) {
  recorder_ = recorder;
  limit_ = limit;
  keep_limit();
  place_clusters();
  while (!wheel_.empty()) {
    Event& event = wheel_.pop();
    ++events_;
    if (wheel_.now() > last_cycle_) {
      totals_.cycles = std::numeric_limits<double>::infinity();
      return totals_;
    }
    happen(event);
  }
  totals_ += skipped_totals_;
  totals_.cycles = static_cast<double>(last_end_) + skipped_cycles_;
  return totals_;
}

/// Lets as many clusters start as run at once.
void TileEngine::place_clusters() {
  const auto cluster_size = static_cast<std::size_t>(plan_.cluster);
  std::size_t first_sm = 0;
  std::vector<std::vector<std::size_t>> places;  // the SMs of each cluster slot
  for (const int gpc : machine_.gpc_sizes) {
    for (std::size_t at = 0; at + cluster_size <= static_cast<std::size_t>(gpc);
         at += cluster_size) {
      std::vector<std::size_t> place;
      for (std::size_t r = 0; r < cluster_size; ++r) place.push_back(first_sm + at + r);
      places.push_back(std::move(place));
    }
    first_sm += static_cast<std::size_t>(gpc);
  }
  const auto slots = static_cast<std::int64_t>(places.size()) * plan_.ctas_per_sm;
  assert(slots > 0 && "the launch plan must fit the given SMs");
  // Watched in whole periods, so that every window holds the same mix of tiles.
  const std::int64_t period = std::max<std::int64_t>(1, plan_.period);
  wave_ = (slots + period - 1) / period * period;
  const std::int64_t launched = std::min(slots, plan_.tiles);
  for (std::int64_t i = 0; i < launched; ++i) {
    ClusterState& cluster = clusters_.emplace_back();
    cluster.ctas.resize(cluster_size);
    const auto& place = places[static_cast<std::size_t>(i) % places.size()];
    for (std::size_t r = 0; r < cluster_size; ++r) {
      CtaState& cta = cluster.ctas[r];
      cta.cta = {
          .source = this, .cluster = static_cast<std::size_t>(i), .rank = static_cast<int>(r)};
      cta.sm = &sms_[place[r]];
      cta.sm_index = place[r];
      cta.cluster = &cluster;
    }
    // A role that looks a tile ahead must not take the first one of a cluster that starts later.
    if (plan_.persistent) cluster.tiles.push_back(next_tile());
    // The distributor starts about one CTA a cycle over the whole chip (microarchitecture: CTA
    // dispatch rate).
    schedule(i, EventKind::start_cluster, cluster);
  }
}

/// After limit_ or what is skipped has changed.
void TileEngine::keep_limit() {
  if (std::isfinite(limit_))
    last_cycle_ = static_cast<std::int64_t>(std::floor(limit_ - skipped_cycles_));
}

inline void TileEngine::happen(Event& event) {
  switch (event.kind) {
    case EventKind::start_cluster:
      start_cluster(static_cast<ClusterState&>(event));
      break;
    case EventKind::resume:
      run_role(static_cast<Role&>(event));
      break;
    case EventKind::at_l2:
      load_at_l2(static_cast<Transfer&>(event));
      break;
    case EventKind::from_l2:
      load_from_l2(static_cast<Transfer&>(event));
      break;
    case EventKind::store_at_l2:
      store_at_l2(static_cast<Transfer&>(event));
      break;
    case EventKind::stored:
      stored(static_cast<Transfer&>(event));
      break;
  }
}

void TileEngine::start_cluster(ClusterState& cluster) {
  if (!plan_.persistent) {
    const std::int64_t next = next_tile();
    if (next < 0) return;
    cluster.tiles = {next, -1};
  }
  cluster.live_ctas = cluster.ctas.size();
  for (CtaState& cta : cluster.ctas) {
    cta.barriers.assign(static_cast<std::size_t>(plan_.barriers), {});
    std::vector<kernels::TileProgram> programs = kernel_.roles(cta.cta);
    cta.roles.clear();
    cta.roles.resize(programs.size());
    cta.live_roles = programs.size();
    cta.ended = false;
    for (std::size_t i = 0; i < programs.size(); ++i) {
      cta.roles[i].program = std::move(programs[i]);
      cta.roles[i].cta = &cta;
      schedule(wheel_.now(), EventKind::resume, cta.roles[i]);
    }
    totals_.ctas += 1;
  }
}

std::int64_t TileEngine::next_tile() {
  if (given_tiles_ >= plan_.tiles) return -1;
  if (given_tiles_ % wave_ == 0) watch_waves();
  return given_tiles_++;
}

/// Waves before the first that can be typical: tiles are given out as far ahead as the stages
/// reach, and a launch that outgrows L2 behaves differently once L2 is full.
bool TileEngine::warming_up() const {
  const double ahead = std::ceil(plan_.stages / std::max(plan_.steps, 1.0)) + 1;
  const std::int64_t whole_waves = given_tiles_ / wave_;
  if (static_cast<double>(whole_waves) < ahead) return true;
  // Until written data has filled its part of L2, none of it goes to HBM.
  if (plan_.write_bytes > machine_.l2_dirty && totals_.hbm_write_bytes == 0) return true;
  return plan_.read_bytes + plan_.write_bytes > machine_.l2_capacity && !l2_cache_.full();
}

/// At a wave's start: when the last waves took as long for their work, and moved as much over HBM,
/// as those before them, skips all but the last full wave.
void TileEngine::watch_waves() {
  if (exact_ || skipped_ || warming_up()) return;
  waves_.push_back({wheel_.now(), kernel_.work_before(given_tiles_), totals_});
  const std::int64_t remaining = (plan_.tiles - given_tiles_) / wave_ - 1;
  const auto fewest = static_cast<std::size_t>(std::max<std::int64_t>(
      plan_.steady_waves, std::min(plan_.tiles / wave_ / kWindowsOfLaunch, kMostWatched)));
  if (waves_.size() < 2 * fewest + 2 || remaining < 1) return;
  // Where waves differ, the windows grow until their means do not.
  const std::size_t watched = (waves_.size() - 2) / 2;
  const Wave& last = waves_.back();
  const Wave& middle = waves_[waves_.size() - 1 - watched];
  const Wave& first = waves_[waves_.size() - 1 - 2 * watched];
  const auto rate = [](const Wave& from, const Wave& to) {
    return static_cast<double>(to.time - from.time) / (to.work - from.work);
  };
  const double late = rate(middle, last);
  const double early = rate(first, middle);
  if (std::abs(late - early) > kSteadyTolerance * late) return;
  const double skipped =  // of what was simulated so far
      static_cast<double>(remaining * wave_) / static_cast<double>(given_tiles_);
  if (skipped < kSmallPart || static_cast<double>(events_) * skipped < kFewEvents) return;
  if (wave_noise(waves_, 2 * watched) * skipped / (1 + skipped) > kSkippingError) return;
  const auto traffic = [](const Wave& from, const Wave& to) {
    return (to.totals - from.totals).hbm_bytes() / static_cast<double>(to.time - from.time);
  };
  if (std::abs(traffic(middle, last) - traffic(first, middle)) >
      kSteadyTraffic * machine_.hbm_bytes)
    return;
  const std::int64_t next = given_tiles_ + remaining * wave_;
  const double windows = (kernel_.work_before(next) - last.work) / (last.work - first.work);
  skipped_cycles_ = static_cast<double>(last.time - first.time) * windows;
  skipped_totals_ = (last.totals - first.totals) * windows;
  given_tiles_ = next;
  skipped_ = true;
  keep_limit();
}

std::int64_t TileEngine::tile(const kernels::Cta& cta, std::size_t i) {
  ClusterState& cluster = clusters_[cta.cluster];
  while (cluster.tiles.size() <= i) {
    if (!cluster.tiles.empty() && cluster.tiles.back() < 0) return -1;
    cluster.tiles.push_back(next_tile());
  }
  return cluster.tiles[i];
}

int TileEngine::arrive(std::int64_t counter) {
  const auto index = static_cast<std::size_t>(counter);
  if (counters_.size() <= index) counters_.resize(index + 1, 0);
  return counters_[index]++;
}

void TileEngine::run_role(Role& role) {
  running_ = &role;
  if (role.program.run(*this)) role_ended(*role.cta);
}

Transfer& TileEngine::new_transfer(const Box& box, kernels::Barrier barrier) {
  Transfer& transfer = transfers_.take();
  transfer.barrier = barrier;
  transfer.cluster_wide = false;
  transfer.remote = false;
  transfer.merged = false;
  transfer.cta = running_->cta;
  transfer.box = box;
  return transfer;
}

void TileEngine::execute(const kernels::Load& load) {
  Transfer& transfer = new_transfer(load.box, load.barrier);
  transfer.cluster_wide = load.cluster_wide;
  const std::int64_t now = wheel_.now();
  const std::int64_t end = running_->cta->sm->issue.reserve(now, issue_fractions_).second;
  transfer.issue_delay = static_cast<std::int32_t>(end - now);
  totals_.loads += 1;
  schedule(end + half_latency_, EventKind::at_l2, transfer);
}

void TileEngine::execute(const kernels::Store& store) {
  Transfer& transfer = new_transfer(store.box, store.barrier);
  transfer.remote = store.remote;
  CtaState& cta = *running_->cta;
  ++cta.open_stores;
  const std::int64_t port = port_times_.of(store.box.bytes, store.box.tensor);
  const std::int64_t end = cta.sm->port_out.reserve(wheel_.now(), port).second;
  totals_.shared_memory_bytes += store.box.bytes;
  schedule(end + half_latency_, EventKind::store_at_l2, transfer);
}

void TileEngine::execute(const kernels::Mma& mma) {
  if (mma_time_.ideal_cycles != mma.cycles) {
    const double cycles = static_cast<double>(mma.cycles) * machine_.tensor_scale;
    mma_time_ = {mma.cycles, cycles, std::llround(cycles * kFraction)};
  }
  CtaState& cta = *running_->cta;
  Server& tensor = cta.sm->tensor;
  const std::int64_t end = tensor.reserve(wheel_.now(), mma_time_.fractions).second;
  if (recorder_ != nullptr) {
    const auto [from, until] = tensor.last(mma_time_.fractions);
    recorder_->tensor(cta.sm_index, from, until);
  }
  totals_.tensor_cycles += mma_time_.cycles;
  totals_.mma_instructions += 1;
  totals_.shared_memory_bytes += mma.operand_bytes;
  if (mma.barrier != kNoBarrier)
    arrive(cta, mma.barrier, mma.cluster_wide, {end, Resource::tensor});
}

void TileEngine::execute(const kernels::Signal& signal) {
  arrive(*running_->cta, signal.barrier, signal.cluster_wide, {wheel_.now(), Resource::latency});
}

bool TileEngine::execute(const kernels::Compute& compute) {
  const CtaState& cta = *running_->cta;
  Server& pipe = cta.sm->pipes[static_cast<std::size_t>(compute.pipe)];
  const auto [start, end] = pipe.reserve(wheel_.now(), compute.cycles * kFraction);
  if (recorder_ != nullptr)
    recorder_->pipe(cta.sm_index, compute.pipe, static_cast<double>(start),
                    static_cast<double>(end));
  totals_.pipe_cycles[static_cast<std::size_t>(compute.pipe)] +=
      static_cast<double>(compute.cycles);
  if (end == wheel_.now()) return true;
  schedule(end, EventKind::resume, *running_);
  return false;
}

bool TileEngine::execute(const kernels::Delay& delay) {
  if (delay.cycles == 0) return true;
  schedule(wheel_.now() + delay.cycles, EventKind::resume, *running_);
  return false;
}

bool TileEngine::execute(const kernels::Wait& wait) {
  BarrierState& barrier = running_->cta->barriers[wait.barrier];
  running_->blocked_since = wheel_.now();
  if (barrier.arrivals() >= wait.target) {
    const Arrival arrival = barrier.arrival(wait.target);
    if (arrival.time() <= wheel_.now()) return true;
    wake(*running_, arrival);
  } else {
    running_->target = wait.target;
    running_->next_waiting = std::exchange(barrier.waiting, running_);
  }
  return false;
}

bool TileEngine::execute(const kernels::WaitStores& /*wait*/) {
  CtaState& cta = *running_->cta;
  if (cta.open_stores == 0) return true;
  running_->next_waiting = std::exchange(cta.waiting_for_stores, running_);
  return false;
}

/// What the slices of L2 answer of a load: of a merged one, the rest comes with the other read.
double TileEngine::sliced_bytes(const Transfer& load) const {
  return load.box.bytes * (load.merged ? 1 - machine_.l2_merged : 1.0) + load.box.filled;
}

void TileEngine::load_at_l2(Transfer& load) {
  const std::int64_t now = wheel_.now();
  const L2Cache::Lookup found = l2_cache_.read(load.box, now, merging_window_);
  load.merged = found.merged;
  load.hbm_delay = 0;
  if (found.written_back > 0) write_hbm(found.written_back);
  std::int64_t ready = found.ready;
  if (found.hit) {
    totals_.l2_hit_bytes += sliced_bytes(load);
  } else {
    ready = read_hbm(load.box) + hbm_latency_;
    l2_cache_.fill(ready, merging_window_);
  }
  if (ready > now) {
    load.hbm_delay = static_cast<std::int32_t>(ready - now);
    schedule(ready, EventKind::from_l2, load);
  } else {
    load_from_l2(load);
  }
}

void TileEngine::load_from_l2(Transfer& load) {
  const double sliced = sliced_bytes(load);
  const auto [start, end] = reserve_l2(sliced, load);
  totals_.l2_read_bytes += sliced;
  const std::int64_t port = port_times_.of(load.box.bytes, load.box.tensor);
  std::int64_t arrival = end;
  if (load.cluster_wide) {
    for (const CtaState& peer : load.cta->cluster->ctas)
      arrival = std::max(arrival, peer.sm->port_in.reserve(start, port).second);
  } else {
    arrival = std::max(arrival, load.cta->sm->port_in.reserve(start, port).second);
  }
  totals_.shared_memory_bytes +=
      static_cast<double>(load.box.bytes) * (load.cluster_wide ? plan_.cluster : 1);
  arrive(*load.cta, load.barrier, load.cluster_wide,
         {arrival + half_latency_, longest_delay(load, arrival - wheel_.now())});
  transfers_.give(load);
}

/// What held a load up most, beyond the latency of L2.
Resource TileEngine::longest_delay(const Transfer& load, std::int64_t l2_delay) const {
  Resource cause = Resource::latency;
  std::int64_t worst = l2_latency_;
  const auto hold_against = [&](std::int64_t delay, Resource resource) {
    if (delay <= worst) return;
    worst = delay;
    cause = resource;
  };
  hold_against(load.issue_delay, Resource::issue);
  hold_against(l2_delay, Resource::l2);
  hold_against(load.hbm_delay, Resource::hbm);
  return cause;
}

void TileEngine::store_at_l2(Transfer& store) {
  const std::int64_t end = reserve_l2(store.box.bytes, store).second;
  if (store.remote) {
    schedule(end, EventKind::stored, store);
    return;
  }
  totals_.l2_write_bytes += store.box.bytes;
  const L2Cache::Lookup written = l2_cache_.write(store.box, end);
  std::int64_t accepted = end;
  if (written.written_back > 0) {
    // A write waits for the place that an older dirty box leaves.
    accepted = std::max(accepted, write_hbm(written.written_back));
  }
  schedule(accepted, EventKind::stored, store);
}

void TileEngine::stored(Transfer& store) {
  CtaState& cta = *store.cta;
  --cta.open_stores;
  if (store.barrier != kNoBarrier) arrive_one(cta, store.barrier, {wheel_.now(), Resource::l2});
  transfers_.give(store);
  if (cta.open_stores == 0) {
    for (Role* role = std::exchange(cta.waiting_for_stores, nullptr); role != nullptr;
         role = std::exchange(role->next_waiting, nullptr))
      schedule(wheel_.now(), EventKind::resume, *role);
  }
  cta_progress(cta);
}

void TileEngine::arrive(CtaState& cta, kernels::Barrier barrier, bool cluster_wide,
                        Arrival arrival) {
  if (!cluster_wide) {
    arrive_one(cta, barrier, arrival);
    return;
  }
  for (CtaState& peer : cta.cluster->ctas) arrive_one(peer, barrier, arrival);
}

void TileEngine::arrive_one(CtaState& cta, kernels::Barrier barrier, Arrival arrival) {
  BarrierState& state = cta.barriers[barrier];
  arrival = state.add(arrival);
  Role** link = &state.waiting;
  while (*link != nullptr) {
    Role& role = **link;
    if (role.target > state.arrivals()) {
      link = &role.next_waiting;
      continue;
    }
    *link = role.next_waiting;
    wake(role, arrival);
  }
}

/// A role that waited for `arrival` goes on then: through the wheel, so that a chain of arrivals
/// does not recurse.
void TileEngine::wake(Role& role, Arrival arrival) {
  const std::int64_t waited = arrival.time() - role.blocked_since;
  totals_.stall_cycles[static_cast<std::size_t>(arrival.cause())] += static_cast<double>(waited);
  if (recorder_ != nullptr)
    recorder_->waited(role.cta->sm_index, arrival.cause(), static_cast<double>(role.blocked_since),
                      static_cast<double>(arrival.time()));
  schedule(arrival.time(), EventKind::resume, role);
}

void TileEngine::role_ended(CtaState& cta) {
  --cta.live_roles;
  cta_progress(cta);
}

void TileEngine::cta_progress(CtaState& cta) {
  if (cta.ended || cta.live_roles > 0 || cta.open_stores > 0) return;
  cta.ended = true;
  last_end_ = std::max(last_end_, wheel_.now());
  ClusterState& cluster = *cta.cluster;
  if (--cluster.live_ctas > 0 || plan_.persistent) return;
  if (given_tiles_ < plan_.tiles)
    schedule(wheel_.now() + std::llround(machine_.cta_launch_cycles), EventKind::start_cluster,
             cluster);
}

}  // namespace tessera::gpu
