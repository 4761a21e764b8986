#include "models/kernels/gemm_kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace tessera::kernels {
namespace {

constexpr std::uint32_t kTensorA = 1;
constexpr std::uint32_t kTensorB = 2;
constexpr std::uint32_t kTensorC = 3;
constexpr std::uint32_t kPartials = 4;
constexpr std::uint32_t kScales = 5;  ///< Of weights, where warpgroups read them apart.
constexpr int kMaxStages = 12;  ///< Libraries stop deepening the pipeline about here. // assumed
constexpr std::int64_t kBarrierBytes =
    1024;                            ///< Of shared memory: barriers and descriptors. // assumed
constexpr double kPartialBytes = 4;  ///< Split tiles are reduced in FP32.

/// How often a warp's store of 8x8 16-bit matrices (stmatrix) meets the same banks, when rows lie
/// `stride` bytes apart: eight rows of 16 bytes in 128 bytes of banks.
double bank_conflicts(double stride) {
  constexpr std::int64_t kBanks = 128;  // bytes
  constexpr std::int64_t kRows = 8;
  const std::int64_t places = kBanks / std::gcd(std::llround(stride), kBanks);
  return static_cast<double>(kRows) / static_cast<double>(std::min(kRows, places));
}

}  // namespace

GemmKernel::WarpGrid GemmKernel::warp_grid(int m, int n) {
  constexpr int kWarpSide = 64;  // accumulators of 64x64 fill half of a thread's registers
  constexpr int kWarps = 4;      // one for each tensor core of an SM
  WarpGrid grid{.rows = std::max(1, m / kWarpSide), .columns = std::max(1, n / kWarpSide)};
  while (grid.rows * grid.columns < kWarps)
    (m / grid.rows > n / grid.columns ? grid.rows : grid.columns) *= 2;
  return grid;
}

bool promotes(const Implementation& implementation, core::DataType type) {
  return implementation.promotion_k > 0 && implementation.promoted_types.contains(type);
}

GemmKernel::GemmKernel(const workload::Gemm& gemm, const device::DeviceSpec& device,
                       const Implementation& implementation, const GemmConfiguration& configuration)
    : tile_(configuration.tile),
      split_(configuration.split),
      accumulate_(gemm.accumulate),
      implementation_(implementation),
      fp32_lanes_(device.sm.fp32_lanes) {
  const double a_bits = core::activation_bits(gemm.type);
  const double b_bits = core::weight_bits(gemm.type);
  step_k_ = static_cast<std::int64_t>(tile_.k_bytes * 8 / a_bits);
  const double a_scales = core::activation_scale_bytes(gemm.type);
  const double b_scales =
      gemm.both_operands_row_scaled ? a_scales : core::weight_scale_bytes(gemm.type);
  const auto depth = static_cast<double>(step_k_);
  a_step_bytes_ = depth * (a_bits / 8 + a_scales);
  b_step_bytes_ = depth * (b_bits / 8 + b_scales);
  c_bytes_ = core::activation_bits(gemm.output) / 8.0;
  filled_reads_ = parameter_or(implementation, "filled_reads", 0);
  sum_traffic_ = parameter_or(implementation, "sum_traffic", 0);
  describe_pipeline(gemm, device);
}

