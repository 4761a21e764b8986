#include "models/kernels/gemm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tessera::kernels {

using device::Generation;
using workload::Gemm;

namespace {

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

constexpr std::uint32_t kTensorA = 1;
constexpr std::uint32_t kTensorB = 2;
constexpr std::uint32_t kTensorC = 3;
constexpr std::uint32_t kPartials = 4;
constexpr int kMaxStages = 12;  ///< Libraries stop deepening the pipeline about here. // assumed
constexpr std::int64_t kBarrierBytes =
    1024;                            ///< Of shared memory: barriers and descriptors. // assumed
constexpr double kPartialBytes = 4;  ///< Split tiles are reduced in FP32.

double bytes_of(core::DataType type) { return core::activation_bits(type) / 8.0; }

/// Where a CTA's tile lies, and how much of it is inside the matrix.
struct TilePlace {
  std::int64_t batch, row, column, split;
};

class GemmKernel : public TileKernel {
 public:
  GemmKernel(const Gemm& gemm, const device::DeviceSpec& device,
             const Implementation& implementation, const GemmConfiguration& configuration,
             const Residency& residency, const std::vector<int>& gpc_sizes);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;

 private:
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

  TileProgram producer(const Cta& cta) const;
  TileProgram consumer(const Cta& cta, int index, int consumers) const;
  TileProgram promoting_consumer(const Cta& cta, int index) const;
  TileProgram mma_issuer(const Cta& cta) const;
  TileProgram tmem_epilogue(const Cta& cta) const;

  [[nodiscard]] TilePlace place(const Cta& cta, std::int64_t tile) const;
  [[nodiscard]] Box a_box(const TilePlace& at, std::int64_t step) const;
  [[nodiscard]] Box b_box(const TilePlace& at, std::int64_t step, int slice) const;
  [[nodiscard]] Box c_box(const TilePlace& at, std::int64_t part) const;
  [[nodiscard]] std::int64_t rows_inside(std::int64_t row) const {
    return std::clamp<std::int64_t>(gemm_.m - row * tile_.m, 0, tile_.m);
  }
  [[nodiscard]] std::int64_t columns_inside(std::int64_t column) const {
    return std::clamp<std::int64_t>(gemm_.n - column * tile_.n, 0, tile_.n);
  }
  [[nodiscard]] std::int64_t first_step(const TilePlace& at) const { return at.split * steps_; }
  [[nodiscard]] std::int64_t last_step(const TilePlace& at) const {
    return std::min(total_steps_, (at.split + 1) * steps_);
  }
  void describe_launch(const device::DeviceSpec& device, const std::vector<int>& gpc_sizes);
  void describe_rereads();

