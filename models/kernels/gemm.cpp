#include "models/kernels/gemm.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/kernels/gemm_kernel.hpp"

namespace tessera::kernels {

using device::Generation;
using workload::Gemm;

namespace {

constexpr std::int64_t kBarrierBytes =
    1024;  ///< Of shared memory: barriers and descriptors. // assumed

constexpr std::int64_t kMulticastRows =
    512;  ///< Fewer are not multicast. DeepGEMM, heuristics/common.hpp.

/// `gemm.batch` equal products, each cut into bands of cluster-high tile rows.
class DenseGemm : public GemmKernel {
 public:
  DenseGemm(const Gemm& gemm, const device::DeviceSpec& device,
            const Implementation& implementation, const GemmConfiguration& configuration,
            const Residency& residency, const std::vector<int>& gpc_sizes);

  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;

 private:
  [[nodiscard]] TilePlace place(const Cta& cta, std::int64_t tile) const override;
  [[nodiscard]] TilePlace at(std::int64_t batch, std::int64_t row, std::int64_t column,
                             std::int64_t split) const;
  void delay_lone_tall_tiles(const std::vector<int>& gpc_sizes);
  void describe_traffic();
  void describe_rereads();

  Gemm gemm_;
  Residency residency_;
  std::int64_t total_steps_ = 1;  ///< Along the whole k.
  std::int64_t steps_ = 1;        ///< Of one CTA.
  std::int64_t rows_ = 1;         ///< Tile rows of one cluster-high band.
  std::int64_t columns_ = 1;
  std::int64_t group_ = 1;  ///< Bands visited together.
};

DenseGemm::DenseGemm(const Gemm& gemm, const device::DeviceSpec& device,
                     const Implementation& implementation, const GemmConfiguration& configuration,
                     const Residency& residency, const std::vector<int>& gpc_sizes)
    : GemmKernel(gemm, device, implementation, configuration), gemm_(gemm), residency_(residency) {
  total_steps_ = divide_up(gemm.k, step_k_);
  steps_ = divide_up(total_steps_, split_);
  rows_ = divide_up(gemm.m, static_cast<std::int64_t>(tile_.m) * tile_.cluster);
  columns_ = divide_up(gemm.n, tile_.n);
  group_ = raster_group(gpc_sizes, rows_);
  plan_.tiles = gemm_.batch * rows_ * columns_ * split_;
  plan_.steps = static_cast<double>(steps_);
  delay_lone_tall_tiles(gpc_sizes);
  const std::int64_t whole_tiles = plan_.tiles / split_;
  // Of an average CTA tile.
  describe_tiles(static_cast<double>(gemm_.m) / static_cast<double>(rows_ * tile_.cluster),
                 static_cast<double>(gemm_.n) / static_cast<double>(columns_),
                 static_cast<double>(total_steps_ * whole_tiles));
  plan_.shared_rows = group_;
  plan_.shared_parts = split_;
  plan_.shared_row_bytes = static_cast<double>(std::min<std::int64_t>(
                               gemm_.m, static_cast<std::int64_t>(tile_.m) * tile_.cluster)) *
                           a_step_bytes_;
  plan_.shared_column_bytes =
      static_cast<double>(std::min<std::int64_t>(gemm_.n, tile_.n)) * b_step_bytes_;
  describe_traffic();
  describe_rereads();
  plan_.flops = workload::flops(gemm_).value();
}

/// Of an implementation that states `lone_tall_step`: tiles of two bands of rows for a warpgroup,
/// in whole 32s of columns, take several times as long a step when one wave holds them all; in more
/// waves, or with other columns, they do not.
void DenseGemm::delay_lone_tall_tiles(const std::vector<int>& gpc_sizes) {
  constexpr int kBands = 128;          // rows that two warpgroups multiply at once
  constexpr int kColumns = 32;         // measured: 96 and 128 columns, not 80 or 112
  constexpr std::int64_t kRows = 192;  // fewer leave the last band empty
  const auto delay = implementation_parameter("lone_tall_step");
  const std::int64_t sms = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), std::int64_t{0});
  if (!delay || tile_.m <= kBands || tile_.n % kColumns != 0 || gemm_.m <= kRows) return;
  if (plan_.tiles * tile_.cluster <= sms) delay_promotion(*delay);
}