void GemmKernel::describe_pipeline(const workload::Gemm& gemm, const device::DeviceSpec& device) {
  const ImplementationCosts& costs = implementation_.costs;
  const double smem_stage = tile_.m * a_step_bytes_ + tile_.n * b_step_bytes_;
  const auto smem = static_cast<double>(device.sm.shared_memory_per_cta.value());
  const int resident = tile_.ctas_per_sm;
  stages_ = std::clamp<std::int64_t>(
      static_cast<std::int64_t>((smem / resident - kBarrierBytes) / smem_stage), 2, kMaxStages);
  if (tile_.stages > 0) stages_ = std::min<std::int64_t>(stages_, tile_.stages);

  // A library whose instructions have fewer rows than its promoted tiles multiplies them as slowly
  // as so small tiles (mma_cycles).
  constexpr double kRowsAtFullRate = 128;
  const double rows = promotes(implementation_, gemm.type)
                          ? parameter_or(implementation_, "instruction_rows", kRowsAtFullRate)
                          : kRowsAtFullRate;
  const double slowness = rows < kRowsAtFullRate ? 2 : 1;
  const int instruction_m = whole_instruction_rows(device, gemm.type);
  const double multiplied =
      slowness * costs.tensor_scale *
          mma_cycles(device, gemm.type, instruction_m, tile_.n, static_cast<double>(step_k_)) +
      costs.step_cycles;
  mma_cycles_ = std::llround(std::ceil(multiplied));
  const double chain = tile_.chain_cycles > 0 ? tile_.chain_cycles : costs.chain_cycles;
  if (chain > multiplied) chain_cycles_ = std::llround(chain);
  constexpr double kGatheredRows = 4;  // by one copy (PTX, tile::gather4)
  const double gathers = tile_.m / kGatheredRows / cluster_columns();
  gather_cycles_ = std::llround(gathers * parameter_or(implementation_, "gather", 0));
  describe_operand_path(gemm, device);
  // Accumulators to the output type, then through shared memory to the copy engine.
  const double elements = static_cast<double>(tile_.m) * tile_.n;
  const double convert = elements / (2.0 * device.sm.conversion_lanes);  // packed pairs
  const double conflicts = implementation_.swizzled_store ? 1 : bank_conflicts(tile_.n * c_bytes_);
  const double through = conflicts * elements * c_bytes_ / device.sm.shared_memory_rate;
  epilogue_cycles_ = std::llround(convert + through);
  const double drain_cycles = tile_.schedule == GemmSchedule::tmem ? describe_accumulators() : 0;
  if (promotes(implementation_, gemm.type)) {
    // A scale a row and one for the whole tile fold into one multiply-add an element; a scale a row
    // and a scale a column take a product of scales first.
    const double operations = gemm.both_operands_row_scaled ? 2 : 1;
    meet_ = !gemm.both_operands_row_scaled;
    // A warpgroup multiplies 64 rows, or as many columns of a product computed transposed.
    promoters_ = (tile_.swapped ? tile_.n : tile_.m) <= 64 ? 1 : 2;
    const double promoted = static_cast<double>(instruction_m) * tile_.n;
    promotion_cycles_ =
        std::llround(std::ceil(promoted / promoters_ / device.sm.fp32_lanes * operations *
                               static_cast<double>(step_k_) / implementation_.promotion_k));
    const double waited = costs.mma_latency_cycles + spill_cycles(instruction_m);
    promotion_wait_ = std::llround(waited);
    plan_.least_step = multiplied / promoters_ + waited + static_cast<double>(promotion_cycles_);
  }

  plan_.name =
      fmt::format("{}x{}x{}B {}{}{}", tile_.m, tile_.n, tile_.k_bytes, to_string(tile_.schedule),
                  tile_.cluster > 1 ? fmt::format(" cluster {}", tile_.cluster) : "",
                  tile_.ctas_per_sm > 1 ? fmt::format(" {} CTAs an SM", tile_.ctas_per_sm) : "");
  if (split_ > 1) plan_.name += fmt::format(" split {}", split_);
  plan_.cluster = tile_.cluster;
  plan_.ctas_per_sm = resident;
  plan_.barriers = static_cast<int>(2 * stages_ + 9);
  plan_.persistent = implementation_.persistent;
  plan_.overlapped_epilogue = (tile_.schedule == GemmSchedule::tmem && accumulators_ > 1) ||
                              tile_.schedule == GemmSchedule::pingpong;
  plan_.stages = static_cast<int>(stages_);
  plan_.step.tensor = multiplied;
  plan_.least_step = std::max({plan_.least_step, chain, static_cast<double>(gather_cycles_)});
  plan_.step.fp32 += static_cast<double>(promoters_ * promotion_cycles_);
  plan_.step.loads = 2;
  plan_.epilogue.conversion = static_cast<double>(epilogue_cycles_);
  plan_.prologue_cycles = costs.prologue_cycles;
  plan_.epilogue_cycles =
      costs.epilogue_cycles + drain_cycles + (split_ > 1 ? costs.reduction_cycles : 0);
  plan_.issue_cycles = costs.issue_cycles;
}

