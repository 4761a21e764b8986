#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "models/gpu/activity_recorder.hpp"
#include "models/gpu/kernel_result.hpp"
#include "models/gpu/l2_cache.hpp"
#include "models/gpu/machine.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "sim/core/timing_wheel.hpp"

namespace tessera::gpu {

/// Sums over a launch that counters, energy and binding resource come from.
struct LaunchTotals {
  double cycles = 0;
  double tensor_cycles = 0;                           ///< Of all SMs.
  std::array<double, kernels::kPipes> pipe_cycles{};  ///< Of all SMs.
  double l2_read_bytes = 0;
  double l2_write_bytes = 0;
  double l2_hit_bytes = 0;
  double hbm_read_bytes = 0;
  double hbm_write_bytes = 0;
  double shared_memory_bytes = 0;
  double loads = 0;
  double mma_instructions = 0;
  double ctas = 0;
  /// SM-cycles that roles waited for a load, by what delayed the load most.
  std::array<double, 10> stall_cycles{};

  [[nodiscard]] double hbm_bytes() const { return hbm_read_bytes + hbm_write_bytes; }
  LaunchTotals& operator+=(const LaunchTotals& other);
  friend LaunchTotals operator*(LaunchTotals totals, double factor);
  friend LaunchTotals operator-(const LaunchTotals& a, const LaunchTotals& b);
};

/// Runs one launch of tile programs on one GPU, event by event.
///
/// Arbitrates the tensor, FP32, SFU, conversion and shared-memory pipes of each SM, its copy issue
/// and its port to L2, the L2's bandwidth and capacity, and HBM. A reservation on a shared server
/// is made when the request reaches it, in order of time. Does not model warps inside a role, bank
/// conflicts, L2 sets or DRAM banks.
class TileEngine : public kernels::TileSource {
 public:
  /// `exact`: simulate every wave; otherwise waves of a steady state are skipped and their time
  /// added.
  TileEngine(const Machine& machine, const kernels::TileKernel& kernel, bool exact);
  ~TileEngine() override;

  /// `recorder`, unless null, is told of everything that happens; skipped waves it does not see.
  /// Gives up when the launch turns out to take longer than `limit` cycles; its totals then stand
  /// at infinitely many.
  LaunchTotals run(ActivityRecorder* recorder = nullptr,
                   double limit = std::numeric_limits<double>::infinity());
  [[nodiscard]] std::uint64_t events() const { return wheel_.processed(); }

  std::int64_t tile(const kernels::Cta& cta, std::size_t i) override;
  int arrive(std::int64_t counter) override;

 private:
  struct CtaState;
  struct Role;
  struct Load;
  struct Sm;
  struct Cluster;
  enum class EventKind : std::uint8_t {
    start_cluster,
    resume,
    at_l2,
    from_l2,
    loaded,
    mma_done,
    store_at_l2,
    stored
  };
  struct Event {
    EventKind kind;
    std::uint16_t barrier;
    std::uint32_t index;
    void* target;
  };
  struct BarrierState {
    std::int64_t arrivals = 0;
    Role* waiting = nullptr;
  };
  /// The state of the launch when a wave starts.
  struct Wave {
    std::int64_t time = 0;
    double work = 0;
    LaunchTotals totals;
  };
  /// A server of a shared resource; times in 1/kFraction cycles.
  struct Server {
    std::int64_t free_at = 0;
    /// Reserves `units` from `now` on; returns {start, end}, rounded to whole cycles (start down,
    /// end up).
    std::pair<std::int64_t, std::int64_t> reserve(std::int64_t now, std::int64_t fractions);
    /// The last reservation in cycles, exactly, for the recorder.
    [[nodiscard]] std::pair<double, double> last(std::int64_t fractions) const;
  };

  void start_cluster(Cluster& cluster);
  void run_role(Role& role);
  bool execute(Role& role, const kernels::Instruction& instruction);
  void issue_load(Role& role, const kernels::Instruction& instruction);
  std::pair<std::int64_t, std::int64_t> reserve_l2(double bytes);
  std::int64_t reserve_hbm(double bytes, double bytes_per_cycle);
  [[nodiscard]] double sliced_bytes(const Load& load) const;
  void load_at_l2(std::uint32_t index);
  void load_from_l2(std::uint32_t index);
  void load_done(std::uint32_t index);
  void issue_store(Role& role, const kernels::Instruction& instruction);
  void store_at_l2(std::uint32_t index);
  void stored(std::uint32_t index);
  void arrive_at(CtaState& cta, kernels::Barrier barrier, bool cluster_wide, Resource cause);
  void arrive_one(CtaState& cta, kernels::Barrier barrier, Resource cause);
  void role_ended(CtaState& cta);
  void cta_progress(CtaState& cta);
  std::uint32_t new_load(const kernels::Instruction& instruction, CtaState& cta);
  std::int64_t next_tile();
  [[nodiscard]] bool warming_up() const;
  void watch_waves();

  const Machine& machine_;
  const kernels::TileKernel& kernel_;
  const kernels::LaunchPlan& plan_;
  const bool exact_;
  const std::int64_t half_latency_;  ///< Of L2, in cycles: one way.
  ActivityRecorder* recorder_ = nullptr;
  core::TimingWheel<Event> wheel_;
  L2Cache l2_cache_;
  Server l2_;
  Server hbm_;
  std::vector<Sm> sms_;
  std::vector<std::unique_ptr<Cluster>> clusters_;
  std::vector<Load> loads_;
  std::vector<std::uint32_t> free_loads_;
  std::vector<int> counters_;
  LaunchTotals totals_;
  std::int64_t given_tiles_ = 0;
  std::int64_t wave_ = 1;  ///< Tiles that run at once, in whole periods.
  std::int64_t last_end_ = 0;
  double skipped_cycles_ = 0;
  bool skipped_ = false;
  std::vector<Wave> waves_;
  LaunchTotals skipped_totals_;
};

}  // namespace tessera::gpu