  Gemm gemm_;
  Implementation implementation_;
  TileShape tile_;
  int split_;
  Residency residency_;
  std::int64_t stages_ = 1;
  std::int64_t step_k_ = 64;      ///< Elements.
  std::int64_t total_steps_ = 1;  ///< Along the whole k.
  std::int64_t steps_ = 1;        ///< Of one CTA.
  std::int64_t rows_ = 1;         ///< Tile rows of one cluster-high band.
  std::int64_t columns_ = 1;
  std::int64_t group_ = 1;       ///< Bands visited together.
  std::int64_t mma_cycles_ = 1;  ///< Of one step.
  std::int64_t epilogue_cycles_ = 1;
  std::int64_t promotion_cycles_ = 0;  ///< FP32 pipe, one consumer's half, one step.
  double a_step_bytes_ = 0;            ///< Per row and step, scales included.
  double b_step_bytes_ = 0;            ///< Per column and step, scales included.
  double c_bytes_ = 2;
};

GemmKernel::GemmKernel(const Gemm& gemm, const device::DeviceSpec& device,
                       const Implementation& implementation, const GemmConfiguration& configuration,
                       const Residency& residency, const std::vector<int>& gpc_sizes)
    : gemm_(gemm),
      implementation_(implementation),
      tile_(configuration.tile),
      split_(configuration.split),
      residency_(residency) {
  const double a_bits = core::activation_bits(gemm.type);
  const double b_bits = core::weight_bits(gemm.type);
  step_k_ = static_cast<std::int64_t>(tile_.k_bytes * 8 / a_bits);
  total_steps_ = divide_up(gemm.k, step_k_);
  steps_ = divide_up(total_steps_, split_);
  rows_ = divide_up(gemm.m, static_cast<std::int64_t>(tile_.m) * tile_.cluster);
  columns_ = divide_up(gemm.n, tile_.n);
  const double a_scales = core::activation_scale_bytes(gemm.type);
  const double b_scales =
      gemm.both_operands_row_scaled ? a_scales : core::weight_scale_bytes(gemm.type);
  const auto depth = static_cast<double>(step_k_);
  a_step_bytes_ = depth * (a_bits / 8 + a_scales);
  b_step_bytes_ = depth * (b_bits / 8 + b_scales);
  c_bytes_ = bytes_of(gemm.output);
  describe_launch(device, gpc_sizes);
}

void GemmKernel::describe_launch(const device::DeviceSpec& device,
                                 const std::vector<int>& gpc_sizes) {
  const ImplementationCosts& costs = implementation_.costs;
  const double smem_stage = tile_.m * a_step_bytes_ + tile_.n * b_step_bytes_;
  const auto smem = static_cast<double>(device.sm.shared_memory_per_cta.value());
  const int resident = implementation_.max_ctas_per_sm;
  stages_ = std::clamp<std::int64_t>(
      static_cast<std::int64_t>((smem / resident - kBarrierBytes) / smem_stage), 2, kMaxStages);

  const double rate = device.sm.tensor_flops.at(gemm_.type);
  mma_cycles_ = std::llround(
      std::ceil(costs.tensor_scale * mma_cycles(device.generation, rate, tile_.m, tile_.n,
                                                static_cast<double>(step_k_)) +
                costs.step_cycles));
  // Accumulators to the output type, then through shared memory to the copy engine.
  const double elements = static_cast<double>(tile_.m) * tile_.n;
  const double convert = elements / (2.0 * device.sm.conversion_lanes);  // packed pairs
  const double through = elements * c_bytes_ / device.sm.shared_memory_rate;
  epilogue_cycles_ = std::llround(convert + through);
  if (implementation_.promotion_k > 0)
    promotion_cycles_ = std::llround(elements / 2 / device.sm.fp32_lanes *
                                     static_cast<double>(step_k_) / implementation_.promotion_k);

  const int slots = [&] {
    int count = 0;
    for (const int size : gpc_sizes) count += size / tile_.cluster;
    return count * resident;
  }();
  group_ = implementation_.group_rows;
  if (group_ == 0)
    group_ = std::llround(std::sqrt(static_cast<double>(slots) * tile_.n /
                                    (static_cast<double>(tile_.m) * tile_.cluster)));
  group_ = std::clamp<std::int64_t>(group_, 1, rows_);

  plan_.name =
      fmt::format("{}x{}x{}B {}{}{}", tile_.m, tile_.n, tile_.k_bytes, to_string(tile_.schedule),
                  tile_.cluster > 1 ? fmt::format(" cluster {}", tile_.cluster) : "",
                  split_ > 1 ? fmt::format(" split {}", split_) : "");
  plan_.tiles = gemm_.batch * rows_ * columns_ * split_;
  plan_.cluster = tile_.cluster;
  plan_.ctas_per_sm = resident;
  plan_.barriers = static_cast<int>(2 * stages_ + 5);
  plan_.persistent = implementation_.persistent;
  plan_.overlapped_epilogue =
      tile_.schedule == GemmSchedule::tmem || tile_.schedule == GemmSchedule::pingpong;
  plan_.stages = static_cast<int>(stages_);
  plan_.steps = static_cast<double>(steps_);
  const double inside_m =
      static_cast<double>(gemm_.m) /
      static_cast<double>(rows_ * tile_.cluster);  // rows of an average CTA tile
  const double inside_n = static_cast<double>(gemm_.n) / static_cast<double>(columns_);
  plan_.step.tensor = static_cast<double>(mma_cycles_);
  plan_.step.fp32 = 2.0 * static_cast<double>(promotion_cycles_);
  plan_.step.load_bytes = inside_m * a_step_bytes_ + inside_n * b_step_bytes_ / tile_.cluster;
  plan_.step.loads = 2;
  plan_.epilogue.conversion = static_cast<double>(epilogue_cycles_);
  plan_.prologue_cycles = costs.prologue_cycles;
  plan_.epilogue_cycles = costs.epilogue_cycles + (split_ > 1 ? costs.reduction_cycles : 0);
  plan_.store_bytes = inside_m * inside_n * (split_ > 1 ? kPartialBytes : c_bytes_);
  plan_.issue_cycles = costs.issue_cycles;
  const auto batch = static_cast<double>(gemm_.batch);
  const double a_total = batch * static_cast<double>(gemm_.m * total_steps_) * a_step_bytes_;
  const double b_total = batch * static_cast<double>(gemm_.n * total_steps_) * b_step_bytes_;
  const double c_total = batch * static_cast<double>(gemm_.m * gemm_.n) * c_bytes_;
  plan_.read_bytes = a_total + b_total + (gemm_.accumulate ? c_total : 0);
  plan_.warm_bytes = (residency_.activations ? a_total : 0) + (residency_.weights ? b_total : 0);
  plan_.write_bytes = c_total;
  describe_rereads();
  plan_.flops = workload::flops(gemm_).value();
  plan_.fp32_operations = 2.0 * static_cast<double>(promotion_cycles_) * device.sm.fp32_lanes *
                          static_cast<double>(total_steps_ * plan_.tiles / split_ * tile_.cluster) *
                          2;
}

/// Reads beyond the first of each operand: a group of bands keeps its rows of A from wave to wave,
/// and every group reads all of B again, from HBM when L2 has lost it meanwhile.
void GemmKernel::describe_rereads() {
  const auto depth = static_cast<double>(total_steps_);
  const double groups = std::ceil(static_cast<double>(rows_) / static_cast<double>(group_));
  const double b_product = static_cast<double>(gemm_.n) * depth * b_step_bytes_;
  const double group_rows =
      std::min(static_cast<double>(group_ * tile_.m * tile_.cluster), static_cast<double>(gemm_.m));
  plan_.reread_bytes = static_cast<double>(gemm_.batch) * (groups - 1) * b_product;
  plan_.reuse_distance = b_product + group_rows * depth * a_step_bytes_;
}

TilePlace GemmKernel::place(const Cta& cta, std::int64_t tile) const {
  const std::int64_t split = tile % split_;
  tile /= split_;
  const std::int64_t per_product = rows_ * columns_;
  const std::int64_t batch = tile / per_product;
  tile %= per_product;
  const std::int64_t first_band = tile / (group_ * columns_) * group_;
  const std::int64_t bands = std::min(group_, rows_ - first_band);
  tile -= first_band * columns_;
  return {.batch = batch,
          .row = (first_band + tile % bands) * tile_.cluster + cta.rank,
          .column = tile / bands,
          .split = split};
}

Box GemmKernel::a_box(const TilePlace& at, std::int64_t step) const {
  const auto rows = static_cast<double>(rows_inside(at.row));
  return {.tensor = kTensorA,
          .row = static_cast<std::uint32_t>(at.batch * rows_ * tile_.cluster + at.row),
          .column = static_cast<std::uint32_t>(step),
          .bytes = static_cast<std::uint32_t>(rows * a_step_bytes_)};
}

Box GemmKernel::b_box(const TilePlace& at, std::int64_t step, int slice) const {
  const auto columns = static_cast<double>(columns_inside(at.column));
  return {
      .tensor = kTensorB,
      .row = static_cast<std::uint32_t>(at.batch * columns_ + at.column),
      .column = static_cast<std::uint32_t>(step * tile_.cluster + slice),
      .bytes = static_cast<std::uint32_t>(std::max(1.0, columns * b_step_bytes_ / tile_.cluster))};
}

Box GemmKernel::c_box(const TilePlace& at, std::int64_t part) const {
  const double elements =
      static_cast<double>(rows_inside(at.row)) * static_cast<double>(columns_inside(at.column));
  return {.tensor = part < 0 ? kTensorC : kPartials,
          .row = static_cast<std::uint32_t>(at.batch * rows_ * tile_.cluster + at.row),
          .column = static_cast<std::uint32_t>(part < 0 ? at.column : at.column * split_ + part),
          .bytes = static_cast<std::uint32_t>(elements * (part < 0 ? c_bytes_ : kPartialBytes))};
}

std::vector<TileProgram> GemmKernel::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(producer(cta));
  if (promotion_cycles_ > 0) {
    programs.push_back(promoting_consumer(cta, 0));
    programs.push_back(promoting_consumer(cta, 1));
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

/// Keeps `stages` boxes of A and B in flight.
TileProgram GemmKernel::producer(const Cta& cta) const {
  const std::int64_t releases =
      (promotion_cycles_ > 0 ? 2 : 1) * static_cast<std::int64_t>(tile_.cluster);
  co_await delay(std::llround(plan_.prologue_cycles));
  std::int64_t use = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    for (std::int64_t step = first_step(at); step < last_step(at); ++step, ++use) {
      const std::int64_t stage = use % stages_;
      if (use >= stages_) co_await wait(empty(stage), use / stages_ * releases);
      const Box a = a_box(at, step);
      if (a.bytes > 0) {
        co_await load(a, full(stage));
      } else {
        co_await signal(full(stage));  // rows beyond the matrix are filled without a read
      }
      if (tile_.cluster > 1) {
        co_await load_multicast(b_box(at, step, cta.rank), full(stage));
      } else {
        co_await load(b_box(at, step, 0), full(stage));
      }
    }
  }
}

/// One of `consumers` warpgroup sets that multiply and store whole tiles in turn.
TileProgram GemmKernel::consumer(const Cta& cta, int index, int consumers) const {
  const std::int64_t arrivals = 1 + tile_.cluster;
  const auto operand_bytes =
      static_cast<std::uint32_t>(tile_.m * a_step_bytes_ + tile_.n * b_step_bytes_);
  std::int64_t use = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    const std::int64_t steps = last_step(at) - first_step(at);
    if (static_cast<int>(t) % consumers != index) {
      use += steps;
      continue;
    }
    if (consumers > 1 && t > 0) co_await wait(turn(), static_cast<std::int64_t>(t));
    for (const std::int64_t end = use + steps; use < end; ++use) {
      const std::int64_t stage = use % stages_;
      co_await wait(full(stage), (use / stages_ + 1) * arrivals);
      co_await mma(mma_cycles_, operand_bytes, empty(stage), tile_.cluster > 1);
    }
    if (consumers > 1) co_await mma(0, 0, turn());
    co_await mma(0, 0, promoted(index));
    co_await wait(promoted(index), static_cast<std::int64_t>(t) / consumers + 1);
    co_await delay(std::llround(plan_.epilogue_cycles));
    if (split_ > 1) {
      co_await store(c_box(at, at.split));
      co_await wait_stores();
      if (cta.source->arrive(tile / split_ * tile_.cluster + cta.rank) < split_ - 1) continue;
      for (std::int64_t part = 0; part < split_; ++part)
        if (part != at.split) co_await load(c_box(at, part), drained());
      co_await wait(drained(), split_ - 1);
    } else if (gemm_.accumulate) {
      co_await load(c_box(at, -1), drained());
    }
    co_await compute(Pipe::conversion, epilogue_cycles_);
    co_await store(c_box(at, -1));
  }
}

