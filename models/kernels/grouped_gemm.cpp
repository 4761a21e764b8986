#include "models/kernels/grouped_gemm.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "models/kernels/gemm_kernel.hpp"
#include "models/kernels/tile_choice.hpp"

namespace tessera::kernels {

using workload::GroupedGemm;

namespace {

/// Steps from which on a wave averages over enough of them to be compared with the next alone.
constexpr double kLongTile = 16;

/// Rows to which a contiguous layout pads each group: its parameter `group_alignment`, or none.
std::int64_t alignment(const Implementation& implementation) {
  return std::llround(parameter_or(implementation, "group_alignment", 1));
}

/// Pairs of TMA descriptors that a group has: of operands, and of their scales.
int descriptor_pairs(core::DataType type) { return core::activation_scale_bytes(type) > 0 ? 2 : 1; }

/// Rows of a group that the host plans for. Requires: a group.
std::int64_t planned_rows(const GroupedGemm& g) {
  if (g.planned_rows > 0) return g.planned_rows;
  return divide_up(std::accumulate(g.sizes.begin(), g.sizes.end(), std::int64_t{0}),
                   static_cast<std::int64_t>(g.sizes.size()));
}

/// A product of the group's shape, for what depends on types alone.
workload::Gemm product(const GroupedGemm& g, std::int64_t size) {
  const bool rows = g.varying == GroupedGemm::Varying::rows;
  return {.m = rows ? size : g.fixed,
          .n = g.n,
          .k = rows ? g.fixed : size,
          .type = g.type,
          .output = g.output,
          .accumulate = g.accumulate,
          .both_operands_row_scaled = g.both_operands_row_scaled};
}

class GroupedGemmKernel : public GemmKernel {
 public:
  GroupedGemmKernel(const GroupedGemm& grouped, const device::DeviceSpec& device,
                    const Implementation& implementation, const GemmConfiguration& configuration,
                    const Residency& residency, const std::vector<int>& gpc_sizes);

  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;
  /// In main-loop steps.
  [[nodiscard]] double work_before(std::int64_t tile) const override;

 private:
  /// One product that is not empty.
  struct Group {
    std::int64_t index = 0;       ///< In `sizes`.
    std::int64_t first_tile = 0;  ///< Work item.
    std::int64_t first_row = 0;   ///< Tile row of A and C, counted over all groups.
    std::int64_t m = 0;           ///< Padding included.
    std::int64_t bands = 0;       ///< Cluster-high.
    std::int64_t raster = 1;      ///< Bands visited together.
    std::int64_t steps = 0;
    double work = 0;  ///< Main-loop steps of the groups before.
  };

  [[nodiscard]] TilePlace place(const Cta& cta, std::int64_t tile) const override;
  [[nodiscard]] const Group& group_of(std::int64_t tile) const;
  /// Of a tile's row in its group and column of B, in tiles.
  [[nodiscard]] TilePlace at(const Group& group, std::int64_t row, std::int64_t column) const;
  /// Rows of A that a cluster's tiles cover.
  [[nodiscard]] std::int64_t band_rows() const {
    return static_cast<std::int64_t>(tile_.m) * cluster_rows();
  }
  void lay_out(const Implementation& implementation, const std::vector<int>& gpc_sizes);
  void describe_groups();
  void describe_switches(const std::vector<int>& gpc_sizes);
  /// CTAs that the host starts for rows which other ranks' experts may leave to these, as it does
  /// not know the sizes.
  [[nodiscard]] double idle_ctas() const;

  GroupedGemm grouped_;
  Residency residency_;
  std::int64_t tile_columns_ = 1;
  std::int64_t columns_ = 1;  ///< Of clusters.
  std::vector<Group> groups_;
};

GroupedGemmKernel::GroupedGemmKernel(const GroupedGemm& grouped, const device::DeviceSpec& device,
                                     const Implementation& implementation,
                                     const GemmConfiguration& configuration,
                                     const Residency& residency, const std::vector<int>& gpc_sizes)
    : GemmKernel(product(grouped, 1), device, implementation, configuration),
      grouped_(grouped),
      residency_(residency) {
  tile_columns_ = divide_up(grouped.n, tile_.n);
  columns_ = divide_up(tile_columns_, cluster_columns());
  switch_cycles_ = std::llround(parameter_or(implementation, "group_switch", 0) *
                                descriptor_pairs(grouped.type));
  walk_cycles_ = std::llround(parameter_or(implementation, "group_walk", 0));
  walked_groups_ = static_cast<std::int64_t>(grouped.sizes.size());
  lay_out(implementation, gpc_sizes);
  const auto sms = static_cast<double>(std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), 0));
  idle_cycles_ = std::llround(idle_ctas() * parameter_or(implementation, "idle_cta", 0) / sms);
  describe_groups();
  describe_switches(gpc_sizes);
}

