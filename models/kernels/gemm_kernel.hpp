#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"

namespace tessera::kernels {

/// Where a CTA's tile lies: the boxes of its operands, and how much of it is inside the product.
struct TilePlace {
  std::int64_t a_row = 0;  ///< Tile row of A, counted over all products.
  std::int64_t b_row = 0;  ///< Tile column of B, counted over all products.
  std::int64_t c_row = 0;
  std::int64_t c_column = 0;
  std::int64_t rows = 0;     ///< Of the tile inside the product.
  std::int64_t columns = 0;  ///< Of the tile inside the product.
  std::int64_t first_step = 0;
  std::int64_t last_step = 0;
  std::int64_t split = 0;
  std::int64_t group = 0;  ///< Of products of different sizes.
  bool alone = false;      ///< The tiles of its cluster share no operand.
};

/// Whether CUDA cores scale and add the products of `type`: of all types that is the one whose
/// scales are FP32 numbers along k.
[[nodiscard]] bool promotes(const Implementation& implementation, core::DataType type);

/// The warp roles of a GEMM CTA, whatever the tiles belong to: one product, many, or groups of
/// different sizes. What differs is where a tile lies, which `place` says.
class GemmKernel : public TileKernel {
 public:
  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;

 protected:
  /// Fixes pipeline depth and the cost of a step and an epilogue from the types and flags of
  /// `gemm`; its m, n and k are not read.
  GemmKernel(const workload::Gemm& gemm, const device::DeviceSpec& device,
             const Implementation& implementation, const GemmConfiguration& configuration);

  /// The tile of `cta` in its cluster's work item `tile`.
  [[nodiscard]] virtual TilePlace place(const Cta& cta, std::int64_t tile) const = 0;

  /// Fills the part of the plan that follows from `rows` x `columns` elements inside an average
  /// tile; `steps` are the main-loop steps of the whole launch.
  void describe_tiles(double rows, double columns, double steps);
  /// Bands of tile rows visited together, so that a wave covers as square a patch as it can.
  [[nodiscard]] std::int64_t raster_group(const std::vector<int>& gpc_sizes,
                                          std::int64_t bands) const;

  /// CTAs of a cluster along m and along n; a tile's shared operand lies in as many slices.
  [[nodiscard]] int cluster_rows() const {
    return tile_.side == ClusterSide::rows ? tile_.cluster : 1;
  }
  [[nodiscard]] int cluster_columns() const { return tile_.cluster / cluster_rows(); }
  /// Box::filled of so many rows or columns of a tile that lie outside the product.
  [[nodiscard]] double filled(double outside, double step_bytes) const {
    return filled_reads_ * outside * step_bytes;
  }
  [[nodiscard]] Box a_box(const TilePlace& at, std::int64_t step, int slice) const;
  [[nodiscard]] Box b_box(const TilePlace& at, std::int64_t step, int slice) const;
  [[nodiscard]] Box c_box(const TilePlace& at, bool partial) const;
  [[nodiscard]] Box scale_box(const TilePlace& at) const;
  /// What the tile's values are added to.
  [[nodiscard]] Box old_values(const TilePlace& at) const;

  TileShape tile_;
  std::int64_t split_ = 1;
  std::int64_t step_k_ = 64;  ///< Elements.
  double a_step_bytes_ = 0;   ///< Per row and step, scales included.
  double b_step_bytes_ = 0;   ///< Per column and step, scales included.
  double c_bytes_ = 2;
  double filled_reads_ = 0;  ///< The implementation's `filled_reads`: what a byte of a box beyond
                             ///< its tensor costs, in bytes read from L2.
  double sum_traffic_ = 0;   ///< The implementation's `sum_traffic`: what adding a byte takes of
                             ///< L2's rate beside its read and its write, in bytes.
  bool accumulate_ = false;
  std::int64_t switch_cycles_ = 0;  ///< Before the first load of another group's tile.
  std::int64_t walk_cycles_ = 0;    ///< For each group that a CTA passes, its own or not.
  std::int64_t walked_groups_ = 0;  ///< That every CTA passes before it ends.
  std::int64_t idle_cycles_ = 0;    ///< Of a CTA's SM, for CTAs of the grid that find no tile.

