#include "models/kernels/warp_attention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>

#include "models/kernels/attention_place.hpp"
#include "models/kernels/flash_attention.hpp"

namespace tessera::kernels {

using workload::Attention;

namespace {

/// Turns in which a product of a CTA with neighbours is simulated: fine enough that neither waits
/// for a whole product of the other. assumed
constexpr std::int64_t kTurns = 4;
constexpr std::int64_t kLeastPart = 128;         ///< Keys; FlashInfer's plan cuts no finer.
constexpr std::int64_t kPlannedCtas = 2;         ///< For an SM, that FlashInfer's plan aims at.
constexpr std::int64_t kCountedTiles = 1 << 15;  ///< List schedules longer than this are averaged.

enum : Barrier {
  kQueriesFull,
  kKeysFull,
  kKeysEmpty,
  kValuesFull,
  kValuesEmpty,
  kProducts,
  kParts,
  kBarriers
};

/// How a grid is cut.
struct WarpGrid {
  TileShape tile;
  std::int64_t group = 1;      ///< Query heads packed into a tile.
  std::int64_t part_keys = 0;  ///< Keys of a part, whole tiles.
  std::int64_t parts = 1;
};

class WarpAttention : public TileKernel {
 public:
  WarpAttention(const Attention& attention, const device::DeviceSpec& device,
                const Implementation& implementation, const WarpGrid& grid,
                const Residency& residency, std::int64_t sms);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;

 private:
  TileProgram copies(const Cta& cta) const;
  TileProgram warps(const Cta& cta) const;

  [[nodiscard]] AttentionPlace place(std::int64_t tile) const;
  [[nodiscard]] std::int64_t keys_inside(std::int64_t tile) const {
    return std::clamp<std::int64_t>(attention_.kv_length - tile * grid_.tile.n, 0, grid_.tile.n);
  }
  [[nodiscard]] std::uint32_t row_of(const AttentionPlace& at) const {
    return static_cast<std::uint32_t>(at.sequence * heads_ + at.head);
  }
  [[nodiscard]] Box query_box(const AttentionPlace& at) const;
  [[nodiscard]] Box key_box(const AttentionPlace& at, std::int64_t tile, bool values) const;
  [[nodiscard]] Box output_box(const AttentionPlace& at, std::int64_t part) const;
  void describe_costs(const device::DeviceSpec& device, const Implementation& implementation);
  void describe_steps(std::int64_t slots);
  void describe_launch(const device::DeviceSpec& device, const Implementation& implementation);