void GroupedGemmKernel::lay_out(const Implementation& implementation,
                                const std::vector<int>& gpc_sizes) {
  const bool rows_vary = grouped_.varying == GroupedGemm::Varying::rows;
  const std::int64_t pad = rows_vary && !grouped_.masked ? alignment(implementation) : 1;
  std::int64_t tiles = 0;
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < grouped_.sizes.size(); ++i) {
    const std::int64_t size = grouped_.sizes[i];
    if (size == 0) continue;
    Group group;
    group.index = static_cast<std::int64_t>(i);
    group.first_tile = tiles;
    group.first_row = rows;
    group.m = rows_vary ? divide_up(size, pad) * pad : grouped_.fixed;
    group.bands = divide_up(group.m, band_rows());
    group.raster = raster_group(gpc_sizes, group.bands);
    group.steps = divide_up(rows_vary ? grouped_.fixed : size, step_k_);
    tiles += group.bands * columns_;
    rows += group.bands * cluster_rows();
    groups_.push_back(group);
  }
  plan_.tiles = tiles;
}

void GroupedGemmKernel::describe_groups() {
  double a_total = 0, b_total = 0, c_total = 0, steps = 0, rows = 0, tile_rows = 0;
  for (Group& g : groups_) {
    g.work = steps;
    const auto m = static_cast<double>(g.m);
    const auto depth = static_cast<double>(g.steps);
    const double b = static_cast<double>(grouped_.n) * depth * b_step_bytes_;
    a_total += m * depth * a_step_bytes_;
    b_total += b;
    c_total += m * static_cast<double>(grouped_.n) * c_bytes_;
    steps += depth * static_cast<double>(g.bands * columns_);
    rows += m;
    tile_rows += static_cast<double>(g.bands * cluster_rows());
    const double visits = static_cast<double>(divide_up(g.bands, g.raster));
    const double raster_rows = std::min(static_cast<double>(g.raster * band_rows()), m);
    plan_.reread_bytes += (visits - 1) * b;
    plan_.reuse_distance = std::max(plan_.reuse_distance, b + raster_rows * depth * a_step_bytes_);
    plan_.longest_steps = std::max(plan_.longest_steps, depth);
  }
  const double tiles = std::max(1.0, static_cast<double>(plan_.tiles));
  if (!groups_.empty()) {
    const Group& typical = groups_[groups_.size() / 2];
    plan_.shared_rows = typical.raster;
    plan_.shared_tiles = typical.bands * columns_;
    plan_.shared_row_bytes =
        static_cast<double>(std::min<std::int64_t>(typical.m, band_rows())) * a_step_bytes_;
    plan_.shared_column_bytes =
        static_cast<double>(std::min<std::int64_t>(grouped_.n, tile_.n * cluster_columns())) *
        b_step_bytes_;
  }
  plan_.steps = steps / tiles;
  if (plan_.longest_steps <= plan_.steps) plan_.longest_steps = 0;
  if (plan_.steps >= kLongTile) plan_.steady_waves = 1;
  describe_tiles(rows / std::max(1.0, tile_rows),
                 static_cast<double>(grouped_.n) / static_cast<double>(tile_columns_), steps);
  plan_.read_bytes = a_total + b_total + (accumulate_ ? c_total : 0);
  plan_.warm_bytes = (residency_.activations ? a_total : 0) + (residency_.weights ? b_total : 0);
  plan_.write_bytes = c_total;
  plan_.flops = workload::flops(grouped_).value();
}

/// A persistent CTA's next tile is as many tiles on as clusters run at once: in another group where
/// groups are smaller than that.
void GroupedGemmKernel::describe_switches(const std::vector<int>& gpc_sizes) {
  if (groups_.empty()) return;
  double slots = 0;
  for (const int size : gpc_sizes) {
    const int clusters = size * tile_.ctas_per_sm / tile_.cluster;  // whole ones
    slots += clusters;
  }
  // CTAs with several tiles walk on while they multiply.
  plan_.walk_cycles = static_cast<double>(walk_cycles_ * walked_groups_) *
                          std::min(1.0, slots / static_cast<double>(plan_.tiles)) +
                      static_cast<double>(idle_cycles_);
  if (switch_cycles_ == 0) return;
  plan_.prologue_cycles += static_cast<double>(switch_cycles_);  // of the first group
  const double of_group = static_cast<double>(plan_.tiles) / static_cast<double>(groups_.size());
  plan_.switch_cycles =
      static_cast<double>(switch_cycles_) * std::min(1.0, slots / std::max(1.0, of_group));
}

double GroupedGemmKernel::idle_ctas() const {
  // Kernels without scaled rows are persistent: nothing starts for such tiles.
  if (core::activation_scale_bytes(grouped_.type) == 0) return 0;
  if (grouped_.planned_rows <= 1) return 0;  // at most a tile for each expert
  const auto groups = static_cast<std::int64_t>(grouped_.sizes.size());
  // Each group may end in a tile that is not full.
  const std::int64_t most = groups * (grouped_.planned_rows + tile_.m - 1) / tile_.m;
  std::int64_t filled = 0;
  for (const Group& group : groups_) filled += group.bands * cluster_rows();
  return static_cast<double>(std::max<std::int64_t>(0, most - filled) * tile_columns_);
}

