#include "models/kernels/row_kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tessera::kernels {
namespace {

constexpr std::uint32_t kInput = 1;
constexpr std::uint32_t kOutput = 2;
/// A long kernel is cut into about so many boxes for each CTA: enough to reach the steady state,
/// few enough to simulate at once.
constexpr double kBoxesPerCta = 6;
constexpr double kLeastBox = 4096;  ///< 256 threads with one 16 B vector each. // assumed
constexpr double kWarps = 32;       ///< Of a CTA, which stands for half of an SM's 2048 threads.
constexpr Barrier kLoaded = 0;
constexpr Barrier kStored = 1;

class RowKernel : public TileKernel {
 public:
  RowKernel(const RowWork& work, const device::DeviceSpec& device,
            const Implementation& implementation, const Residency& residency,
            const std::vector<int>& gpc_sizes);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;

 private:
  TileProgram stream_rows(const Cta& cta) const;
  [[nodiscard]] double elements_of(std::int64_t tile) const {
    const double units =
        std::min(tile_units_, work_.units - static_cast<double>(tile) * tile_units_);
    return units * work_.unit_elements;
  }
  [[nodiscard]] Box box(std::uint32_t tensor, std::int64_t tile, double bytes_per_element) const {
    return {.tensor = tensor,
            .row = static_cast<std::uint32_t>(tile),
            .bytes = static_cast<std::uint32_t>(std::ceil(elements_of(tile) * bytes_per_element))};
  }
  void describe(const device::DeviceSpec& device, const ImplementationCosts& costs);

  RowWork work_;
  Residency residency_;
  double tile_units_ = 1;
  // SM cycles per element by pipe.
  double fp32_ = 0;
  double sfu_ = 0;
  double conversion_ = 0;
  double shared_memory_ = 0;
  std::int64_t exchange_cycles_ = 0;  ///< Of a tile, occupying no pipe.
  double element_cycles_ = 0;         ///< Of an element, occupying no pipe.
  double padding_cycles_ = 0;         ///< Of a CTA, for its share of padding.
  std::int64_t passes_ = 1;
};

RowKernel::RowKernel(const RowWork& work, const device::DeviceSpec& device,
                     const Implementation& implementation, const Residency& residency,
                     const std::vector<int>& gpc_sizes)
    : work_(work), residency_(residency) {
  const StreamFacts& facts = work_.facts;
  plan_.ctas_per_sm = implementation.ctas_per_sm;
  double slots = 0;
  for (const int size : gpc_sizes) slots += size * plan_.ctas_per_sm;
  const double moved = std::max(facts.read_bytes, facts.write_bytes + work_.remote_write_bytes);
  const double unit_bytes = work_.unit_elements * moved;
  const auto of_row = implementation.parameters.find("row_cycles");
  const bool by_rows = of_row != implementation.parameters.end();
  if (by_rows) element_cycles_ = of_row->second / work_.row_elements;
  double least = by_rows ? 0.0 : kLeastBox;  // rows are spread as far as they go
  if (work_.cta_elements > 0) {
    // An SM starts CTAs one after the other, those of all its boxes.
    element_cycles_ +=
        parameter(implementation, "cta_launch") * plan_.ctas_per_sm / work_.cta_elements;
    least = work_.cta_elements * moved;
  }
  const double most =
      parameter(implementation, facts.whole_tensor ? "amax_box_bytes" : "box_bytes") *
      work_.rows_at_once;
  const double wanted =
      std::clamp(work_.units * unit_bytes / (slots * kBoxesPerCta), std::min(least, most), most);
  tile_units_ = std::max(1.0, std::floor(wanted / unit_bytes));
  if (facts.row_a_warp)  // as many as it has warps, unless another box is to come meanwhile
    tile_units_ = std::max(tile_units_, std::min(kWarps, std::ceil(work_.units / (2 * slots))));
  // Kernels that only move bytes do it in wide vectors, many elements an instruction, or one by
  // one.
  const auto beside = implementation.parameters.find(facts.whole_tensor ? "amax_issue_per_element"
                                                                        : "issue_per_element");
  const double of_element = beside == implementation.parameters.end() ? 0.0 : beside->second;
  const double issued =
      facts.fp32 * parameter(implementation, "issue_per_fp32") +
      (facts.fp32 > 0 ? of_element : parameter_or(implementation, "issue_per_moved", 0));
  fp32_ = issued / device.sm.fp32_lanes;
  sfu_ = facts.sfu / device.sm.sfu_lanes;
  conversion_ = facts.conversions / (2.0 * device.sm.conversion_lanes);  // packed pairs
  shared_memory_ = facts.shared_bytes / device.sm.shared_memory_rate;
  if (work_.padding_rows > 0)
    padding_cycles_ = std::ceil(work_.padding_rows / (slots / plan_.ctas_per_sm)) *
                      parameter(implementation, "padding_row");
  exchange_cycles_ = std::llround(facts.row_steps * implementation.costs.reduction_cycles);
  passes_ = std::llround(facts.passes);
  describe(device, implementation.costs);
}

void RowKernel::describe(const device::DeviceSpec& device, const ImplementationCosts& costs) {
  const StreamFacts& facts = work_.facts;
  plan_.tiles = std::llround(std::ceil(work_.units / tile_units_));
  plan_.barriers = 2;
  plan_.persistent = true;
  plan_.overlapped_epilogue = true;
  plan_.serial_step = true;
  plan_.stages = 2;
  const double elements = work_.units * work_.unit_elements;
  const double inside = elements / std::max<double>(1.0, static_cast<double>(plan_.tiles));
  plan_.name = fmt::format("{} {} B", work_.name,
                           std::llround(tile_units_ * work_.unit_elements * facts.read_bytes));
  plan_.steps = 1;
  plan_.step.fp32 = inside * fp32_;
  plan_.step.sfu = inside * sfu_;
  plan_.step.conversion = inside * conversion_;
  plan_.step.shared_memory = inside * shared_memory_;
  plan_.step.load_bytes = inside * facts.read_bytes * facts.passes;
  plan_.step.loads = facts.passes;
  // All once a CTA, and padding by every CTA of the grid.
  plan_.prologue_cycles = costs.prologue_cycles + costs.epilogue_cycles + padding_cycles_;
  const double again =
      static_cast<double>((device.l2.near_latency + device.l2.far_latency).value());
  plan_.step.waiting = static_cast<double>(exchange_cycles_) + inside * element_cycles_ +
                       (facts.passes - 1) * again / 2;
  plan_.store_bytes = inside * (facts.write_bytes + work_.remote_write_bytes);
  plan_.issue_cycles = costs.issue_cycles;
  plan_.read_bytes = elements * facts.read_bytes;
  plan_.warm_bytes = residency_.activations_part * plan_.read_bytes;
  plan_.reread_bytes = plan_.read_bytes * (facts.passes - 1);
  double running = 0;
  for (const int size : device.sm.gpc_sizes) running += size * plan_.ctas_per_sm;
  plan_.reuse_distance =
      facts.passes > 1 ? running * inside * (facts.read_bytes + facts.write_bytes) : 0;
  plan_.write_bytes = elements * facts.write_bytes;
  plan_.overwrites = residency_.outputs;
  plan_.fp32_operations = elements * facts.fp32;
}

std::vector<TileProgram> RowKernel::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(stream_rows(cta));
  return programs;
}