/// Finds how many accumulators TMEM holds. Returns what a tile's epilogue takes beside its pipes:
/// warps read, convert and stage a few columns at a time, one after the other (`drain` cycles a
/// column).
double GemmKernel::describe_accumulators() {
  constexpr int kLanes = 128;  // of TMEM: rows of an accumulator
  const int columns = tile_.swapped ? tile_.m : tile_.n;
  const int rows = tile_.swapped ? tile_.n : tile_.m;
  // A library that keeps scales of 32 rows or columns a TMEM column beside whole accumulators.
  if (const double memory = parameter_or(implementation_, "tensor_memory", 0); memory > 0) {
    constexpr int kScalesOfColumn = 32;
    const std::int64_t above = divide_up(rows, kLanes);
    const std::int64_t scales = (above + divide_up(columns, kLanes)) * kLanes / kScalesOfColumn;
    if (static_cast<double>(2 * above * columns + scales) > memory) accumulators_ = 1;
  }
  return parameter_or(implementation_, "drain", 0) * columns;
}

/// Rows that a tile's instructions multiply, filled or not. wgmma has 64; kernels that promote say
/// which side of the product lies along them (`swapped`), the others turn it so that it fills them.
int GemmKernel::whole_instruction_rows(const device::DeviceSpec& device,
                                       core::DataType type) const {
  constexpr int kWarpgroupRows = 64;
  const bool fixed = device.generation == device::Generation::hopper &&
                     promotes(implementation_, type) && !tile_.swapped;
  return fixed ? std::max(kWarpgroupRows, tile_.m) : tile_.m;
}

/// Of a step whose accumulators the compiler keeps in local memory: in tiles that are in no pair,
/// from so many registers of a thread on as the implementation says (`spills_alone`), `spill`
/// cycles each.
double GemmKernel::spill_cycles(int instruction_m) const {
  const double threshold = parameter_or(implementation_, "spills_alone", 0);
  if (threshold == 0 || tile_.cluster > 1) return 0;
  constexpr double kThreads = 128, kRows = 64;  // of a warpgroup, and of its instruction
  const double rows = static_cast<double>(instruction_m) / static_cast<double>(promoters_);
  const double registers = (std::min(rows, kRows) + rows) * tile_.n / kThreads;
  return registers < threshold ? 0 : registers * parameter(implementation_, "spill");
}

/// mma.sync takes its operands from registers: what cp.async wrote to shared memory is read again
/// by every warp that needs it. Weights narrower than the MMA are widened on the CUDA cores, by
/// every warp that needs them or, for tcgen05, once.
void GemmKernel::describe_operand_path(const workload::Gemm& gemm,
                                       const device::DeviceSpec& device) {
  WarpGrid warps;
  if (tile_.schedule == GemmSchedule::multistage) {
    warps = warp_grid(tile_.m, tile_.n);
    describe_fragments(warps, device);
  } else if (tile_.schedule != GemmSchedule::tmem || core::activation_bits(gemm.type) < 16) {
    return;  // tcgen05 multiplies 4-bit by 8-bit floats as they are
  }
  if (core::weight_bits(gemm.type) >= core::activation_bits(gemm.type)) return;
  double operations = parameter_or(implementation_, "widen_fp32", 0);
  // Floats of 4 bits have an instruction that converts them, integers have none.
  if (gemm.type == core::DataType::int4_wo)
    operations = parameter_or(implementation_, "widen_integers", operations);
  const double elements = static_cast<double>(tile_.n) * static_cast<double>(step_k_) * warps.rows;
  plan_.step.fp32 = elements * operations / device.sm.fp32_lanes;
  widening_cycles_ = std::llround(plan_.step.fp32);
}

void GemmKernel::describe_fragments(const WarpGrid& warps, const device::DeviceSpec& device) {
  const double written = tile_.m * a_step_bytes_ + tile_.n * b_step_bytes_;
  const double read =
      tile_.m * a_step_bytes_ * warps.columns + tile_.n * b_step_bytes_ * warps.rows;
  plan_.step.shared_memory = (written + read) / device.sm.shared_memory_rate;
  shared_memory_cycles_ = std::llround(plan_.step.shared_memory);
}

void GemmKernel::describe_tiles(double rows, double columns, double steps) {
  const double a = rows * a_step_bytes_;
  const double b = columns * b_step_bytes_;
  plan_.step.load_bytes = a / cluster_columns() + b / cluster_rows();
  plan_.step.multicast_bytes = a + b - plan_.step.load_bytes;
  plan_.step.filled_bytes =
      filled(std::max(0.0, tile_.m - rows), a_step_bytes_) / cluster_columns() +
      filled(std::max(0.0, tile_.n - columns), b_step_bytes_) / cluster_rows();
  plan_.store_bytes = rows * columns * (split_ > 1 ? kPartialBytes : c_bytes_);
  if (accumulate_) plan_.epilogue.load_bytes = rows * columns * c_bytes_;
  plan_.epilogue.filled_bytes = plan_.epilogue.load_bytes * sum_traffic_;
  // One multiply-add an element, step and consumer.
  plan_.fp32_operations =
      static_cast<double>(promoters_ * promotion_cycles_) * fp32_lanes_ * steps * tile_.cluster * 2;
}

