#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/kernels/tile_program.hpp"

namespace tessera::kernels {

/// a / b, rounded up. Requires: a >= 0, b > 0.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Goes round the stages of a ring of buffers, use by use, without dividing at each.
class StageWalk {
 public:
  explicit StageWalk(std::int64_t stages) : stages_(stages) {}
  [[nodiscard]] std::int64_t stage() const { return stage_; }
  /// Uses of this stage before.
  [[nodiscard]] std::int64_t round() const { return round_; }
  void next() {
    if (++stage_ < stages_) return;
    stage_ = 0;
    ++round_;
  }
  void skip(std::int64_t uses) {
    round_ += (stage_ + uses) / stages_;
    stage_ = (stage_ + uses) % stages_;
  }

 private:
  std::int64_t stages_;
  std::int64_t stage_ = 0;
  std::int64_t round_ = 0;
};

/// Work of a tile, or of one step of its main loop, on one SM: cycles by pipe, and what it loads.
struct TileWork {
  double tensor = 0;
  double fp32 = 0;
  double sfu = 0;
  double conversion = 0;
  double shared_memory = 0;
  double load_bytes = 0;       ///< L2 to this SM; of a multicast box its share.
  double multicast_bytes = 0;  ///< Arrive beside them, loaded by other CTAs of the cluster.
  double filled_bytes = 0;     ///< Box::filled of its loads.
  double loads = 0;            ///< Copy instructions issued.
  double waiting = 0;  ///< Latencies that occupy no pipe; they count where steps are serial.
};

/// What both fidelities read: resources of a launch, and what its average tile does.
struct LaunchPlan {
  std::string name;        ///< "128x256x64 cooperative cluster 2"
  std::int64_t tiles = 0;  ///< Work items of the grid, per CTA of a cluster.
  int cluster = 1;         ///< CTAs placed together, sharing multicast loads.
  int ctas_per_sm = 1;
  int barriers = 0;                  ///< Per CTA.
  bool persistent = false;           ///< CTAs take tile after tile; otherwise one tile a CTA.
  bool overlapped_epilogue = false;  ///< The next tile's main loop runs beside the epilogue.
  bool serial_step = false;          ///< A step's pipes run one after another for one CTA.
  double least_step = 0;             ///< Cycles of a step whose pipes are idle: its chain of MMAs.
  double unwaited_tensor = 0;        ///< Of a serial step's tensor cycles, what no warp waits for.
  double turned_cycles = 0;  ///< Of a step, what loading warps do to what they waited for; 0: they
                             ///< wait for no load.
  int lanes = 1;             ///< Warpgroups of a CTA that each do their share of a step, serially.
  int stages = 1;            ///< Steps of loads in flight per CTA.
  double steps = 1;          ///< Main-loop steps of the average tile.
  double longest_steps = 0;  ///< Of the longest tile; 0 when all are equal.
  /// Of the longest tile, what runs after the SMs have shared the rest evenly, in launches of more
  /// tiles than run at once that do not start the longest first; 0: waves of equal tiles.
  double trailing_steps = 0;
  bool takes_turns = false;  ///< CTAs of an SM share the tensor pipe instruction by instruction and
                             ///< go through a step together: its products add up.
  std::int64_t period = 1;   ///< Tiles after which their costs repeat; 0: never, simulate them all.
  int steady_waves = 3;      ///< Waves averaged on either side when looking for the steady state.
  TileWork step;
  TileWork epilogue;
  double prologue_cycles = 0;  ///< From the start of a CTA to its first load.
  double walk_cycles = 0;      ///< Of a CTA among groups, as far as no tile hides it.
  double switch_cycles = 0;    ///< Before an average tile's first load, beside other CTAs' loads.
  double epilogue_cycles = 0;  ///< Of an epilogue, beside what its pipes and stores take.
  double store_bytes = 0;      ///< Written by a tile.
  /// Tiles that run at once and read the same boxes: `shared_rows` bands of tiles read one column's
  /// boxes, and the tiles of a band the band's. 0: every tile reads boxes of its own.
  std::int64_t shared_rows = 0;
  std::int64_t shared_tiles = 0;   ///< Of a cluster's height, that share at most; 0: all.
  std::int64_t shared_parts = 1;   ///< Parts of a tile along k, which read different boxes.
  double shared_row_bytes = 0;     ///< Per step, of a cluster's band.
  double shared_column_bytes = 0;  ///< Per step, of a column.
  double issue_cycles = 0;         ///< Of the copy engine per load.
  double read_bytes = 0;           ///< Distinct bytes that the launch reads.
  double warm_bytes = 0;           ///< Part of read_bytes that is in L2 before.
  double reread_bytes =
      0;  ///< Read again in later waves if L2 has lost them, over the whole launch.
  double reuse_distance = 0;   ///< Distinct bytes read between two uses of what is reread.
  double write_bytes = 0;      ///< Distinct bytes that the launch writes.
  bool overwrites = false;     ///< Over an earlier replay's outputs, dirty in L2.
  double flops = 0;            ///< On tensor cores.
  double fp32_operations = 0;  ///< On CUDA cores.
};

/// A box that the L2 holds when a launch starts; a dirty one must be written to HBM before its
/// place is reused.
struct WarmBox {
  Box box;
  bool dirty = false;
};

/// Adds `box` to `boxes` when it is among the `part` of boxes that are still in L2, which a hash of
/// its place decides.
void add_survivor(const Box& box, double part, std::vector<WarmBox>& boxes);

struct Cta;

/// Gives out work items; the GPU model implements it.
class TileSource {
 public:
  virtual ~TileSource() = default;
  /// The i-th work item of the cluster of `cta`, or -1 when the grid is exhausted. All CTAs of a
  /// cluster get the same.
  virtual std::int64_t tile(const Cta& cta, std::size_t i) = 0;
  /// Counts an arrival at a counter in global memory; returns the count before it.
  virtual int arrive(std::int64_t counter) = 0;
};

/// A CTA as its roles see it.
struct Cta {
  TileSource* source = nullptr;
  std::size_t cluster = 0;  ///< Index of its cluster, given by the GPU model.
  int rank = 0;             ///< In its cluster.
  [[nodiscard]] std::int64_t tile(std::size_t i) const { return source->tile(*this, i); }
};

/// A launch: its plan, and the roles of each CTA.
class TileKernel {
 public:
  virtual ~TileKernel() = default;
  [[nodiscard]] const LaunchPlan& plan() const { return plan_; }
  /// The roles of a CTA. They take their tiles by `cta.tile(i)`; `cta` and the kernel outlive them.
  [[nodiscard]] virtual std::vector<TileProgram> roles(const Cta& cta) const = 0;
  /// Work of the tiles before `tile`, in any unit: what the time of a steady state is proportional
  /// to. Tiles are equal unless the kernel says otherwise.
  [[nodiscard]] virtual double work_before(std::int64_t tile) const {
    return static_cast<double>(tile);
  }
  /// Boxes that are in L2 before the launch, least recently used first.
  [[nodiscard]] virtual std::vector<WarmBox> warm_boxes() const { return {}; }

 protected:
  LaunchPlan plan_;
};

}  // namespace tessera::kernels