  Attention attention_;
  WarpGrid grid_;
  Residency residency_;
  std::int64_t heads_ = 1;
  std::int64_t tiles_ = 1;  ///< Of queries, per head.
  std::int64_t turns_ = 1;
  std::int64_t score_cycles_ = 1;  ///< Tensor pipe, one tile of keys.
  std::int64_t value_cycles_ = 1;
  std::int64_t sfu_cycles_ = 1;  ///< With conversions, which share the pipe.
  std::int64_t fp32_cycles_ = 1;
  std::int64_t spill_cycles_ = 0;  ///< Shared memory's port.
  std::int64_t wait_cycles_ = 0;
  std::int64_t finish_cycles_ = 1;
  std::int64_t merge_cycles_ = 0;
  double key_bytes_ = 2;  ///< Per element of keys and values.
  double element_bytes_ = 2;
};

WarpAttention::WarpAttention(const Attention& attention, const device::DeviceSpec& device,
                             const Implementation& implementation, const WarpGrid& grid,
                             const Residency& residency, std::int64_t sms)
    : attention_(attention),
      grid_(grid),
      residency_(residency),
      heads_(attention.heads / grid.group),
      tiles_(divide_up(attention.q_length * grid.group, grid.tile.m)),
      turns_(grid.tile.ctas_per_sm > 1 ? kTurns : 1),
      key_bytes_(core::activation_bits(attention.cache_type) / 8.0),
      element_bytes_(core::activation_bits(attention.type) / 8.0) {
  plan_.tiles = attention_.batch * heads_ * tiles_ * grid_.parts;
  plan_.ctas_per_sm = grid_.tile.ctas_per_sm;
  plan_.takes_turns = grid_.tile.ctas_per_sm > 1;
  describe_costs(device, implementation);
  describe_steps(sms * plan_.ctas_per_sm);
  describe_launch(device, implementation);
}

void WarpAttention::describe_costs(const device::DeviceSpec& device,
                                   const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  const double rows = grid_.tile.m;
  const double keys = grid_.tile.n;
  const auto qk = static_cast<double>(attention_.qk_dim);
  const auto v = static_cast<double>(attention_.v_dim);
  const auto width = [&](std::int64_t head) {
    const auto elements = static_cast<std::uint64_t>(head);
    return static_cast<double>(implementation.warps->pads_heads ? std::bit_ceil(elements)
                                                                : elements);
  };
  const auto cycles = [&](double m, double n, double k) {
    const double product =
        mma_cycles(device, attention_.type, m, n, k) / implementation.warps->tensor_share +
        costs.step_cycles;
    return divide_up(std::llround(product), turns_) * turns_;
  };
  score_cycles_ = cycles(rows, keys, width(attention_.qk_dim));
  value_cycles_ = cycles(rows, width(attention_.v_dim), keys);
  const double scores = rows * keys;
  // Packed pairs convert on the pipe of exponentials (FlashMLA deep-dive).
  sfu_cycles_ =
      std::llround(scores / device.sm.sfu_lanes + scores / (2.0 * device.sm.conversion_lanes));
  const double widen = attention_.cache_type == attention_.type ? 0 : keys * (qk + v);
  fp32_cycles_ = std::llround((scores * parameter(implementation, "softmax_fp32") +
                               rows * v * parameter(implementation, "rescale_fp32") + widen) /
                              device.sm.fp32_lanes);
  spill_cycles_ = std::llround(grid_.tile.spilled * parameter(implementation, "spill"));
  wait_cycles_ = std::llround(grid_.tile.chunks * costs.mma_latency_cycles);
  finish_cycles_ = std::llround(rows * v / (2.0 * device.sm.conversion_lanes) +
                                rows * v * element_bytes_ / device.sm.shared_memory_rate);
  merge_cycles_ = grid_.parts > 1 ? std::llround(costs.reduction_cycles) : 0;
}

void WarpAttention::describe_steps(std::int64_t slots) {
  std::vector<double> lengths;
  double keys_read = 0;
  for (std::int64_t tile = 0; tile < tiles_ * grid_.parts; ++tile) {
    const AttentionPlace at = place(tile);
    lengths.push_back(static_cast<double>(at.keys.last - at.keys.first));
    for (std::int64_t k = at.keys.first; k < at.keys.last; ++k)
      keys_read += static_cast<double>(keys_inside(k));
  }
  const double steps = std::accumulate(lengths.begin(), lengths.end(), 0.0);
  const double longest = *std::max_element(lengths.begin(), lengths.end());
  plan_.steps = std::max(steps / static_cast<double>(lengths.size()), 1e-3);
  if (longest > plan_.steps) {
    plan_.longest_steps = longest;
    const double even = static_cast<double>(plan_.tiles) / static_cast<double>(slots) * plan_.steps;
    plan_.trailing_steps =
        std::max(1e-3, busiest_slot(lengths, attention_.batch * heads_, slots) - even);
  }
  plan_.period = longest > plan_.steps ? tiles_ * grid_.parts : 1;
  plan_.steady_waves = 1;
  plan_.step.load_bytes = keys_read / std::max(1.0, steps) *
                          static_cast<double>(attention_.qk_dim + attention_.v_dim) * key_bytes_;
  // The tiles of a head start together and read the same keys.
  plan_.shared_rows = plan_.shared_tiles = tiles_;
  plan_.shared_column_bytes = plan_.step.load_bytes;
}

void WarpAttention::describe_launch(const device::DeviceSpec& device,
                                    const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  plan_.name = fmt::format("{}x{} warps{}", grid_.tile.m, grid_.tile.n,
                           grid_.parts > 1 ? fmt::format(" split {}", grid_.parts) : "");
  plan_.barriers = kBarriers;
  plan_.stages = 2;  // keys arrive while values are multiplied, and the reverse
  plan_.serial_step = true;
  plan_.step.tensor = static_cast<double>(score_cycles_ + value_cycles_);
  plan_.step.sfu = static_cast<double>(sfu_cycles_);
  plan_.step.fp32 = static_cast<double>(fp32_cycles_);
  plan_.step.shared_memory = static_cast<double>(spill_cycles_);
  plan_.step.waiting = static_cast<double>(wait_cycles_);
  plan_.step.loads = 2;
  const auto qk = static_cast<double>(attention_.qk_dim);
  const auto v = static_cast<double>(attention_.v_dim);
  const double queries = static_cast<double>(attention_.q_length * grid_.group) /
                         static_cast<double>(tiles_);  // of an average tile
  plan_.epilogue.conversion = static_cast<double>(finish_cycles_);
  plan_.epilogue.load_bytes = queries * qk * element_bytes_;
  plan_.prologue_cycles = costs.prologue_cycles;
  plan_.epilogue_cycles = costs.epilogue_cycles + static_cast<double>(merge_cycles_);
  plan_.store_bytes = queries * v * (grid_.parts > 1 ? 4 : element_bytes_);
  plan_.issue_cycles = costs.issue_cycles;
  const auto tokens = static_cast<double>(attention_.batch * attention_.q_length);
  const auto cached = static_cast<double>(attention_.batch * attention_.kv_length);
  plan_.read_bytes = tokens * static_cast<double>(attention_.heads) * qk * element_bytes_ +
                     cached * static_cast<double>(attention_.kv_heads) * (qk + v) * key_bytes_;
  plan_.warm_bytes = residency_.activations ? plan_.read_bytes : 0;
  plan_.write_bytes = tokens * static_cast<double>(attention_.heads) * v * element_bytes_;
  plan_.flops = workload::flops(attention_).value();
  plan_.fp32_operations = static_cast<double>(plan_.tiles) * plan_.steps * plan_.step.fp32 *
                          static_cast<double>(device.sm.fp32_lanes);
}

/// Heads one after another, each from its first queries on.
AttentionPlace WarpAttention::place(std::int64_t tile) const {
  AttentionPlace at;
  at.split = tile % grid_.parts;
  at.tile = tile / grid_.parts % tiles_;
  const std::int64_t head = tile / grid_.parts / tiles_;
  at.sequence = head / heads_;
  at.head = head % heads_;
  const std::int64_t first = at.tile * grid_.tile.m;
  const std::int64_t last = std::min(first + grid_.tile.m, attention_.q_length * grid_.group);
  at.rows = last - first;
  at.keys =
      keys_needed(attention_, first / grid_.group, divide_up(last, grid_.group), grid_.tile.n);
  if (grid_.parts > 1) {
    const std::int64_t part = grid_.part_keys / grid_.tile.n;
    const std::int64_t end = at.keys.last;
    at.keys.first = std::min(std::max(at.keys.first, at.split * part), end);
    at.keys.last = std::max(at.keys.first, std::min(end, (at.split + 1) * part));
  }
  return at;
}

Box WarpAttention::query_box(const AttentionPlace& at) const {
  return {.tensor = kQueries,
          .row = row_of(at),
          .column = static_cast<std::uint32_t>(at.tile),
          .bytes = static_cast<std::uint32_t>(static_cast<double>(at.rows * attention_.qk_dim) *
                                              element_bytes_)};
}

Box WarpAttention::key_box(const AttentionPlace& at, std::int64_t tile, bool values) const {
  const std::int64_t width = values ? attention_.v_dim : attention_.qk_dim;
  const std::int64_t head = at.head * attention_.kv_heads / heads_;
  return {.tensor = values ? kValues : kKeys,
          .row = static_cast<std::uint32_t>(at.sequence * attention_.kv_heads + head),
          .column = static_cast<std::uint32_t>(tile),
          .bytes = static_cast<std::uint32_t>(static_cast<double>(keys_inside(tile) * width) *
                                              key_bytes_)};
}

Box WarpAttention::output_box(const AttentionPlace& at, std::int64_t part) const {
  const double bytes = part < 0 ? element_bytes_ : 4;
  return {.tensor = part < 0 ? kOutputs : kPartials,
          .row = row_of(at),
          .column = static_cast<std::uint32_t>(part < 0 ? at.tile : at.tile * grid_.parts + part),
          .bytes = static_cast<std::uint32_t>(
              std::ceil(static_cast<double>(at.rows * attention_.v_dim) * bytes))};
}

std::vector<TileProgram> WarpAttention::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(copies(cta));
  programs.push_back(warps(cta));
  return programs;
}

/// Asynchronous copies: keys once the last ones are multiplied, values likewise.
TileProgram WarpAttention::copies(const Cta& cta) const {
  co_await delay(std::llround(plan_.prologue_cycles));
  const AttentionPlace at = place(cta.tile(0));
  co_await load(query_box(at), kQueriesFull);
  for (std::int64_t k = at.keys.first; k < at.keys.last; ++k) {
    const std::int64_t use = k - at.keys.first;
    co_await wait(kKeysEmpty, use);
    co_await load(key_box(at, k, false), kKeysFull);
    co_await wait(kValuesEmpty, use);
    co_await load(key_box(at, k, true), kValuesFull);
  }
}

TileProgram WarpAttention::warps(const Cta& cta) const {
  const std::int64_t tile = cta.tile(0);
  const AttentionPlace at = place(tile);
  const auto operand = static_cast<std::uint32_t>(
      static_cast<double>(grid_.tile.n * (attention_.qk_dim + attention_.v_dim)) * element_bytes_ /
      static_cast<double>(2 * turns_));
  std::int64_t products = 0;
  co_await wait(kQueriesFull, 1);
  for (std::int64_t k = at.keys.first; k < at.keys.last; ++k) {
    const std::int64_t use = k - at.keys.first + 1;
    co_await wait(kKeysFull, use);
    for (std::int64_t turn = 0; turn < turns_; ++turn) {
      co_await mma(score_cycles_ / turns_, operand, kProducts);
      co_await wait(kProducts, ++products);
    }
    co_await signal(kKeysEmpty);
    co_await delay(wait_cycles_);
    co_await compute(Pipe::fp32, fp32_cycles_);
    co_await compute(Pipe::sfu, sfu_cycles_);
    if (spill_cycles_ > 0) co_await compute(Pipe::shared_memory, spill_cycles_);
    co_await wait(kValuesFull, use);
    for (std::int64_t turn = 0; turn < turns_; ++turn) {
      co_await mma(value_cycles_ / turns_, operand, kProducts);
      co_await wait(kProducts, ++products);
    }
    co_await signal(kValuesEmpty);
  }
  co_await delay(std::llround(plan_.epilogue_cycles) - merge_cycles_);
  if (grid_.parts > 1) {
    co_await store(output_box(at, at.split));
    if (cta.source->arrive(tile / grid_.parts) < grid_.parts - 1) co_return;
    co_await delay(merge_cycles_);
    for (std::int64_t part = 0; part < grid_.parts; ++part)
      co_await load(output_box(at, part), kParts);
    co_await wait(kParts, grid_.parts);
  }
  co_await compute(Pipe::conversion, finish_cycles_);
  co_await store(output_box(at, -1));
}

std::vector<WarmBox> WarpAttention::warm_boxes() const {
  std::vector<WarmBox> boxes;
  if (!residency_.activations) return boxes;
  for (std::int64_t tile = 0; tile < plan_.tiles; tile += grid_.parts) {
    const AttentionPlace at = place(tile);
    if (residency_.outputs) boxes.push_back({output_box(at, -1), true});
    boxes.push_back({query_box(at), false});
  }
  AttentionPlace at;
  for (at.sequence = 0; at.sequence < attention_.batch; ++at.sequence)
    for (std::int64_t head = 0; head < attention_.kv_heads; ++head)
      for (std::int64_t k = 0; k < divide_up(attention_.kv_length, grid_.tile.n); ++k) {
        at.head = head * heads_ / attention_.kv_heads;
        boxes.push_back({key_box(at, k, false), false});
        boxes.push_back({key_box(at, k, true), false});
      }
  return boxes;
}

bool takes(const TileShape& tile, std::int64_t head, std::int64_t rows) {
  const auto inside = [](std::int64_t value, int from, int to) {
    return value >= from && (to == 0 || value <= to);
  };
  return inside(head, tile.head_from, tile.head_to) && inside(rows, tile.rows_from, tile.rows_to);
}

}  // namespace