/// One of two warpgroups of a block-scaled FP8 GEMM, each on half of the rows: every step's product
/// leaves the tensor core and is scaled and added in FP32 while the other warpgroup multiplies.
TileProgram GemmKernel::promoting_consumer(const Cta& cta, int index) const {
  const std::int64_t arrivals = 1 + tile_.cluster;
  const auto operand_bytes =
      static_cast<std::uint32_t>(tile_.m * a_step_bytes_ / 2 + tile_.n * b_step_bytes_);
  std::int64_t use = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    const std::int64_t end = use + last_step(at) - first_step(at);
    for (; use < end; ++use) {
      const std::int64_t stage = use % stages_;
      co_await wait(full(stage), (use / stages_ + 1) * arrivals);
      co_await mma((mma_cycles_ + 1) / 2, operand_bytes, promoted(index));
      co_await wait(promoted(index), use + 1);
      co_await signal(empty(stage), tile_.cluster > 1);
      co_await delay(std::llround(implementation_.costs.mma_latency_cycles));
      co_await compute(Pipe::fp32, promotion_cycles_);
    }
    co_await delay(std::llround(plan_.epilogue_cycles));
    if (gemm_.accumulate && index == 0) co_await load(c_box(at, -1), drained());
    co_await compute(Pipe::conversion, epilogue_cycles_ / 2);
    if (index == 1) co_await store(c_box(at, -1));
  }
}