 private:
  [[nodiscard]] bool awaits_old_values() const {
    return implementation_.accumulation == Accumulation::loaded;
  }

  // Barriers of a CTA.
  [[nodiscard]] Barrier full(std::int64_t stage) const { return static_cast<Barrier>(stage); }
  [[nodiscard]] Barrier empty(std::int64_t stage) const {
    return static_cast<Barrier>(stages_ + stage);
  }
  [[nodiscard]] Barrier accumulator() const { return static_cast<Barrier>(2 * stages_); }
  [[nodiscard]] Barrier drained() const { return static_cast<Barrier>(2 * stages_ + 1); }
  [[nodiscard]] Barrier turn() const { return static_cast<Barrier>(2 * stages_ + 2); }
  [[nodiscard]] Barrier promoted(int consumer) const {
    return static_cast<Barrier>(2 * stages_ + 3 + consumer);
  }
  [[nodiscard]] Barrier reduced(int consumer) const {
    return static_cast<Barrier>(2 * stages_ + 5 + consumer);
  }

  /// Warpgroups that promote meet here before a tile, and at `stored` before its store.
  [[nodiscard]] Barrier met() const { return static_cast<Barrier>(2 * stages_ + 7); }
  [[nodiscard]] Barrier stored() const { return static_cast<Barrier>(2 * stages_ + 8); }

  /// What a CTA copies in a step, its barrier left open, and how far the box moves from one step to
  /// the next.
  struct StepLoad {
    Load copy;
    std::uint32_t columns = 0;
  };
  /// Of a tile's first step. Peers of a cluster load their slices of what they share.
  [[nodiscard]] std::vector<StepLoad> step_loads(const Cta& cta, const TilePlace& at) const;
  TileProgram producer(const Cta& cta) const;
  TileProgram consumer(const Cta& cta, int index, int consumers) const;
  TileProgram promoting_consumer(const Cta& cta, int index) const;
  TileProgram mma_issuer(const Cta& cta) const;
  TileProgram tmem_epilogue(const Cta& cta) const;
  void describe_pipeline(const workload::Gemm& gemm, const device::DeviceSpec& device);

  /// Warps of a CTA of mma.sync, each on its part of the tile.
  struct WarpGrid {
    int rows = 1;
    int columns = 1;
  };
  /// Parts of at most 64x64, as square as they can be, at least four warps: how CUTLASS cuts its
  /// tiles for sm_80 (tools/library, generator.py).
  static WarpGrid warp_grid(int m, int n);
  [[nodiscard]] int whole_instruction_rows(const device::DeviceSpec& device,
                                           core::DataType type) const;
  [[nodiscard]] double spill_cycles(int instruction_m) const;
  [[nodiscard]] double describe_accumulators();
  void describe_operand_path(const workload::Gemm& gemm, const device::DeviceSpec& device);
  void describe_fragments(const WarpGrid& warps, const device::DeviceSpec& device);

  const Implementation& implementation_;  ///< Of the library's, which outlives its launches.
  std::int64_t stages_ = 1;
  std::int64_t mma_cycles_ = 1;     ///< Of one step.
  std::int64_t gather_cycles_ = 0;  ///< Of the producer, for the rows of A that it gathers in one
                                    ///< step; 0: they lie in order.
  std::int64_t chain_cycles_ = 0;   ///< From one step's first MMA to the next one's; 0 where the
                                    ///< tensor pipe takes longer.
  std::int64_t shared_memory_cycles_ = 0;  ///< mma.sync: operands of one step, in and out.
  std::int64_t widening_cycles_ = 0;       ///< FP32 pipe, narrow weights of one step.
  std::int64_t epilogue_cycles_ = 1;
  std::int64_t accumulators_ = 2;      ///< Of tcgen05, in TMEM.
  bool meet_ = false;                  ///< Warpgroups that promote begin and store tiles together.
  int promoters_ = 1;                  ///< Consumers that promote, each its part of the rows.
  std::int64_t promotion_wait_ = 0;    ///< From the end of a step's MMAs to their promotion.
  std::int64_t promotion_cycles_ = 0;  ///< FP32 pipe, one consumer's part, one step.
  int fp32_lanes_ = 128;
};

}  // namespace tessera::kernels
