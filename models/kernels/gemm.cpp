#include "models/kernels/gemm.hpp"

#include <algorithm>
#include <cmath>

#include "models/kernels/gemm_kernel.hpp"

namespace tessera::kernels {

using device::Generation;
using workload::Gemm;

namespace {

constexpr std::int64_t kBarrierBytes =
    1024;  ///< Of shared memory: barriers and descriptors. // assumed

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
  /// The tile of `cta` in the cluster at a band and column of clusters.
  [[nodiscard]] TilePlace in_cluster(const Cta& cta, std::int64_t batch, std::int64_t band,
                                     std::int64_t column, std::int64_t split) const;
  /// The same of the `index`th cluster of those that share nothing.
  [[nodiscard]] TilePlace in_rest(const Cta& cta, std::int64_t batch, std::int64_t index,
                                  std::int64_t split) const;
  void count_tiles(const std::vector<int>& gpc_sizes);
  void describe_traffic();
  void describe_rereads();

  Gemm gemm_;
  Residency residency_;
  std::int64_t total_steps_ = 1;  ///< Along the whole k.
  std::int64_t steps_ = 1;        ///< Of one CTA.
  std::int64_t tile_rows_ = 1;
  std::int64_t tile_columns_ = 1;
  std::int64_t bands_ = 1;    ///< Of clusters whose tiles share an operand,
  std::int64_t columns_ = 1;  ///< and those of one band.
  std::int64_t rest_ = 0;     ///< Clusters of one product that share nothing.
  std::int64_t group_ = 1;    ///< Bands visited together.
};

DenseGemm::DenseGemm(const Gemm& gemm, const device::DeviceSpec& device,
                     const Implementation& implementation, const GemmConfiguration& configuration,
                     const Residency& residency, const std::vector<int>& gpc_sizes)
    : GemmKernel(gemm, device, implementation, configuration), gemm_(gemm), residency_(residency) {
  total_steps_ = divide_up(gemm.k, step_k_);
  steps_ = divide_up(total_steps_, split_);
  count_tiles(gpc_sizes);
  plan_.tiles = gemm_.batch * (bands_ * columns_ + rest_) * split_;
  plan_.steps = static_cast<double>(steps_);
  const std::int64_t clusters = plan_.tiles / split_;
  // Of an average CTA tile: CTAs of a cluster that have none lower it.
  const auto places =
      static_cast<double>(clusters * tile_.cluster) / static_cast<double>(gemm_.batch);
  const double row_places = places / static_cast<double>(tile_columns_);
  describe_tiles(
      static_cast<double>(gemm_.m) / std::max(static_cast<double>(tile_rows_), row_places),
      static_cast<double>(gemm_.n) / static_cast<double>(tile_columns_),
      static_cast<double>(total_steps_ * clusters));
  plan_.shared_rows = group_;
  plan_.shared_parts = split_;
  plan_.shared_row_bytes =
      static_cast<double>(std::min<std::int64_t>(gemm_.m, tile_.m * cluster_rows())) *
      a_step_bytes_;
  plan_.shared_column_bytes =
      static_cast<double>(std::min<std::int64_t>(gemm_.n, tile_.n * cluster_columns())) *
      b_step_bytes_;
  describe_traffic();
  describe_rereads();
  plan_.flops = workload::flops(gemm_).value();
}

void DenseGemm::count_tiles(const std::vector<int>& gpc_sizes) {
  tile_rows_ = divide_up(gemm_.m, tile_.m);
  tile_columns_ = divide_up(gemm_.n, tile_.n);
  if (tile_.lone_rest) {
    bands_ = tile_rows_ / cluster_rows();
    columns_ = tile_columns_ / cluster_columns();
    rest_ = divide_up(tile_rows_ * tile_columns_, tile_.cluster) - bands_ * columns_;
  } else {
    bands_ = divide_up(tile_rows_, cluster_rows());
    columns_ = divide_up(tile_columns_, cluster_columns());
  }
  group_ = raster_group(gpc_sizes, bands_);
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
  const double groups = std::ceil(static_cast<double>(bands_) / static_cast<double>(group_));
  const double b_product = static_cast<double>(gemm_.n) * depth * b_step_bytes_;
  const double group_rows = std::min(static_cast<double>(group_ * tile_.m * cluster_rows()),
                                     static_cast<double>(gemm_.m));
  plan_.reread_bytes = static_cast<double>(gemm_.batch) * std::max(0.0, groups - 1) * b_product;
  plan_.reuse_distance = b_product + group_rows * depth * a_step_bytes_;
}

TilePlace DenseGemm::place(const Cta& cta, std::int64_t tile) const {
  const std::int64_t split = tile % split_;
  tile /= split_;
  const std::int64_t sharing = bands_ * columns_;
  const std::int64_t batch = tile / (sharing + rest_);
  tile %= sharing + rest_;
  if (tile >= sharing) return in_rest(cta, batch, tile - sharing, split);
  const std::int64_t first_band = tile / (group_ * columns_) * group_;
  const std::int64_t bands = std::min(group_, bands_ - first_band);
  tile -= first_band * columns_;
  return in_cluster(cta, batch, first_band + tile % bands, tile / bands, split);
}

TilePlace DenseGemm::in_cluster(const Cta& cta, std::int64_t batch, std::int64_t band,
                                std::int64_t column, std::int64_t split) const {
  const bool above = tile_.side == ClusterSide::rows;
  return at(batch, band * cluster_rows() + (above ? cta.rank : 0),
            column * cluster_columns() + (above ? 0 : cta.rank), split);
}

TilePlace DenseGemm::in_rest(const Cta& cta, std::int64_t batch, std::int64_t index,
                             std::int64_t split) const {
  // Along the last tile row or column.
  const std::int64_t along = index * tile_.cluster + cta.rank;
  TilePlace place = tile_.side == ClusterSide::rows ? at(batch, tile_rows_ - 1, along, split)
                                                    : at(batch, along, tile_columns_ - 1, split);
  place.alone = true;
  return place;
}

TilePlace DenseGemm::at(std::int64_t batch, std::int64_t row, std::int64_t column,
                        std::int64_t split) const {
  const auto places = [](std::int64_t tiles, int side) { return divide_up(tiles, side) * side; };
  const std::int64_t row_of_all = batch * places(tile_rows_, cluster_rows()) + row;
  return {.a_row = row_of_all,
          .b_row = batch * places(tile_columns_, cluster_columns()) + column,
          .c_row = row_of_all,
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
      for (std::int64_t row = 0; row < tile_rows_; ++row)
        for (std::int64_t column = 0; column < tile_columns_; ++column)
          boxes.push_back({c_box(at(batch, row, column, 0), false), true});
    if (residency_.weights_part > 0)
      for (std::int64_t column = 0; column < tile_columns_; ++column)
        for (std::int64_t step = 0; step < total_steps_; ++step)
          for (int slice = 0; slice < cluster_rows(); ++slice)
            add_survivor(b_box(at(batch, 0, column, 0), step, slice), residency_.weights_part,
                         boxes);
    if (residency_.activations_part > 0)
      for (std::int64_t row = 0; row < tile_rows_; ++row)
        for (std::int64_t step = 0; step < total_steps_; ++step)
          for (int slice = 0; slice < cluster_columns(); ++slice)
            add_survivor(a_box(at(batch, row, 0, 0), step, slice), residency_.activations_part,
                         boxes);
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
  std::vector<GemmConfiguration> partly_idle;  // clusters of which all CTAs but one have no part
  const double a_bytes = core::activation_bits(gemm.type) / 8.0;
  const double b_bytes = core::weight_bits(gemm.type) / 8.0;
  for (const TileShape& tile : implementation.tiles) {
    if (gemm.m < tile.rows_from || (tile.rows_to > 0 && gemm.m > tile.rows_to)) continue;
    if (!tile.types.empty() && !tile.types.contains(gemm.type)) continue;
    const double step_k = tile.k_bytes / a_bytes;
    const double stage = tile.m * step_k * a_bytes + tile.n * step_k * b_bytes;
    const auto smem = static_cast<double>(device.sm.shared_memory_per_cta.value());
    if (2 * stage * tile.ctas_per_sm > smem - static_cast<double>(kBarrierBytes)) continue;
    const bool alone = tile.side == ClusterSide::rows ? gemm.m <= tile.m : gemm.n <= tile.n;
    auto& launched = tile.cluster > 1 && alone ? partly_idle : configurations;
    for (const int split : implementation.splits) {
      if (split > 1 && (promotes(implementation, gemm.type) || gemm.accumulate)) continue;
      if (split > 1 && static_cast<double>(gemm.k) < 4 * split * step_k) continue;
      launched.push_back({tile, split});
    }
  }
  return configurations.empty() ? partly_idle : configurations;
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
