#include "models/gpu/tile_engine.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace tessera::gpu {

using kernels::Box;
using kernels::Instruction;
using kernels::kNoBarrier;
using kernels::Opcode;

namespace {

constexpr std::int64_t kFraction =
    256;  ///< A server keeps time to 1/256 cycle: one box is often less than a cycle.
constexpr double kSteadyTolerance = 0.004;  ///< Of time.
/// Of a launch of many waves, windows take this part each, so that what one wave differs from the
/// next by averages out, but no more waves than the second number.
constexpr std::int64_t kWindowsOfLaunch = 8, kMostWatched = 16;
constexpr double kSteadyTraffic = 0.1;  ///< Of what HBM can move, in boxes, meanwhile.
/// Standard error that the time of the skipped waves may have, of the launch's time.
constexpr double kSkippingError = 0.003;
/// Where there is nothing to gain: events that take some 25 ms to simulate, and a part of what was
/// simulated so far.
constexpr double kFewEvents = 500'000, kSmallPart = 0.5;

std::int64_t fractions(double bytes, double bytes_per_cycle) {
  // Of positive numbers this is llround, without its call.
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(bytes * kFraction / bytes_per_cycle + 0.5));
}

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

LaunchTotals& LaunchTotals::operator+=(const LaunchTotals& other) {
  cycles += other.cycles;
  tensor_cycles += other.tensor_cycles;
  for (std::size_t i = 0; i < pipe_cycles.size(); ++i) pipe_cycles[i] += other.pipe_cycles[i];
  l2_read_bytes += other.l2_read_bytes;
  l2_write_bytes += other.l2_write_bytes;
  l2_hit_bytes += other.l2_hit_bytes;
  hbm_read_bytes += other.hbm_read_bytes;
  hbm_write_bytes += other.hbm_write_bytes;
  shared_memory_bytes += other.shared_memory_bytes;
  loads += other.loads;
  mma_instructions += other.mma_instructions;
  ctas += other.ctas;
  for (std::size_t i = 0; i < stall_cycles.size(); ++i) stall_cycles[i] += other.stall_cycles[i];
  return *this;
}

LaunchTotals operator*(LaunchTotals totals, double factor) {
  totals.cycles *= factor;
  totals.tensor_cycles *= factor;
  for (double& c : totals.pipe_cycles) c *= factor;
  totals.l2_read_bytes *= factor;
  totals.l2_write_bytes *= factor;
  totals.l2_hit_bytes *= factor;
  totals.hbm_read_bytes *= factor;
  totals.hbm_write_bytes *= factor;
  totals.shared_memory_bytes *= factor;
  totals.loads *= factor;
  totals.mma_instructions *= factor;
  totals.ctas *= factor;
  for (double& c : totals.stall_cycles) c *= factor;
  return totals;
}

LaunchTotals operator-(const LaunchTotals& a, const LaunchTotals& b) {
  LaunchTotals difference = b * -1.0;
  difference += a;
  return difference;
}

struct TileEngine::Sm {
  Server tensor;
  std::array<Server, kernels::kPipes> pipes;
  Server issue;
  Server port_in;
  Server port_out;
};

struct TileEngine::Role {
  kernels::TileProgram program;
  CtaState* cta = nullptr;
  Role* next_waiting = nullptr;
  std::int64_t target = 0;
  std::int64_t blocked_since = 0;
};

struct TileEngine::CtaState {
  kernels::Cta cta;
  std::size_t sm = 0;
  Cluster* cluster = nullptr;
  std::vector<BarrierState> barriers;
  std::vector<Role> roles;
  std::size_t live_roles = 0;
  int open_stores = 0;
  bool ended = true;
  Role* waiting_for_stores = nullptr;
};

struct TileEngine::Cluster {
  std::vector<CtaState> ctas;
  std::vector<std::int64_t> tiles;  ///< Given so far; -1 ends.
  std::size_t live_ctas = 0;
};