const GroupedGemmKernel::Group& GroupedGemmKernel::group_of(std::int64_t tile) const {
  const auto after =
      std::upper_bound(groups_.begin(), groups_.end(), tile,
                       [](std::int64_t t, const Group& g) { return t < g.first_tile; });
  return *(after - 1);
}

double GroupedGemmKernel::work_before(std::int64_t tile) const {
  const Group& group = group_of(tile);
  return group.work + static_cast<double>((tile - group.first_tile) * group.steps);
}

TilePlace GroupedGemmKernel::place(const Cta& cta, std::int64_t tile) const {
  const Group& group = group_of(tile);
  tile -= group.first_tile;
  const std::int64_t first_band = tile / (group.raster * columns_) * group.raster;
  const std::int64_t bands = std::min(group.raster, group.bands - first_band);
  tile -= first_band * columns_;
  const bool above = tile_.side == ClusterSide::rows;
  return at(group, (first_band + tile % bands) * cluster_rows() + (above ? cta.rank : 0),
            tile / bands * cluster_columns() + (above ? 0 : cta.rank));
}

TilePlace GroupedGemmKernel::at(const Group& group, std::int64_t row, std::int64_t column) const {
  return {.a_row = group.first_row + row,
          .b_row = group.index * columns_ * cluster_columns() + column,
          .c_row = group.first_row + row,
          .c_column = column,
          .rows = std::clamp<std::int64_t>(group.m - row * tile_.m, 0, tile_.m),
          .columns = std::clamp<std::int64_t>(grouped_.n - column * tile_.n, 0, tile_.n),
          .first_step = 0,
          .last_step = group.steps,
          .group = group.index};
}

std::vector<WarmBox> GroupedGemmKernel::warm_boxes() const {
  std::vector<WarmBox> boxes;
  for (const Group& g : groups_) {
    const std::int64_t rows = g.bands * cluster_rows();
    if (residency_.outputs)
      for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t column = 0; column < tile_columns_; ++column)
          boxes.push_back({c_box(at(g, row, column), false), true});
    if (residency_.weights)
      for (std::int64_t column = 0; column < tile_columns_; ++column)
        for (std::int64_t step = 0; step < g.steps; ++step)
          for (int slice = 0; slice < cluster_rows(); ++slice)
            boxes.push_back({b_box(at(g, 0, column), step, slice), false});
    if (residency_.activations)
      for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t step = 0; step < g.steps; ++step)
          for (int slice = 0; slice < cluster_columns(); ++slice)
            boxes.push_back({a_box(at(g, row, 0), step, slice), false});
  }
  std::erase_if(boxes, [](const WarmBox& warm) { return warm.box.bytes == 0; });
  return boxes;
}

}  // namespace

std::vector<GemmConfiguration> grouped_gemm_configurations(const GroupedGemm& grouped,
                                                           const device::DeviceSpec& device,
                                                           const Implementation& implementation,
                                                           int sms) {
  const auto groups = static_cast<std::int64_t>(grouped.sizes.size());
  const std::int64_t largest =
      groups == 0 ? 0 : *std::max_element(grouped.sizes.begin(), grouped.sizes.end());
  // The host does not know the sizes.
  const bool plans = implementation.choice != TileChoice::fastest && groups > 0;
  const workload::Gemm typical = product(grouped, plans ? planned_rows(grouped) : largest);
  std::vector<GemmConfiguration> configurations =
      gemm_configurations(typical, device, implementation);
  // A tile of a contiguous layout must not straddle two groups.
  const bool contiguous = grouped.varying == GroupedGemm::Varying::rows && !grouped.masked;
  // Scales of block-scaled rows lie in atoms that a tile takes whole.
  const bool scaled = core::activation_scale_bytes(grouped.type) > 0;
  const double least_rows = scaled ? parameter_or(implementation, "scaled_tile_rows", 1) : 1;
  std::erase_if(configurations, [&](const GemmConfiguration& c) {
    return c.split > 1 || c.tile.m < least_rows ||
           (contiguous && alignment(implementation) % c.tile.m != 0 &&
            alignment(implementation) > 1);
  });
  return choose_tiles(typical, groups, sms, implementation, std::move(configurations));
}

std::unique_ptr<TileKernel> make_grouped_gemm(const GroupedGemm& grouped,
                                              const device::DeviceSpec& device,
                                              const Implementation& implementation,
                                              const GemmConfiguration& configuration,
                                              const Residency& residency,
                                              const std::vector<int>& gpc_sizes) {
  return std::make_unique<GroupedGemmKernel>(grouped, device, implementation, configuration,
                                             residency, gpc_sizes);
}

}  // namespace tessera::kernels