std::int64_t GemmKernel::raster_group(const std::vector<int>& gpc_sizes, std::int64_t bands) const {
  int slots = 0;
  for (const int size : gpc_sizes) slots += size / tile_.cluster;
  slots *= tile_.ctas_per_sm;
  std::int64_t group = implementation_.group_rows;
  if (group == 0)
    group = std::llround(std::sqrt(static_cast<double>(slots) * tile_.n * cluster_columns() /
                                   (static_cast<double>(tile_.m) * cluster_rows())));
  return std::clamp<std::int64_t>(group, 1, std::max<std::int64_t>(1, bands));
}

Box GemmKernel::a_box(const TilePlace& at, std::int64_t step, int slice) const {
  return {.tensor = kTensorA,
          .row = static_cast<std::uint32_t>(at.a_row),
          .column = static_cast<std::uint32_t>(step * cluster_columns() + slice),
          .bytes = static_cast<std::uint32_t>(static_cast<double>(at.rows) * a_step_bytes_ /
                                              cluster_columns()),
          .filled = static_cast<std::uint32_t>(
              filled(static_cast<double>(tile_.m - at.rows), a_step_bytes_) / cluster_columns())};
}

Box GemmKernel::b_box(const TilePlace& at, std::int64_t step, int slice) const {
  const auto columns = static_cast<double>(at.columns);
  return {
      .tensor = kTensorB,
      .row = static_cast<std::uint32_t>(at.b_row),
      .column = static_cast<std::uint32_t>(step * cluster_rows() + slice),
      .bytes = static_cast<std::uint32_t>(std::max(1.0, columns * b_step_bytes_ / cluster_rows())),
      .filled =
          static_cast<std::uint32_t>(filled(tile_.n - columns, b_step_bytes_) / cluster_rows())};
}

Box GemmKernel::old_values(const TilePlace& at) const {
  Box box = c_box(at, false);
  box.filled = static_cast<std::uint32_t>(box.bytes * sum_traffic_);
  return box;
}

Box GemmKernel::c_box(const TilePlace& at, bool partial) const {
  const double elements = static_cast<double>(at.rows) * static_cast<double>(at.columns);
  return {.tensor = partial ? kPartials : kTensorC,
          .row = static_cast<std::uint32_t>(at.c_row),
          .column = static_cast<std::uint32_t>(at.c_column),
          .bytes = static_cast<std::uint32_t>(elements * (partial ? kPartialBytes : c_bytes_))};
}

std::vector<TileProgram> GemmKernel::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(producer(cta));
  if (promotion_cycles_ > 0) {
    for (int i = 0; i < promoters_; ++i) programs.push_back(promoting_consumer(cta, i));
  } else if (tile_.schedule == GemmSchedule::tmem) {
    programs.push_back(mma_issuer(cta));
    programs.push_back(tmem_epilogue(cta));
  } else if (tile_.schedule == GemmSchedule::pingpong) {
    programs.push_back(consumer(cta, 0, 2));
    programs.push_back(consumer(cta, 1, 2));
  } else {
    programs.push_back(consumer(cta, 0, 1));
  }
  return programs;
}

std::vector<GemmKernel::StepLoad> GemmKernel::step_loads(const Cta& cta,
                                                         const TilePlace& at) const {
  std::vector<StepLoad> loads;
  const auto add = [&](int slices, const auto& box_of) {
    const bool shared = slices > 1 && !at.alone;
    for (int slice = 0; slice < slices; ++slice) {
      if (shared && slice != cta.rank) continue;  // a peer loads it for both
      loads.push_back(
          {{.box = box_of(slice), .cluster_wide = shared}, static_cast<std::uint32_t>(slices)});
    }
  };
  add(cluster_columns(), [&](int slice) { return a_box(at, at.first_step, slice); });
  add(cluster_rows(), [&](int slice) { return b_box(at, at.first_step, slice); });
  return loads;
}