/// A load or store under way.
struct TileEngine::Load {
  Box box;
  CtaState* cta = nullptr;
  kernels::Barrier barrier = kNoBarrier;
  bool cluster_wide = false;
  bool remote = false;
  bool merged = false;  ///< With another read of the same box under way.
  std::int64_t issue_delay = 0;
  std::int64_t hbm_delay = 0;
  std::int64_t l2_delay = 0;
};

std::pair<std::int64_t, std::int64_t> TileEngine::Server::reserve(std::int64_t now,
                                                                  std::int64_t fractions) {
  const std::int64_t start = std::max(now * kFraction, free_at);
  free_at = start + fractions;
  return {start / kFraction, (free_at + kFraction - 1) / kFraction};
}

std::pair<double, double> TileEngine::Server::last(std::int64_t fractions) const {
  return {static_cast<double>(free_at - fractions) / kFraction,
          static_cast<double>(free_at) / kFraction};
}

/// From now on; {start, end} in whole cycles.
std::pair<std::int64_t, std::int64_t> TileEngine::reserve_l2(double bytes) {
  const std::int64_t taken = fractions(bytes, machine_.l2_bytes);
  const auto reserved = l2_.reserve(wheel_.now(), taken);
  if (recorder_ != nullptr) recorder_->l2(l2_.last(taken).first, l2_.last(taken).second);
  return reserved;
}

/// From now on, at the rate of reads or of writes; the end in whole cycles.
std::int64_t TileEngine::reserve_hbm(double bytes, double bytes_per_cycle) {
  const std::int64_t taken = fractions(bytes, bytes_per_cycle);
  const std::int64_t end = hbm_.reserve(wheel_.now(), taken).second;
  if (recorder_ != nullptr) recorder_->hbm(hbm_.last(taken).first, hbm_.last(taken).second);
  return end;
}

TileEngine::TileEngine(const Machine& machine, const kernels::TileKernel& kernel, bool exact)
    : machine_(machine),
      kernel_(kernel),
      plan_(kernel.plan()),
      exact_(exact || kernel.plan().period == 0),
      half_latency_(std::llround(machine.l2_latency / 2)),
      l2_cache_(static_cast<std::int64_t>(machine.l2_capacity),
                static_cast<std::int64_t>(machine.l2_dirty)),
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

TileEngine::~TileEngine() = default;

LaunchTotals TileEngine::run(ActivityRecorder* recorder, double limit) {
  recorder_ = recorder;
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
  clusters_.reserve(static_cast<std::size_t>(launched));
  for (std::int64_t i = 0; i < launched; ++i) {
    auto cluster = std::make_unique<Cluster>();
    cluster->ctas.resize(cluster_size);
    const auto& place = places[static_cast<std::size_t>(i) % places.size()];
    for (std::size_t r = 0; r < cluster_size; ++r) {
      CtaState& cta = cluster->ctas[r];
      cta.cta = {
          .source = this, .cluster = static_cast<std::size_t>(i), .rank = static_cast<int>(r)};
      cta.sm = place[r];
      cta.cluster = cluster.get();
    }
    // A role that looks a tile ahead must not take the first one of a cluster that starts later.
    if (plan_.persistent) cluster->tiles.push_back(next_tile());
    clusters_.push_back(std::move(cluster));
    // The distributor starts about one CTA a cycle over the whole chip (microarchitecture: CTA
    // dispatch rate).
    wheel_.schedule(i, {EventKind::start_cluster, 0, 0, clusters_.back().get()});
  }
  while (!wheel_.empty()) {
    const Event event = wheel_.pop();
    if (static_cast<double>(wheel_.now()) + skipped_cycles_ > limit) {
      totals_.cycles = std::numeric_limits<double>::infinity();
      return totals_;
    }
    switch (event.kind) {
      case EventKind::start_cluster:
        start_cluster(*static_cast<Cluster*>(event.target));
        break;
      case EventKind::resume:
        run_role(*static_cast<Role*>(event.target));
        break;
      case EventKind::at_l2:
        load_at_l2(event.index);
        break;
      case EventKind::from_l2:
        load_from_l2(event.index);
        break;
      case EventKind::loaded:
        load_done(event.index);
        break;
      case EventKind::mma_done:
        arrive_at(*static_cast<CtaState*>(event.target), event.barrier, event.index != 0,
                  Resource::tensor);
        break;
      case EventKind::store_at_l2:
        store_at_l2(event.index);
        break;
      case EventKind::stored:
        stored(event.index);
        break;
    }
  }
  totals_ += skipped_totals_;
  totals_.cycles = static_cast<double>(last_end_) + skipped_cycles_;
  return totals_;
}