/// While a box is computed and stored, the next one is in flight.
TileProgram RowKernel::stream_rows(const Cta& cta) const {
  const StreamFacts& facts = work_.facts;
  co_await delay(std::llround(plan_.prologue_cycles));
  std::int64_t arrivals = 0;
  std::int64_t stores = 0;
  std::int64_t tile = cta.tile(0);
  if (tile >= 0) co_await load(box(kInput, tile, facts.read_bytes), kLoaded);
  for (std::size_t t = 1; tile >= 0; ++t) {
    co_await wait(kLoaded, ++arrivals);
    for (std::int64_t pass = 1; pass < passes_; ++pass) {
      co_await load(box(kInput, tile, facts.read_bytes), kLoaded);
      co_await wait(kLoaded, ++arrivals);
    }
    const std::int64_t next = cta.tile(t);
    if (next >= 0) co_await load(box(kInput, next, facts.read_bytes), kLoaded);
    const double elements = elements_of(tile);
    if (shared_memory_ > 0)
      co_await compute(Pipe::shared_memory, std::llround(elements * shared_memory_));
    if (sfu_ > 0) co_await compute(Pipe::sfu, std::llround(elements * sfu_));
    if (fp32_ > 0) co_await compute(Pipe::fp32, std::llround(elements * fp32_));
    if (conversion_ > 0) co_await compute(Pipe::conversion, std::llround(elements * conversion_));
    co_await delay(exchange_cycles_ + std::llround(elements * element_cycles_));
    // One tile's stores at a time: registers hold them until they leave.
    co_await wait(kStored, stores);
    if (work_.remote_write_bytes > 0) {
      co_await store_remote(box(kOutput, tile, work_.remote_write_bytes), kStored);
      ++stores;
    }
    if (facts.write_bytes > 0) {
      co_await store(box(kOutput, tile, facts.write_bytes), kStored);
      ++stores;
    }
    tile = next;
  }
}

std::vector<WarmBox> RowKernel::warm_boxes() const {
  std::vector<WarmBox> boxes;
  const StreamFacts& facts = work_.facts;
  if (residency_.outputs && facts.write_bytes > 0)
    for (std::int64_t tile = 0; tile < plan_.tiles; ++tile)
      boxes.push_back({box(kOutput, tile, facts.write_bytes), true});
  if (residency_.activations_part > 0)
    for (std::int64_t tile = 0; tile < plan_.tiles; ++tile)
      add_survivor(box(kInput, tile, facts.read_bytes), residency_.activations_part, boxes);
  return boxes;
}

}  // namespace

std::unique_ptr<TileKernel> make_row_kernel(const RowWork& work, const device::DeviceSpec& device,
                                            const Implementation& implementation,
                                            const Residency& residency,
                                            const std::vector<int>& gpc_sizes) {
  return std::make_unique<RowKernel>(work, device, implementation, residency, gpc_sizes);
}

}  // namespace tessera::kernels