/// The one thread that issues tcgen05: it runs ahead of the epilogue by one accumulator in TMEM.
TileProgram GemmKernel::mma_issuer(const Cta& cta) const {
  const std::int64_t arrivals = 1 + tile_.cluster;
  const auto operand_bytes =
      static_cast<std::uint32_t>(tile_.m * a_step_bytes_ + tile_.n * b_step_bytes_);
  std::int64_t use = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    if (t >= 2) co_await wait(drained(), static_cast<std::int64_t>(t) - 1);
    for (const std::int64_t end = use + last_step(at) - first_step(at); use < end; ++use) {
      const std::int64_t stage = use % stages_;
      co_await wait(full(stage), (use / stages_ + 1) * arrivals);
      co_await mma(mma_cycles_, operand_bytes, empty(stage), tile_.cluster > 1);
    }
    co_await mma(0, 0, accumulator());
  }
}

TileProgram GemmKernel::tmem_epilogue(const Cta& cta) const {
  std::int64_t loaded = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const TilePlace at = place(cta, tile);
    co_await wait(accumulator(), static_cast<std::int64_t>(t) + 1);
    co_await delay(std::llround(plan_.epilogue_cycles));
    if (split_ > 1) {
      co_await signal(drained());
      co_await store(c_box(at, at.split));
      co_await wait_stores();
      if (cta.source->arrive(tile / split_ * tile_.cluster + cta.rank) < split_ - 1) continue;
      for (std::int64_t part = 0; part < split_; ++part)
        if (part != at.split) co_await load(c_box(at, part), promoted(0));
      loaded += split_ - 1;
      co_await wait(promoted(0), loaded);
      co_await compute(Pipe::conversion, epilogue_cycles_);
    } else {
      if (gemm_.accumulate) co_await load(c_box(at, -1), promoted(0));
      co_await compute(Pipe::conversion, epilogue_cycles_);
      co_await signal(drained());
    }
    co_await store(c_box(at, -1));
  }
}