void TileEngine::start_cluster(Cluster& cluster) {
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
      wheel_.schedule(wheel_.now(), {EventKind::resume, 0, 0, &cta.roles[i]});
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
  if (skipped < kSmallPart || static_cast<double>(wheel_.processed()) * skipped < kFewEvents)
    return;
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
}

std::int64_t TileEngine::tile(const kernels::Cta& cta, std::size_t i) {
  Cluster& cluster = *clusters_[cta.cluster];
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
  for (;;) {
    const Instruction* instruction = role.program.next();
    if (instruction == nullptr) {
      role_ended(*role.cta);
      return;
    }
    if (!execute(role, *instruction)) return;
  }
}

/// Returns whether the role goes on at once.
bool TileEngine::execute(Role& role, const Instruction& instruction) {
  CtaState& cta = *role.cta;
  Sm& sm = sms_[cta.sm];
  const std::int64_t now = wheel_.now();
  switch (instruction.opcode) {
    case Opcode::load:
      issue_load(role, instruction);
      return true;
    case Opcode::store:
      issue_store(role, instruction);
      return true;
    case Opcode::mma: {
      const auto cycles = static_cast<double>(instruction.cycles) * machine_.tensor_scale;
      const std::int64_t taken = std::llround(cycles * kFraction);
      const std::int64_t end = sm.tensor.reserve(now, taken).second;
      if (recorder_ != nullptr)
        recorder_->tensor(cta.sm, sm.tensor.last(taken).first, sm.tensor.last(taken).second);
      totals_.tensor_cycles += cycles;
      totals_.mma_instructions += 1;
      totals_.shared_memory_bytes += instruction.shared_memory_bytes;
      if (instruction.barrier != kNoBarrier)
        wheel_.schedule(end, {EventKind::mma_done, instruction.barrier,
                              instruction.cluster_wide ? 1u : 0u, &cta});
      return true;
    }
    case Opcode::compute: {
      Server& pipe = sm.pipes[static_cast<std::size_t>(instruction.pipe)];
      const auto [start, end] = pipe.reserve(now, instruction.cycles * kFraction);
      if (recorder_ != nullptr)
        recorder_->pipe(cta.sm, instruction.pipe, static_cast<double>(start),
                        static_cast<double>(end));
      totals_.pipe_cycles[static_cast<std::size_t>(instruction.pipe)] +=
          static_cast<double>(instruction.cycles);
      if (end == now) return true;
      wheel_.schedule(end, {EventKind::resume, 0, 0, &role});
      return false;
    }
    case Opcode::delay:
      if (instruction.cycles == 0) return true;
      wheel_.schedule(now + instruction.cycles, {EventKind::resume, 0, 0, &role});
      return false;
    case Opcode::wait: {
      BarrierState& barrier = cta.barriers[instruction.barrier];
      if (barrier.arrivals >= instruction.target) return true;
      role.target = instruction.target;
      role.blocked_since = now;
      role.next_waiting = barrier.waiting;
      barrier.waiting = &role;
      return false;
    }
    case Opcode::signal:
      arrive_at(cta, instruction.barrier, instruction.cluster_wide, Resource::latency);
      return true;
    case Opcode::wait_stores:
      if (cta.open_stores == 0) return true;
      role.next_waiting = cta.waiting_for_stores;
      cta.waiting_for_stores = &role;
      return false;
  }
  return true;
}