void DenseGemm::describe_traffic() {
  const auto batch = static_cast<double>(gemm_.batch);
  const double a_total = batch * static_cast<double>(gemm_.m * total_steps_) * a_step_bytes_;
  const double b_total = batch * static_cast<double>(gemm_.n * total_steps_) * b_step_bytes_;
  const double c_total = batch * static_cast<double>(gemm_.m * gemm_.n) * c_bytes_;
  plan_.read_bytes = a_total + b_total + (gemm_.accumulate ? c_total : 0);
  plan_.warm_bytes = residency_.activations_part * a_total + residency_.weights_part * b_total;
  plan_.write_bytes = c_total;
  plan_.overwrites = residency_.outputs;
}

/// Reads beyond the first of each operand: a group of bands keeps its rows of A from wave to wave,
/// and every group reads all of B again, from HBM when L2 has lost it meanwhile.
void DenseGemm::describe_rereads() {
  const auto depth = static_cast<double>(total_steps_);
  const double groups = std::ceil(static_cast<double>(rows_) / static_cast<double>(group_));
  const double b_product = static_cast<double>(gemm_.n) * depth * b_step_bytes_;
  const double group_rows =
      std::min(static_cast<double>(group_ * tile_.m * tile_.cluster), static_cast<double>(gemm_.m));
  plan_.reread_bytes = static_cast<double>(gemm_.batch) * (groups - 1) * b_product;
  plan_.reuse_distance = b_product + group_rows * depth * a_step_bytes_;
}

TilePlace DenseGemm::place(const Cta& cta, std::int64_t tile) const {
  const std::int64_t split = tile % split_;
  tile /= split_;
  const std::int64_t per_product = rows_ * columns_;
  const std::int64_t batch = tile / per_product;
  tile %= per_product;
  const std::int64_t first_band = tile / (group_ * columns_) * group_;
  const std::int64_t bands = std::min(group_, rows_ - first_band);
  tile -= first_band * columns_;
  return at(batch, (first_band + tile % bands) * tile_.cluster + cta.rank, tile / bands, split);
}

TilePlace DenseGemm::at(std::int64_t batch, std::int64_t row, std::int64_t column,
                        std::int64_t split) const {
  const std::int64_t global_row = batch * rows_ * tile_.cluster + row;
  return {.a_row = global_row,
          .b_row = batch * columns_ + column,
          .c_row = global_row,
          .c_column = column,
          .rows = std::clamp<std::int64_t>(gemm_.m - row * tile_.m, 0, tile_.m),
          .columns = std::clamp<std::int64_t>(gemm_.n - column * tile_.n, 0, tile_.n),
          .first_step = split * steps_,
          .last_step = std::min(total_steps_, (split + 1) * steps_),
          .split = split};
}

std::vector<WarmBox> DenseGemm::warm_boxes() const {
  std::vector<WarmBox> boxes;
  for (std::int64_t batch = 0; batch < gemm_.batch; ++batch) {
    if (residency_.outputs)
      for (std::int64_t row = 0; row < rows_ * tile_.cluster; ++row)
        for (std::int64_t column = 0; column < columns_; ++column)
          boxes.push_back({c_box(at(batch, row, column, 0), false), true});
    if (residency_.weights_part > 0)
      for (std::int64_t column = 0; column < columns_; ++column)
        for (std::int64_t step = 0; step < total_steps_; ++step)
          for (int slice = 0; slice < tile_.cluster; ++slice)
            add_survivor(b_box(at(batch, 0, column, 0), step, slice), residency_.weights_part,
                         boxes);
    if (residency_.activations_part > 0)
      for (std::int64_t row = 0; row < rows_ * tile_.cluster; ++row)
        for (std::int64_t step = 0; step < total_steps_; ++step)
          add_survivor(a_box(at(batch, row, 0, 0), step), residency_.activations_part, boxes);
  }
  std::erase_if(boxes, [](const WarmBox& warm) { return warm.box.bytes == 0; });
  return boxes;
}

}  // namespace

