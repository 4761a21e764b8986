#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <vector>

#include "models/gpu/activity_recorder.hpp"
#include "models/gpu/engine_state.hpp"
#include "models/gpu/kernel_result.hpp"
#include "models/gpu/l2_cache.hpp"
#include "models/gpu/launch_totals.hpp"
#include "models/gpu/machine.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "sim/core/timing_wheel.hpp"

namespace tessera::gpu {

/// Runs one launch of tile programs on one GPU, event by event.
///
/// Arbitrates the tensor, FP32, SFU, conversion and shared-memory pipes of each SM, its copy issue
/// and its port to L2, the L2's bandwidth and capacity, and HBM. A reservation on a shared server
/// is made when the request reaches it, in order of time. Does not model warps inside a role, bank
/// conflicts, L2 sets or DRAM banks.
class TileEngine : public kernels::TileExecutor, public kernels::TileSource {
 public:
  /// `exact`: simulate every wave; otherwise waves of a steady state are skipped and their time
  /// added.
  TileEngine(const Machine& machine, const kernels::TileKernel& kernel, bool exact);

  /// `recorder`, unless null, is told of everything that happens; skipped waves it does not see.
  /// Gives up when the launch turns out to take longer than `limit` cycles; its totals then stand
  /// at infinitely many.
  LaunchTotals run(ActivityRecorder* recorder = nullptr,
                   double limit = std::numeric_limits<double>::infinity());
  [[nodiscard]] std::uint64_t events() const { return events_; }

  std::int64_t tile(const kernels::Cta& cta, std::size_t i) override;
  int arrive(std::int64_t counter) override;
  void execute(const kernels::Load& load) override;
  void execute(const kernels::Mma& mma) override;
  void execute(const kernels::Store& store) override;
  void execute(const kernels::Signal& signal) override;
  bool execute(const kernels::Compute& compute) override;
  bool execute(const kernels::Delay& delay) override;
  bool execute(const kernels::Wait& wait) override;
  bool execute(const kernels::WaitStores& wait) override;

 private:
  /// What an MMA takes of the tensor pipe.
  struct MmaTime {
    std::int64_t ideal_cycles = -1;
    double cycles = 0;
    std::int64_t fractions = 0;
  };
  /// The state of the launch when a wave starts.
  struct Wave {
    std::int64_t time = 0;
    double work = 0;
    LaunchTotals totals;
  };

  void place_clusters();
  void keep_limit();
  void happen(Event& event);
  void start_cluster(ClusterState& cluster);
  void run_role(Role& role);
  std::pair<std::int64_t, std::int64_t> reserve_l2(double bytes, const Transfer& transfer);
  std::int64_t read_hbm(const kernels::Box& box);
  std::int64_t write_hbm(std::int64_t bytes);
  std::int64_t reserve_hbm(std::int64_t fractions);
  [[nodiscard]] double sliced_bytes(const Transfer& load) const;
  void load_at_l2(Transfer& load);
  void load_from_l2(Transfer& load);
  void store_at_l2(Transfer& store);
  void stored(Transfer& store);
  [[nodiscard]] Resource longest_delay(const Transfer& load, std::int64_t l2_delay) const;
  void arrive(CtaState& cta, kernels::Barrier barrier, bool cluster_wide, Arrival arrival);
  void arrive_one(CtaState& cta, kernels::Barrier barrier, Arrival arrival);
  void wake(Role& role, Arrival arrival);
  void role_ended(CtaState& cta);
  void cta_progress(CtaState& cta);
  Transfer& new_transfer(const kernels::Box& box, kernels::Barrier barrier);
  void schedule(std::int64_t time, EventKind kind, Event& event) {
    event.kind = kind;
    wheel_.schedule(time, event);
  }
  std::int64_t next_tile();
  [[nodiscard]] bool warming_up() const;
  void watch_waves();

  const Machine& machine_;
  const kernels::TileKernel& kernel_;
  const kernels::LaunchPlan& plan_;
  const bool exact_;
  const std::int64_t half_latency_;     ///< Of L2, in cycles: one way.
  const std::int64_t l2_latency_;       ///< In whole cycles.
  const std::int64_t hbm_latency_;      ///< Rounded.
  const std::int64_t merging_window_;   ///< Of reads of the same box, in cycles.
  const std::int64_t issue_fractions_;  ///< Of the copy engine per load.
  ActivityRecorder* recorder_ = nullptr;
  Role* running_ = nullptr;
  core::TimingWheel<Event> wheel_;
  std::uint64_t events_ = 0;
  L2Cache l2_cache_;
  MmaTime mma_time_;  ///< Of the last MMA: most of a launch are equal.
  BoxTimes port_times_;
  BoxTimes l2_times_;
  BoxTimes hbm_read_times_;
  BoxTimes hbm_write_times_;
  Server l2_;
  Server hbm_;
  std::vector<SmState> sms_;
  std::deque<ClusterState> clusters_;
  TransferPool transfers_;
  std::vector<int> counters_;
  LaunchTotals totals_;
  std::int64_t given_tiles_ = 0;
  std::int64_t wave_ = 1;  ///< Tiles that run at once, in whole periods.
  std::int64_t last_end_ = 0;
  double skipped_cycles_ = 0;
  double limit_ = std::numeric_limits<double>::infinity();
  std::int64_t last_cycle_ =
      std::numeric_limits<std::int64_t>::max();  ///< Of the wheel, within limit_.
  bool skipped_ = false;
  std::vector<Wave> waves_;
  LaunchTotals skipped_totals_;
};

}  // namespace tessera::gpu