std::uint32_t TileEngine::new_load(const Instruction& instruction, CtaState& cta) {
  std::uint32_t index;
  if (free_loads_.empty()) {
    index = static_cast<std::uint32_t>(loads_.size());
    loads_.emplace_back();
  } else {
    index = free_loads_.back();
    free_loads_.pop_back();
  }
  loads_[index] = {.box = instruction.box,
                   .cta = &cta,
                   .barrier = instruction.barrier,
                   .cluster_wide = instruction.cluster_wide,
                   .remote = instruction.remote};
  return index;
}

void TileEngine::issue_load(Role& role, const Instruction& instruction) {
  const std::uint32_t index = new_load(instruction, *role.cta);
  const std::int64_t now = wheel_.now();
  const auto [start, end] =
      sms_[role.cta->sm].issue.reserve(now, std::llround(plan_.issue_cycles * kFraction));
  loads_[index].issue_delay = end - now;
  totals_.loads += 1;
  wheel_.schedule(end + half_latency_, {EventKind::at_l2, 0, index, nullptr});
}

/// What the slices of L2 answer of a load: of a merged one, the rest comes with the other read.
double TileEngine::sliced_bytes(const Load& load) const {
  return load.box.bytes * (load.merged ? 1 - machine_.l2_merged : 1.0) + load.box.filled;
}

void TileEngine::load_at_l2(std::uint32_t index) {
  Load& load = loads_[index];
  const std::int64_t now = wheel_.now();
  const std::int64_t window = std::llround(machine_.l2_latency);
  const L2Cache::Lookup found = l2_cache_.read(load.box, now, window);
  load.merged = found.merged;
  if (found.written_back > 0) {
    reserve_hbm(static_cast<double>(found.written_back), machine_.hbm_write_bytes);
    totals_.hbm_write_bytes += static_cast<double>(found.written_back);
  }
  std::int64_t ready = found.ready;
  if (found.hit) {
    totals_.l2_hit_bytes += sliced_bytes(load);
  } else {
    ready = reserve_hbm(load.box.bytes, machine_.hbm_bytes) + std::llround(machine_.hbm_latency);
    l2_cache_.fill(ready, window);
    totals_.hbm_read_bytes += load.box.bytes;
  }
  if (ready > now) {
    load.hbm_delay = ready - now;
    wheel_.schedule(ready, {EventKind::from_l2, 0, index, nullptr});
  } else {
    load_from_l2(index);
  }
}

void TileEngine::load_from_l2(std::uint32_t index) {
  Load& load = loads_[index];
  const std::int64_t now = wheel_.now();
  const auto [start, end] = reserve_l2(sliced_bytes(load));
  totals_.l2_read_bytes += sliced_bytes(load);
  const std::int64_t port = fractions(load.box.bytes, machine_.sm_port_bytes);
  std::int64_t arrival = end;
  if (load.cluster_wide) {
    for (const CtaState& peer : load.cta->cluster->ctas)
      arrival = std::max(arrival, sms_[peer.sm].port_in.reserve(start, port).second);
  } else {
    arrival = std::max(arrival, sms_[load.cta->sm].port_in.reserve(start, port).second);
  }
  load.l2_delay = arrival - now;
  wheel_.schedule(arrival + half_latency_, {EventKind::loaded, 0, index, nullptr});
}

void TileEngine::load_done(std::uint32_t index) {
  const Load load = loads_[index];
  free_loads_.push_back(index);
  const auto latency = static_cast<std::int64_t>(machine_.l2_latency);
  Resource cause = Resource::latency;
  std::int64_t worst = latency;
  for (const auto& [delay, resource] :
       {std::pair{load.issue_delay, Resource::issue}, std::pair{load.l2_delay, Resource::l2},
        std::pair{load.hbm_delay, Resource::hbm}})
    if (delay > worst) {
      worst = delay;
      cause = resource;
    }
  totals_.shared_memory_bytes +=
      static_cast<double>(load.box.bytes) * (load.cluster_wide ? plan_.cluster : 1);
  arrive_at(*load.cta, load.barrier, load.cluster_wide, cause);
}