std::int64_t planned_part(std::int64_t tiles, std::int64_t keys, std::int64_t most) {
  const std::int64_t parts = most / std::max<std::int64_t>(1, tiles);
  if (parts < 2) return keys;
  return std::min(keys, std::max(kLeastPart, divide_up(keys, parts)));
}

double busiest_slot(const std::vector<double>& steps, std::int64_t repeats, std::int64_t slots) {
  const std::int64_t tiles = static_cast<std::int64_t>(steps.size()) * repeats;
  if (tiles <= slots) return *std::max_element(steps.begin(), steps.end());
  if (tiles > kCountedTiles) {
    const double all =
        std::accumulate(steps.begin(), steps.end(), 0.0) * static_cast<double>(repeats);
    // What is left on average of a tile met at random still runs when the last one starts.
    return all / static_cast<double>(slots) + *std::max_element(steps.begin(), steps.end()) / 2;
  }
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (std::int64_t slot = 0; slot < slots; ++slot) free_at.push(0);
  double last = 0;
  for (std::int64_t repeat = 0; repeat < repeats; ++repeat)
    for (const double each : steps) {
      const double end = free_at.top() + each;
      free_at.pop();
      free_at.push(end);
      last = std::max(last, end);
    }
  return last;
}

std::vector<std::unique_ptr<TileKernel>> make_warp_attention(const Attention& attention,
                                                             const device::DeviceSpec& device,
                                                             const Implementation& implementation,
                                                             const Residency& residency,
                                                             const std::vector<int>& gpc_sizes) {
  const std::int64_t sms = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), std::int64_t{0});
  const WarpTraits& traits = *implementation.warps;
  WarpGrid grid;
  grid.group = traits.packs_queries ? attention.heads / attention.kv_heads : 1;
  const std::int64_t rows = attention.q_length * grid.group;
  std::vector<std::unique_ptr<TileKernel>> launches;
  for (const TileShape& tile : implementation.tiles) {
    if (!takes(tile, attention.qk_dim, rows)) continue;
    grid.tile = tile;
    grid.part_keys = divide_up(attention.kv_length, tile.n) * tile.n;
    if (traits.plans_parts) {
      const std::int64_t part =
          planned_part(attention.batch * divide_up(rows, tile.m), attention.kv_length,
                       kPlannedCtas * sms / attention.kv_heads);
      grid.part_keys = divide_up(part, tile.n) * tile.n;
    }
    grid.parts = divide_up(attention.kv_length, grid.part_keys);
    launches.push_back(
        std::make_unique<WarpAttention>(attention, device, implementation, grid, residency, sms));
  }
  return launches;
}

}  // namespace tessera::kernels