/// Scales of a tile's columns, which the warpgroups copy for themselves: four bytes for every 128
/// of k, of each 128 columns that they touch.
Box GemmKernel::scale_box(const TilePlace& at) const {
  constexpr std::int64_t kBlock = 128, kScaleBytes = 4;
  const std::int64_t lines = divide_up(at.columns, kBlock);
  return {.tensor = kScales,
          .row = static_cast<std::uint32_t>(at.b_row * tile_.n / kBlock),
          .column = 0,
          .bytes = static_cast<std::uint32_t>(
              lines * kScaleBytes * divide_up((at.last_step - at.first_step) * step_k_, kBlock))};
}

/// Keeps `stages` boxes of A and B in flight.
TileProgram GemmKernel::producer(const Cta& cta) const {
  const std::int64_t releases =
      (promotion_cycles_ > 0 ? promoters_ : 1) * static_cast<std::int64_t>(tile_.cluster);
  co_await delay(std::llround(plan_.prologue_cycles));
  StageWalk walk{stages_};
  std::int64_t group = -1;
  std::int64_t walked = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    if (walk_cycles_ > 0)
      co_await delay(walk_cycles_ * (at.group - std::exchange(walked, at.group)));
    if (switch_cycles_ > 0 && t > 0 && at.group != group) co_await delay(switch_cycles_);
    group = at.group;
    std::vector<StepLoad> loads = step_loads(cta, at);
    for (std::int64_t step = at.first_step; step < at.last_step; ++step, walk.next()) {
      if (walk.round() > 0) co_await wait(empty(walk.stage()), walk.round() * releases);
      if (gather_cycles_ > 0) co_await delay(gather_cycles_);
      for (StepLoad& load : loads) {
        load.copy.barrier = full(walk.stage());
        if (load.copy.box.bytes > 0) {
          co_await load.copy;
        } else {
          co_await signal(full(walk.stage()));  // rows beyond the matrix are filled without a read
        }
        load.copy.box.column += load.columns;
      }
    }
  }
  if (walk_cycles_ > 0) co_await delay(walk_cycles_ * (walked_groups_ - walked));
  if (idle_cycles_ > 0) co_await delay(idle_cycles_);
}

/// One of `consumers` warpgroup sets that multiply and store whole tiles in turn.
TileProgram GemmKernel::consumer(const Cta& cta, int index, int consumers) const {
  const std::int64_t arrivals = 1 + tile_.cluster;
  const auto operand_bytes =
      static_cast<std::uint32_t>(tile_.m * a_step_bytes_ + tile_.n * b_step_bytes_);
  StageWalk walk{stages_};
  std::int64_t reductions = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    const std::int64_t steps = at.last_step - at.first_step;
    if (static_cast<int>(t) % consumers != index) {
      walk.skip(steps);
      continue;
    }
    if (consumers > 1 && t > 0) co_await wait(turn(), static_cast<std::int64_t>(t));
    for (std::int64_t step = 0; step < steps; ++step, walk.next()) {
      co_await wait(full(walk.stage()), (walk.round() + 1) * arrivals);
      // Fragments of the next slice of k are read while this one is multiplied.
      if (shared_memory_cycles_ > 0) co_await compute(Pipe::shared_memory, shared_memory_cycles_);
      if (widening_cycles_ > 0) co_await compute(Pipe::fp32, widening_cycles_);
      co_await mma(mma_cycles_, operand_bytes, empty(walk.stage()), tile_.cluster > 1);
      if (chain_cycles_ > 0) co_await delay(chain_cycles_);
    }
    if (consumers > 1) co_await mma(0, 0, turn());
    co_await mma(0, 0, promoted(index));
    co_await wait(promoted(index), static_cast<std::int64_t>(t) / consumers + 1);
    co_await delay(std::llround(plan_.epilogue_cycles));
    if (split_ > 1) {
      // Every part adds to one FP32 tile in L2; the last to come reads the sum.
      co_await store(c_box(at, true));
      co_await wait_stores();
      if (cta.source->arrive(tile / split_ * tile_.cluster + cta.rank) < split_ - 1) continue;
      co_await load(c_box(at, true), reduced(index));
      co_await wait(reduced(index), ++reductions);
    } else if (accumulate_) {
      co_await load(old_values(at), reduced(index));
      if (awaits_old_values()) co_await wait(reduced(index), ++reductions);
    }
    co_await compute(Pipe::conversion, epilogue_cycles_);
    co_await store(c_box(at, false));
  }
}