void TileEngine::issue_store(Role& role, const Instruction& instruction) {
  CtaState& cta = *role.cta;
  const std::uint32_t index = new_load(instruction, cta);
  ++cta.open_stores;
  const auto [start, end] = sms_[cta.sm].port_out.reserve(
      wheel_.now(), fractions(instruction.box.bytes, machine_.sm_port_bytes));
  totals_.shared_memory_bytes += instruction.box.bytes;
  wheel_.schedule(end + half_latency_, {EventKind::store_at_l2, 0, index, nullptr});
}

void TileEngine::store_at_l2(std::uint32_t index) {
  const Load& load = loads_[index];
  const std::int64_t end = reserve_l2(load.box.bytes).second;
  if (load.remote) {
    wheel_.schedule(end, {EventKind::stored, 0, index, nullptr});
    return;
  }
  totals_.l2_write_bytes += load.box.bytes;
  const L2Cache::Lookup written = l2_cache_.write(load.box, end);
  std::int64_t accepted = end;
  if (written.written_back > 0) {
    // A write waits for the place that an older dirty box leaves.
    accepted = std::max(
        accepted, reserve_hbm(static_cast<double>(written.written_back), machine_.hbm_write_bytes));
    totals_.hbm_write_bytes += static_cast<double>(written.written_back);
  }
  wheel_.schedule(accepted, {EventKind::stored, 0, index, nullptr});
}

void TileEngine::stored(std::uint32_t index) {
  const Load load = loads_[index];
  free_loads_.push_back(index);
  CtaState& cta = *load.cta;
  --cta.open_stores;
  if (load.barrier != kNoBarrier) arrive_one(cta, load.barrier, Resource::l2);
  if (cta.open_stores == 0) {
    for (Role* role = std::exchange(cta.waiting_for_stores, nullptr); role != nullptr;
         role = std::exchange(role->next_waiting, nullptr))
      wheel_.schedule(wheel_.now(), {EventKind::resume, 0, 0, role});
  }
  cta_progress(cta);
}

void TileEngine::arrive_at(CtaState& cta, kernels::Barrier barrier, bool cluster_wide,
                           Resource cause) {
  if (!cluster_wide) {
    arrive_one(cta, barrier, cause);
    return;
  }
  for (CtaState& peer : cta.cluster->ctas) arrive_one(peer, barrier, cause);
}

void TileEngine::arrive_one(CtaState& cta, kernels::Barrier barrier, Resource cause) {
  BarrierState& state = cta.barriers[barrier];
  ++state.arrivals;
  Role** link = &state.waiting;
  while (*link != nullptr) {
    Role& role = **link;
    if (role.target > state.arrivals) {
      link = &role.next_waiting;
      continue;
    }
    *link = role.next_waiting;
    if (recorder_ != nullptr)
      recorder_->waited(role.cta->sm, cause, static_cast<double>(role.blocked_since),
                        static_cast<double>(wheel_.now()));
    totals_.stall_cycles[static_cast<std::size_t>(cause)] +=
        static_cast<double>(wheel_.now() - role.blocked_since);
    // Through the wheel, so that a chain of arrivals does not recurse.
    wheel_.schedule(wheel_.now(), {EventKind::resume, 0, 0, &role});
  }
}

void TileEngine::role_ended(CtaState& cta) {
  --cta.live_roles;
  cta_progress(cta);
}

void TileEngine::cta_progress(CtaState& cta) {
  if (cta.ended || cta.live_roles > 0 || cta.open_stores > 0) return;
  cta.ended = true;
  last_end_ = std::max(last_end_, wheel_.now());
  Cluster& cluster = *cta.cluster;
  if (--cluster.live_ctas > 0 || plan_.persistent) return;
  if (given_tiles_ < plan_.tiles)
    wheel_.schedule(wheel_.now() + std::llround(machine_.cta_launch_cycles),
                    {EventKind::start_cluster, 0, 0, &cluster});
}

}  // namespace tessera::gpu