std::vector<WarmBox> GemmKernel::warm_boxes() const {
  std::vector<WarmBox> boxes;
  for (std::int64_t batch = 0; batch < gemm_.batch; ++batch) {
    if (residency_.outputs)
      for (std::int64_t row = 0; row < rows_ * tile_.cluster; ++row)
        for (std::int64_t column = 0; column < columns_; ++column)
          boxes.push_back({c_box({batch, row, column, 0}, -1), true});
    if (residency_.weights)
      for (std::int64_t column = 0; column < columns_; ++column)
        for (std::int64_t step = 0; step < total_steps_; ++step)
          for (int slice = 0; slice < tile_.cluster; ++slice)
            boxes.push_back({b_box({batch, 0, column, 0}, step, slice), false});
    if (residency_.activations)
      for (std::int64_t row = 0; row < rows_ * tile_.cluster; ++row)
        for (std::int64_t step = 0; step < total_steps_; ++step)
          boxes.push_back({a_box({batch, row, 0, 0}, step), false});
  }
  std::erase_if(boxes, [](const WarmBox& warm) { return warm.box.bytes == 0; });
  return boxes;
}

}  // namespace

double mma_cycles(Generation generation, double flops_per_cycle, double m, double n, double k) {
  const double ideal = 2.0 * m * n * k / flops_per_cycle;
  // Swapped operands: a kernel for few rows puts the long side on the instruction's m.
  const double wide = std::max(m, n);
  const double narrow = std::min(m, n);
  switch (generation) {
    case Generation::hopper: {
      const double instruction_n = wide >= 64 && narrow < 64 ? narrow : std::min(n, 256.0);
      return ideal * std::max(1.0, (16 + instruction_n / 4) / (instruction_n / 2));
    }
    case Generation::blackwell: {
      const double instruction_n = wide >= 128 && narrow < 128 ? narrow : std::min(n, 256.0);
      const double half_rate = wide < 128 ? 2.0 : 1.0;
      return ideal * half_rate * std::max(1.0, 44.0 / (instruction_n / 2));
    }
    case Generation::ampere:
    case Generation::ada:
    case Generation::blackwell_client:
      return ideal * std::max(1.0, 16.0 / narrow);
  }
  return ideal;
}

std::vector<GemmConfiguration> gemm_configurations(const Gemm& gemm,
                                                   const device::DeviceSpec& device,
                                                   const Implementation& implementation) {
  std::vector<GemmConfiguration> configurations;
  const double a_bytes = core::activation_bits(gemm.type) / 8.0;
  const double b_bytes = core::weight_bits(gemm.type) / 8.0;
  for (const TileShape& tile : implementation.tiles) {
    const double step_k = tile.k_bytes / a_bytes;
    const double stage = tile.m * step_k * a_bytes + tile.n * step_k * b_bytes;
    const auto smem = static_cast<double>(device.sm.shared_memory_per_cta.value());
    if (2 * stage * implementation.max_ctas_per_sm > smem - static_cast<double>(kBarrierBytes))
      continue;
    if (tile.cluster > 1 && gemm.m <= tile.m) continue;  // the other CTAs would have no rows
    for (const int split : implementation.splits) {
      if (split > 1 && (implementation.promotion_k > 0 || gemm.accumulate)) continue;
      if (split > 1 && static_cast<double>(gemm.k) < 4 * split * step_k) continue;
      configurations.push_back({tile, split});
    }
  }
  return configurations;
}

std::unique_ptr<TileKernel> make_gemm(const Gemm& gemm, const device::DeviceSpec& device,
                                      const Implementation& implementation,
                                      const GemmConfiguration& configuration,
                                      const Residency& residency,
                                      const std::vector<int>& gpc_sizes) {
  return std::make_unique<GemmKernel>(gemm, device, implementation, configuration, residency,
                                      gpc_sizes);
}

}  // namespace tessera::kernels