/// One of the warpgroups of a block-scaled FP8 GEMM, each on its part of the rows: every step's
/// product leaves the tensor core and is scaled and added in FP32 while the other one multiplies.
/// They begin and store a tile together: its weight scales go through shared memory, which all of
/// them fill, and its values leave by one copy. Where both operands have a scale a row, loads bring
/// the scales and each stores its own part.
TileProgram GemmKernel::promoting_consumer(const Cta& cta, int index) const {
  const std::int64_t arrivals = 1 + tile_.cluster;
  const auto operand_bytes =
      static_cast<std::uint32_t>(tile_.m * a_step_bytes_ / promoters_ + tile_.n * b_step_bytes_);
  const std::int64_t part_cycles = divide_up(mma_cycles_, promoters_);
  StageWalk walk{stages_};
  std::int64_t products = 0;
  std::int64_t meetings = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    if (meet_) {
      co_await load(scale_box(at), met());
      co_await signal(met());
      co_await wait(met(), ++meetings * 2 * promoters_);
    }
    for (std::int64_t step = at.first_step; step < at.last_step; ++step, walk.next()) {
      co_await wait(full(walk.stage()), (walk.round() + 1) * arrivals);
      co_await mma(part_cycles, operand_bytes, promoted(index));
      co_await wait(promoted(index), ++products);
      co_await signal(empty(walk.stage()), tile_.cluster > 1);
      co_await delay(promotion_wait_);
      co_await compute(Pipe::fp32, promotion_cycles_);
    }
    co_await delay(std::llround(plan_.epilogue_cycles));
    if (accumulate_ && index == 0) co_await load(old_values(at), reduced(0));
    if (accumulate_ && awaits_old_values())
      co_await wait(reduced(0), static_cast<std::int64_t>(t) + 1);
    co_await compute(Pipe::conversion, epilogue_cycles_ / promoters_);
    if (meet_) co_await signal(stored());
    if (index < promoters_ - 1) continue;
    if (meet_) co_await wait(stored(), (static_cast<std::int64_t>(t) + 1) * promoters_);
    co_await store(c_box(at, false));
    if (implementation_.awaited_store) co_await wait_stores();
  }
}

/// The one thread that issues tcgen05: it runs ahead of the epilogue by the accumulators in TMEM
/// but one.
TileProgram GemmKernel::mma_issuer(const Cta& cta) const {
  const std::int64_t arrivals = 1 + tile_.cluster;
  const auto operand_bytes =
      static_cast<std::uint32_t>(tile_.m * a_step_bytes_ + tile_.n * b_step_bytes_);
  StageWalk walk{stages_};
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    const std::int64_t reused = static_cast<std::int64_t>(t) - accumulators_;
    if (reused >= 0) co_await wait(drained(), reused + 1);
    for (std::int64_t step = at.first_step; step < at.last_step; ++step, walk.next()) {
      co_await wait(full(walk.stage()), (walk.round() + 1) * arrivals);
      if (widening_cycles_ > 0) co_await compute(Pipe::fp32, widening_cycles_);
      co_await mma(mma_cycles_, operand_bytes, empty(walk.stage()), tile_.cluster > 1);
      if (chain_cycles_ > 0) co_await delay(chain_cycles_);
    }
    co_await mma(0, 0, accumulator());
  }
}

TileProgram GemmKernel::tmem_epilogue(const Cta& cta) const {
  std::int64_t reductions = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    co_await wait(accumulator(), static_cast<std::int64_t>(t) + 1);
    co_await delay(std::llround(plan_.epilogue_cycles));
    if (split_ > 1) {
      co_await signal(drained());
      co_await store(c_box(at, true));
      co_await wait_stores();
      if (cta.source->arrive(tile / split_ * tile_.cluster + cta.rank) < split_ - 1) continue;
      co_await load(c_box(at, true), reduced(0));
      co_await wait(reduced(0), ++reductions);
      co_await compute(Pipe::conversion, epilogue_cycles_);
    } else {
      if (accumulate_) co_await load(old_values(at), reduced(0));
      if (accumulate_ && awaits_old_values()) co_await wait(reduced(0), ++reductions);
      co_await compute(Pipe::conversion, epilogue_cycles_);
      co_await signal(drained());
    }
    co_await store(c_box(at, false));
  }
}

}  // namespace tessera::kernels
