#include "models/kernels/select_top_k.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/kernels/stream.hpp"

namespace tessera::kernels {

using workload::SelectTopK;

namespace {

constexpr std::uint32_t kLogits = 1;
constexpr std::uint32_t kPlaces = 2;
constexpr double kBytes = 4;             ///< Of a logit, FP32, and of a place, int32.
constexpr double kPasses = 2;            ///< Over the row: to count, and to collect.
constexpr double kRounds = 4;            ///< Of refinement, a byte of the ordered key each.
constexpr double kExchanges = 8;         ///< Of a scan of 256 counts.
constexpr std::int64_t kMostBoxes = 16;  ///< Of a row and pass; longer rows are cut more coarsely.
constexpr Barrier kLoaded = 0;
constexpr Barrier kStored = 1;

class SelectKernel : public TileKernel {
 public:
  SelectKernel(const SelectTopK& selection, const device::DeviceSpec& device,
               const Implementation& implementation, const Residency& residency,
               const std::vector<int>& gpc_sizes);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override {
    std::vector<TileProgram> programs;
    programs.push_back(select(cta));
    return programs;
  }
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;

 private:
  TileProgram select(const Cta& cta) const;
  [[nodiscard]] Box logits(std::int64_t row, std::int64_t box) const;
  [[nodiscard]] Box places(std::int64_t row) const {
    return {.tensor = kPlaces,
            .row = static_cast<std::uint32_t>(row),
            .bytes = static_cast<std::uint32_t>(selection_.selected * 4)};
  }
  /// Cycles that the pipes take for the columns of `box`.
  [[nodiscard]] std::int64_t computing(std::int64_t box) const {
    return std::llround(static_cast<double>(logits(0, box).bytes) / kBytes * element_cycles_);
  }
  void describe(const Implementation& implementation, double sms);

  SelectTopK selection_;
  Residency residency_;
  double passes_;
  std::int64_t boxes_ = 1;  ///< Of a row.
  double box_columns_ = 1;
  double in_flight_ = 1;  ///< Bytes that the threads of a CTA have in flight.
  double element_cycles_ = 0;
  std::int64_t refine_cycles_ = 0;
};

SelectKernel::SelectKernel(const SelectTopK& selection, const device::DeviceSpec& device,
                           const Implementation& implementation, const Residency& residency,
                           const std::vector<int>& gpc_sizes)
    : selection_(selection),
      residency_(residency),
      passes_(selection.columns > selection.selected ? kPasses : 0) {
  in_flight_ = parameter(implementation, "box_bytes");
  const auto columns = static_cast<double>(selection.columns);
  boxes_ = std::clamp<std::int64_t>(std::llround(std::ceil(columns * kBytes / in_flight_)), 1,
                                    kMostBoxes);
  box_columns_ = std::ceil(columns / static_cast<double>(boxes_));
  boxes_ = std::llround(std::ceil(columns / box_columns_));
  element_cycles_ = parameter(implementation, "element_fp32") / device.sm.fp32_lanes;
  if (passes_ > 0) {
    const double candidates =
        std::min(selection.contested * columns, parameter(implementation, "candidates"));
    refine_cycles_ =
        std::llround(kRounds * candidates * parameter(implementation, "contested_cycles") +
                     (1 + kRounds) * kExchanges * implementation.costs.reduction_cycles);
  }
  const auto latency =
      static_cast<double>((device.l2.near_latency + device.l2.far_latency).value()) / 2;
  plan_.step.waiting = latency;  // one box follows the other
  describe(implementation, std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), 0));
}