double mma_cycles(const device::DeviceSpec& device, core::DataType type, double m, double n,
                  double k) {
  constexpr double kInstructionBytes = 32;  // of k, in every type
  const double ideal = 2.0 * m * n * k / device.sm.tensor_flops.at(type);
  const double k_steps = k * core::activation_bits(type) / 8 / kInstructionBytes;
  // Swapped operands: a kernel for few rows puts the long side on the instruction's m.
  const double wide = std::max(m, n);
  const double narrow = std::min(m, n);
  switch (device.generation) {
    case Generation::hopper: {
      const double instruction_n = wide >= 64 && narrow < 64 ? narrow : std::min(n, 256.0);
      const double instructions = m / 64 * n / instruction_n * k_steps;
      return std::max(ideal, instructions * (16 + instruction_n / 4));
    }
    case Generation::blackwell: {
      const double instruction_n = wide >= 128 && narrow < 128 ? narrow : std::min(n, 256.0);
      const double half_rate = wide < 128 ? 2.0 : 1.0;
      const double instructions = m / 128 * n / instruction_n * k_steps;
      return half_rate * std::max(ideal, instructions * 44);
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
    if (gemm.m < tile.rows_from || (tile.rows_to > 0 && gemm.m > tile.rows_to)) continue;
    const double step_k = tile.k_bytes / a_bytes;
    const double stage = tile.m * step_k * a_bytes + tile.n * step_k * b_bytes;
    const auto smem = static_cast<double>(device.sm.shared_memory_per_cta.value());
    if (2 * stage * tile.ctas_per_sm > smem - static_cast<double>(kBarrierBytes)) continue;
    if (tile.cluster > 1 && gemm.m <= tile.m) continue;  // the other CTAs would have no rows
    for (const int split : implementation.splits) {
      if (split > 1 && (promotes(implementation, gemm.type) || gemm.accumulate)) continue;
      if (split > 1 && static_cast<double>(gemm.k) < 4 * split * step_k) continue;
      configurations.push_back({tile, split});
    }
  }
  return configurations;
}

GemmConfiguration choose_by_waves(const Gemm& gemm, int sms,
                                  const std::vector<GemmConfiguration>& configurations) {
  struct Candidate {
    const GemmConfiguration* configuration;
    std::int64_t waves, last;
  };
  const auto wanted = [&](const TileShape& tile) {
    const bool pairs = gemm.m >= kMulticastRows && divide_up(gemm.m, tile.m) % 2 == 0;
    return tile.cluster == (pairs ? 2 : 1);
  };
  const auto beats = [&](const Candidate& a, const Candidate& b) {
    if (a.waves != b.waves) return a.waves < b.waves;
    if (a.last != b.last) return a.last > b.last;
    const TileShape& x = a.configuration->tile;
    const TileShape& y = b.configuration->tile;
    if (x.m == y.m) return x.n < y.n;
    if (x.n == y.n) return x.m < y.m;
    return x.n > y.n && x.n <= gemm.n && x.m <= gemm.m;
  };
  const Candidate none{nullptr, 0, 0};
  Candidate best = none;
  for (const GemmConfiguration& configuration : configurations) {
    const TileShape& tile = configuration.tile;
    if (!wanted(tile)) continue;
    const std::int64_t tiles = gemm.batch * divide_up(gemm.m, tile.m) * divide_up(gemm.n, tile.n);
    const std::int64_t last = tiles % sms == 0 ? sms : tiles % sms;
    const Candidate candidate{&configuration, divide_up(tiles, sms), last};
    if (best.configuration == nullptr || beats(candidate, best)) best = candidate;
  }
  return best.configuration == nullptr ? configurations.front() : *best.configuration;
}

std::unique_ptr<TileKernel> make_gemm(const Gemm& gemm, const device::DeviceSpec& device,
                                      const Implementation& implementation,
                                      const GemmConfiguration& configuration,
                                      const Residency& residency,
                                      const std::vector<int>& gpc_sizes) {
  return std::make_unique<DenseGemm>(gemm, device, implementation, configuration, residency,
                                     gpc_sizes);
}

}  // namespace tessera::kernels