void SelectKernel::describe(const Implementation& implementation, double sms) {
  const ImplementationCosts& costs = implementation.costs;
  const auto rows = static_cast<double>(selection_.rows);
  const double row_bytes = static_cast<double>(selection_.columns) * kBytes;
  plan_.name = fmt::format("radix {} of {}", selection_.selected, selection_.columns);
  plan_.tiles = selection_.rows;
  plan_.ctas_per_sm = implementation.ctas_per_sm;
  plan_.barriers = 2;
  plan_.serial_step = true;
  plan_.stages = 1;
  plan_.steps = std::max(1e-3, passes_ * static_cast<double>(boxes_));
  plan_.step.fp32 = box_columns_ * element_cycles_;
  plan_.step.waiting *= std::max(1.0, box_columns_ * kBytes / in_flight_);
  plan_.step.load_bytes = passes_ > 0 ? row_bytes / static_cast<double>(boxes_) : 0;
  plan_.step.loads = 1;
  plan_.prologue_cycles = costs.prologue_cycles;
  plan_.epilogue_cycles = costs.epilogue_cycles + static_cast<double>(refine_cycles_);
  plan_.store_bytes = static_cast<double>(selection_.selected) * kBytes;
  plan_.issue_cycles = costs.issue_cycles;
  plan_.read_bytes = passes_ > 0 ? rows * row_bytes : 0;
  plan_.warm_bytes = residency_.activations_part * plan_.read_bytes;
  plan_.reread_bytes = passes_ > 0 ? (passes_ - 1) * plan_.read_bytes : 0;
  plan_.reuse_distance = std::min(rows, sms * plan_.ctas_per_sm) * row_bytes;
  plan_.write_bytes = rows * plan_.store_bytes;
  plan_.overwrites = residency_.outputs;
  plan_.fp32_operations = passes_ * rows * static_cast<double>(selection_.columns);
}

Box SelectKernel::logits(std::int64_t row, std::int64_t box) const {
  const double columns = std::min(box_columns_, static_cast<double>(selection_.columns) -
                                                    static_cast<double>(box) * box_columns_);
  return {.tensor = kLogits,
          .row = static_cast<std::uint32_t>(row),
          .column = static_cast<std::uint32_t>(box),
          .bytes = static_cast<std::uint32_t>(columns * kBytes)};
}

/// Threads load a value each, look at it, and load the next: the boxes of a row follow each other,
/// and a box of a coarsely cut row counts the latencies of all loads that it stands for.
TileProgram SelectKernel::select(const Cta& cta) const {
  std::int64_t arrivals = 0;
  const double loads = std::max(1.0, box_columns_ * kBytes / in_flight_);
  const auto follow = std::llround((loads - 1) / loads * plan_.step.waiting);
  for (std::size_t t = 0;; ++t) {
    const std::int64_t row = cta.tile(t);
    if (row < 0) break;
    co_await delay(std::llround(plan_.prologue_cycles));
    for (double pass = 0; pass < passes_; ++pass) {
      for (std::int64_t box = 0; box < boxes_; ++box) {
        co_await load(logits(row, box), kLoaded);
        co_await wait(kLoaded, ++arrivals);
        co_await delay(follow);
        co_await compute(Pipe::fp32, computing(box));
      }
    }
    co_await delay(std::llround(plan_.epilogue_cycles));
    co_await store(places(row), kStored);
  }
}

std::vector<WarmBox> SelectKernel::warm_boxes() const {
  std::vector<WarmBox> boxes;
  if (residency_.activations_part <= 0) return boxes;
  for (std::int64_t row = 0; row < selection_.rows; ++row) {
    if (residency_.outputs) boxes.push_back({places(row), true});
    if (passes_ == 0) continue;
    for (std::int64_t box = 0; box < boxes_; ++box)
      add_survivor(logits(row, box), residency_.activations_part, boxes);
  }
  return boxes;
}

}  // namespace

std::unique_ptr<TileKernel> make_select_top_k(const SelectTopK& selection,
                                              const device::DeviceSpec& device,
                                              const Implementation& implementation,
                                              const Residency& residency,
                                              const std::vector<int>& gpc_sizes) {
  return std::make_unique<SelectKernel>(selection, device, implementation, residency, gpc_sizes);
}

}  // namespace tessera::kernels
