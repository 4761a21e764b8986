#include "models/kernels/flash_attention.hpp"
#include "models/kernels/attention_place.hpp"
#include "models/kernels/decode_attention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "models/kernels/row_kernel.hpp"

namespace tessera::kernels {

using device::Generation;
using workload::Attention;

namespace {

constexpr double kBarrierBytes = 1024;  ///< Of shared memory. // assumed
constexpr std::int64_t kMaxStages = 4;
/// Keys and values of the heads that are worked on together may take this much of L2; the tile
/// scheduler of FlashAttention-3 aims at the same.
constexpr double kShareOfL2 = 0.5;
/// FMAs of the polynomial that replaces an exponential: range reduction and degree 3
/// (FlashAttention-4).
constexpr double kPolynomialFp32 = 8;
/// Lane operations to narrow a score: an instruction packs two, on the ALU, which has half the
/// lanes of the FP32 pipe (Nsight Compute, Kernel Profiling Guide, pipelines: the ALU converts FP32
/// to FP16 since Ampere; FA4's 12.8 exponentials a cycle of 16 leave no room for conversions on
/// theirs).
constexpr double kPackFp32 = 1;
/// Beside TMEM a tile of scores is read and exponentiated in pieces, as registers hold no more than
/// half a row (FlashAttention-4, trtllm-gen).
constexpr std::int64_t kPieces = 2;
/// Sequences through which the tile scheduler looks at a time for the next tile's
/// (VarlenDynamicPersistentTileScheduler of hopper/tile_scheduler.hpp).
constexpr std::int64_t kScannedSequences = 31;
/// Parts of the keys at most (hopper/flash_api.cpp, get_num_splits).
constexpr int kMostSplits = 128;

double bytes_of(core::DataType type) { return core::activation_bits(type) / 8.0; }

/// Elements of a head of `width` as `implementation` multiplies it, filled with zeros.
std::int64_t padded(std::int64_t width, core::DataType type, const Implementation& implementation) {
  const std::int64_t granule =
      std::llround(implementation.attention.head_granule_bytes / bytes_of(type));
  if (granule < 1) return width;
  const auto power = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(width)));
  return std::min<std::int64_t>(power, divide_up(width, granule) * granule);
}

/// Time of a product over that of one whose operands lie in shared memory in whole swizzled rows:
/// the parameter `narrow_rows`, where a head's row does not fill such rows.
double narrow_rows(const Implementation& implementation, std::int64_t width, double element_bytes) {
  constexpr double kSwizzledBytes = 128;  // the widest swizzle of TMA and tcgen05 (PTX ISA)
  const double rest = std::fmod(static_cast<double>(width) * element_bytes, kSwizzledBytes);
  return rest > 0 ? parameter_or(implementation, "narrow_rows", 1) : 1;
}

/// One tile shape on one device.
struct AttentionConfiguration {
  TileShape tile;
  int consumers = 2;
  int resident = 1;
  std::int64_t stages = 1;      ///< Of values.
  std::int64_t key_stages = 1;  ///< One more where the rest of shared memory holds it.
  std::int64_t split = 1;
  bool combines = false;  ///< The kernel that adds parts up runs, if only to find none.
};

class AttentionForward : public TileKernel {
 public:
  AttentionForward(const Attention& attention, const device::DeviceSpec& device,
                   const Implementation& implementation, const AttentionConfiguration& how,
                   const Residency& residency);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;

 private:
  // Barriers of a CTA.
  [[nodiscard]] Barrier keys_full(std::int64_t stage) const { return barrier(stage); }
  [[nodiscard]] Barrier keys_empty(std::int64_t stage) const {
    return barrier(key_stages_ + stage);
  }
  [[nodiscard]] Barrier values_full(std::int64_t stage) const {
    return barrier(2 * key_stages_ + stage);
  }
  [[nodiscard]] Barrier values_empty(std::int64_t stage) const {
    return barrier(2 * key_stages_ + stages_ + stage);
  }
  [[nodiscard]] Barrier queries_full() const { return barrier(others()); }
  [[nodiscard]] Barrier queries_empty() const { return barrier(others() + 1); }
  [[nodiscard]] Barrier scores(int consumer) const { return barrier(others() + 2 + consumer); }
  [[nodiscard]] Barrier outputs(int consumer) const {
    return barrier(others() + 2 + consumers_ + consumer);
  }
  [[nodiscard]] Barrier partials(int consumer) const {
    return barrier(others() + 2 + 2 * consumers_ + consumer);
  }
  /// The first barrier after those of the stages.
  [[nodiscard]] std::int64_t others() const { return 2 * (key_stages_ + stages_); }
  static Barrier barrier(std::int64_t index) { return static_cast<Barrier>(index); }

  TileProgram producer(const Cta& cta) const;
  TileProgram consumer(const Cta& cta, int index) const;

  /// Before a tile's queries are loaded: of its sequence, from that of the tile before.
  [[nodiscard]] std::int64_t scan_cycles(std::int64_t tile, std::int64_t before) const {
    return std::llround(scan_cycles_ *
                        static_cast<double>(tile / tiles_of_scan_ - before / tiles_of_scan_));
  }
  [[nodiscard]] AttentionPlace place(std::int64_t tile) const;
  [[nodiscard]] std::int64_t key_head(const AttentionPlace& at) const {
    return at.sequence * attention_.kv_heads +
           (group_ > 1 ? at.head : at.head * attention_.kv_heads / attention_.heads);
  }
  [[nodiscard]] Box query_box(const AttentionPlace& at) const;
  [[nodiscard]] Box key_box(const AttentionPlace& at, std::int64_t tile, bool values) const;
  [[nodiscard]] Box output_box(const AttentionPlace& at, int consumer, std::int64_t part) const;
  [[nodiscard]] std::int64_t keys_inside(std::int64_t tile) const {
    return std::clamp<std::int64_t>(attention_.kv_length - tile * tile_.n, 0, tile_.n);
  }
  /// Edges of the mask that run through the tile of keys: some query of `at` must not see keys
  /// behind it, or before its window, or the keys end in it.
  [[nodiscard]] std::int64_t edges(const AttentionPlace& at, std::int64_t tile) const;
  void lay_out(const device::DeviceSpec& device);
  void describe_costs(const device::DeviceSpec& device, const Implementation& implementation);
  void describe_launch(const device::DeviceSpec& device, const Implementation& implementation);

  Attention attention_;
  TileShape tile_;
  int consumers_;
  std::int64_t stages_;
  std::int64_t key_stages_;
  std::int64_t split_;
  bool combines_;
  Residency residency_;
  bool packs_;  ///< Short queries of one key head share a tile.
  AttentionTraits traits_;
  bool longest_first_;
  bool asynchronous_;              ///< Products run beside the warps that issue them.
  std::int64_t ahead_;             ///< Tiles of keys scored before their turn.
  std::int64_t pieces_;            ///< Of a tile of scores, exponentiated one after another.
  std::int64_t group_ = 1;         ///< Query heads packed into a tile.
  std::int64_t heads_ = 1;         ///< Heads that tiles belong to.
  std::int64_t tiles_ = 1;         ///< Of queries, per head.
  std::int64_t section_ = 1;       ///< Heads visited together, longest tiles first.
  std::int64_t score_cycles_ = 1;  ///< Tensor pipe, one consumer, one tile of keys.
  std::int64_t value_cycles_ = 1;
  std::int64_t sfu_cycles_ = 1;
  std::int64_t fp32_cycles_ = 1;
  double drain_cycles_ = 0;        ///< FP32 pipe, to store one query's output.
  std::int64_t stage_cycles_ = 0;  ///< FP32 pipe, one consumer, for its rows, there or not.
  std::int64_t mask_cycles_ = 0;   ///< FP32 pipe, beside the scores, per edge of the mask.
  std::int64_t latency_cycles_ = 0;
  std::int64_t finish_cycles_ = 1;   ///< Conversion pipe, one consumer, at the end.
  std::int64_t combine_cycles_ = 0;  ///< From the last part to the sum of parts.
  double scan_cycles_ = 0;           ///< Of a step of the scheduler.
  std::int64_t tiles_of_scan_ = 1;   ///< That such a step passes.
  double key_bytes_ = 2;             ///< Per element of keys and values.
  double element_bytes_ = 2;
};

AttentionForward::AttentionForward(const Attention& attention, const device::DeviceSpec& device,
                                   const Implementation& implementation,
                                   const AttentionConfiguration& how, const Residency& residency)
    : attention_(attention),
      tile_(how.tile),
      consumers_(how.consumers),
      stages_(how.stages),
      key_stages_(how.key_stages),
      split_(how.split),
      combines_(how.combines),
      residency_(residency),
      packs_(parameter_or(implementation, "packs_queries", 1) > 0),
      traits_(implementation.attention),
      longest_first_(traits_.order != TileOrder::as_numbered),
      asynchronous_(how.tile.schedule != GemmSchedule::multistage && traits_.overlaps_products),
      ahead_(asynchronous_ && how.consumers == 1 && how.key_stages > 1 ? 1 : 0),
      pieces_(how.tile.schedule == GemmSchedule::tmem ? kPieces : 1),
      key_bytes_(core::activation_bits(attention.cache_type) / 8.0),
      element_bytes_(bytes_of(attention.type)) {
  plan_.ctas_per_sm = how.resident;
  lay_out(device);
  describe_costs(device, implementation);
  describe_launch(device, implementation);
}

void AttentionForward::lay_out(const device::DeviceSpec& device) {
  const std::int64_t sharing = attention_.heads / attention_.kv_heads;
  // Packing pays when one head's queries do not fill a tile.
  group_ = packs_ && (traits_.packs_always || attention_.q_length < tile_.m) ? sharing : 1;
  heads_ = attention_.heads / group_;
  tiles_ = divide_up(attention_.q_length * group_, tile_.m);
  const double head_bytes = static_cast<double>(attention_.kv_length) *
                            static_cast<double>(attention_.qk_dim + attention_.v_dim) * key_bytes_;
  const double fitting =
      kShareOfL2 * static_cast<double>(device.l2.size.value()) / std::max(1.0, head_bytes);
  // Query heads of one key head read the same keys.
  const double together = fitting * (group_ > 1 ? 1.0 : static_cast<double>(sharing));
  const std::int64_t most =
      traits_.order == TileOrder::by_sequence ? heads_ : attention_.batch * heads_;
  section_ = std::clamp<std::int64_t>(static_cast<std::int64_t>(together), 1, most);
  while (most % section_ != 0) --section_;
  if (!longest_first_) section_ = 1;
  plan_.tiles = attention_.batch * heads_ * tiles_ * split_;
  const bool equal = !attention_.causal || tiles_ == 1;
  plan_.period = equal ? 1 : section_ * tiles_ * split_;
  plan_.steady_waves = 1;
}

/// Lane operations per score of a step, for each edge of the mask that runs through it. A kernel
/// with a window runs where keys lie outside of it.
double mask_operations(const Implementation& implementation, const Attention& attention) {
  const double any = parameter_or(implementation, "mask_fp32", 0);
  const bool narrow = core::activation_bits(attention.type) <= 8;
  const bool windowed = attention.window > 0 && attention.kv_length > attention.window;
  return narrow && windowed ? parameter_or(implementation, "narrow_window_fp32", any) : any;
}

void AttentionForward::describe_costs(const device::DeviceSpec& device,
                                      const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  const double rows = static_cast<double>(tile_.m) / consumers_;
  const double keys = tile_.n;
  const auto cycles = [&](double m, double n, double k) {
    return std::llround(costs.tensor_scale * mma_cycles(device, attention_.type, m, n, k) +
                        costs.step_cycles);
  };
  const auto qk = static_cast<double>(padded(attention_.qk_dim, attention_.type, implementation));
  const auto v = static_cast<double>(padded(attention_.v_dim, attention_.type, implementation));
  const double narrow = narrow_rows(implementation, attention_.qk_dim, element_bytes_);
  score_cycles_ = std::llround(narrow * static_cast<double>(cycles(rows, keys, qk)));
  value_cycles_ = std::llround(narrow * static_cast<double>(cycles(rows, v, keys)));
  const double scores = rows * keys;
  const double polynomial = parameter(implementation, "polynomial_share");
  const double outputs = rows * v;
  // When a row's maximum grows; beside TMEM a warpgroup of its own does so, and seldom.
  const double rescale = tile_.schedule == GemmSchedule::tmem ? 0 : outputs;
  const double rescale_fp32 = parameter_or(implementation, "rescale_fp32", 1);
  const double widen = attention_.cache_type == attention_.type ? 0 : keys * (qk + v) / consumers_;
  sfu_cycles_ = std::llround(scores * (1 - polynomial) / device.sm.sfu_lanes);
  fp32_cycles_ = std::llround(
      (scores * (parameter(implementation, "softmax_fp32") + polynomial * kPolynomialFp32) +
       scores * kPackFp32 + rescale * rescale_fp32 + widen) /
      device.sm.fp32_lanes);
  mask_cycles_ =
      std::llround(scores * mask_operations(implementation, attention_) / device.sm.fp32_lanes);
  const auto width = static_cast<double>(attention_.v_dim);
  drain_cycles_ = width * parameter_or(implementation, "drain_fp32", 0) / device.sm.fp32_lanes;
  stage_cycles_ = std::llround(rows * width * parameter_or(implementation, "stage_fp32", 0) /
                               device.sm.fp32_lanes);
  latency_cycles_ = std::llround(costs.mma_latency_cycles + costs.reduction_cycles);
  finish_cycles_ = std::llround(outputs / (2.0 * device.sm.conversion_lanes) +
                                outputs * element_bytes_ / device.sm.shared_memory_rate);
}

void AttentionForward::describe_launch(const device::DeviceSpec& device,
                                       const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  plan_.name = fmt::format("{}x{} {}{}", tile_.m, tile_.n, to_string(tile_.schedule),
                           split_ > 1 ? fmt::format(" split {}", split_) : "");
  plan_.barriers = static_cast<int>(others() + 2 + 3 * consumers_);
  plan_.persistent = implementation.persistent;
  plan_.stages = static_cast<int>(stages_);
  plan_.serial_step = true;
  plan_.lanes = consumers_;
  double steps = 0, squares = 0, longest = 0, shortest = std::numeric_limits<double>::max(),
         keys_read = 0, cut = 0;
  for (std::int64_t tile = 0; tile < tiles_ * split_; ++tile) {
    const AttentionPlace at = place(tile * section_);
    const auto range = static_cast<double>(at.keys.last - at.keys.first);
    steps += range;
    squares += range * range;
    longest = std::max(longest, range);
    shortest = std::min(shortest, range);
    for (std::int64_t k = at.keys.first; k < at.keys.last; ++k) {
      keys_read += static_cast<double>(keys_inside(k));
      cut += static_cast<double>(edges(at, k));
    }
  }
  const auto per_head = static_cast<double>(tiles_ * split_);
  const auto qk = static_cast<double>(attention_.qk_dim);
  const auto v = static_cast<double>(attention_.v_dim);
  plan_.steps = std::max(steps / per_head, 1e-3);
  if (longest > plan_.steps) plan_.longest_steps = longest;
  // What the tiles that run beside the last one still have to do when it starts: the longest tiles
  // first, about as much as the shortest; else what is left on average of a tile met at random.
  if (longest > plan_.steps)
    plan_.trailing_steps = longest_first_ ? shortest : longest - squares / (2 * steps);
  plan_.step.tensor = static_cast<double>(consumers_ * (score_cycles_ + value_cycles_));
  if (asynchronous_)
    plan_.unwaited_tensor =
        static_cast<double>(consumers_ * (value_cycles_ + (ahead_ > 0 ? score_cycles_ : 0)));
  plan_.step.sfu = static_cast<double>(consumers_ * sfu_cycles_);
  plan_.step.fp32 = static_cast<double>(consumers_) *
                    (static_cast<double>(fp32_cycles_) +
                     cut / std::max(1.0, steps) * static_cast<double>(mask_cycles_));
  plan_.step.waiting = static_cast<double>(latency_cycles_);
  plan_.step.load_bytes = keys_read / std::max(1.0, steps) * (qk + v) * key_bytes_;
  plan_.step.loads = 2;
  plan_.epilogue.conversion = static_cast<double>(consumers_ * finish_cycles_);
  const double queries = static_cast<double>(attention_.q_length * group_) /
                         static_cast<double>(tiles_);  // of an average tile
  plan_.epilogue.fp32 = static_cast<double>(consumers_ * stage_cycles_) + drain_cycles_ * queries;
  plan_.epilogue.load_bytes = queries * qk * element_bytes_;
  plan_.prologue_cycles = costs.prologue_cycles;
  plan_.epilogue_cycles = costs.epilogue_cycles + static_cast<double>(latency_cycles_);
  const auto slots = static_cast<double>(device.sm.count * plan_.ctas_per_sm);
  if (combines_) {
    combine_cycles_ = std::llround(parameter_or(implementation, "combine_cycles", 0));
    const double waves = std::ceil(static_cast<double>(plan_.tiles) / slots);
    plan_.epilogue_cycles += static_cast<double>(combine_cycles_) / waves;
  }
  scan_cycles_ = parameter_or(implementation, "sequence_scan", 0);
  tiles_of_scan_ = kScannedSequences * heads_ * tiles_ * split_;
  plan_.switch_cycles = scan_cycles_ * slots / static_cast<double>(tiles_of_scan_);
  plan_.store_bytes = queries * v * (split_ > 1 ? 4 : element_bytes_);
  plan_.issue_cycles = costs.issue_cycles;
  const double tokens = static_cast<double>(attention_.batch * attention_.q_length);
  const double cached = static_cast<double>(attention_.batch * attention_.kv_length);
  plan_.read_bytes = tokens * static_cast<double>(attention_.heads) * qk * element_bytes_ +
                     cached * static_cast<double>(attention_.kv_heads) * (qk + v) * key_bytes_;
  plan_.warm_bytes = residency_.activations ? plan_.read_bytes : 0;
  plan_.write_bytes = tokens * static_cast<double>(attention_.heads) * v * element_bytes_;
  plan_.flops = workload::flops(attention_).value();
  const auto launches = static_cast<double>(attention_.batch * heads_);
  plan_.fp32_operations =
      launches * steps * plan_.step.fp32 * static_cast<double>(device.sm.fp32_lanes);
}

/// Sections of heads one after another; in each, the tiles with most keys first.
AttentionPlace AttentionForward::place(std::int64_t tile) const {
  AttentionPlace at;
  const std::int64_t per_section = section_ * tiles_ * split_;
  const std::int64_t section = tile / per_section;
  tile %= per_section;
  const std::int64_t head = section * section_ + tile % section_;
  tile /= section_;
  at.split = tile % split_;
  at.tile = longest_first_ ? tiles_ - 1 - tile / split_ : tile / split_;
  at.sequence = head / heads_;
  at.head = head % heads_;
  const std::int64_t first = at.tile * tile_.m;
  const std::int64_t last = std::min(first + tile_.m, attention_.q_length * group_);
  at.rows = last - first;
  at.keys = keys_needed(attention_, first / group_, divide_up(last, group_), tile_.n);
  if (split_ > 1) {
    const std::int64_t share = divide_up(at.keys.last - at.keys.first, split_);
    const std::int64_t begin = at.keys.first + at.split * share;
    at.keys = {std::min(begin, at.keys.last), std::min(begin + share, at.keys.last)};
  }
  return at;
}

std::int64_t AttentionForward::edges(const AttentionPlace& at, std::int64_t tile) const {
  const std::int64_t past = attention_.kv_length - attention_.q_length;
  const std::int64_t first = at.tile * tile_.m / group_ + past;
  const std::int64_t last = (at.tile * tile_.m + at.rows - 1) / group_ + past;
  const std::int64_t end = (tile + 1) * tile_.n;
  const bool behind = end > (attention_.causal ? first + 1 : attention_.kv_length);
  const bool before = attention_.window > 0 && tile * tile_.n < last - attention_.window + 1;
  return (behind ? 1 : 0) + (before ? 1 : 0);
}

Box AttentionForward::query_box(const AttentionPlace& at) const {
  return {.tensor = kQueries,
          .row = static_cast<std::uint32_t>(at.sequence * heads_ + at.head),
          .column = static_cast<std::uint32_t>(at.tile),
          .bytes = static_cast<std::uint32_t>(static_cast<double>(at.rows * attention_.qk_dim) *
                                              element_bytes_)};
}

Box AttentionForward::key_box(const AttentionPlace& at, std::int64_t tile, bool values) const {
  const std::int64_t width = values ? attention_.v_dim : attention_.qk_dim;
  return {.tensor = values ? kValues : kKeys,
          .row = static_cast<std::uint32_t>(key_head(at)),
          .column = static_cast<std::uint32_t>(tile),
          .bytes = static_cast<std::uint32_t>(static_cast<double>(keys_inside(tile) * width) *
                                              key_bytes_)};
}

Box AttentionForward::output_box(const AttentionPlace& at, int consumer, std::int64_t part) const {
  const double rows = static_cast<double>(at.rows) / consumers_;
  const double bytes = part < 0 ? element_bytes_ : 4;
  const std::int64_t column = at.tile * consumers_ + consumer;
  return {.tensor = part < 0 ? kOutputs : kPartials,
          .row = static_cast<std::uint32_t>(at.sequence * heads_ + at.head),
          .column = static_cast<std::uint32_t>(part < 0 ? column : column * split_ + part),
          .bytes = static_cast<std::uint32_t>(
              std::ceil(rows * static_cast<double>(attention_.v_dim) * bytes))};
}

std::vector<TileProgram> AttentionForward::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(producer(cta));
  for (int i = 0; i < consumers_; ++i) programs.push_back(consumer(cta, i));
  return programs;
}

/// Queries once a tile, then keys and values as stages become free.
TileProgram AttentionForward::producer(const Cta& cta) const {
  co_await delay(std::llround(plan_.prologue_cycles));
  std::int64_t use = 0;
  std::int64_t before = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const AttentionPlace at = place(tile);
    co_await wait(queries_empty(), static_cast<std::int64_t>(t) * consumers_);
    if (scan_cycles_ > 0) co_await delay(scan_cycles(tile, std::exchange(before, tile)));
    co_await load(query_box(at), queries_full());
    for (std::int64_t k = at.keys.first; k < at.keys.last; ++k, ++use) {
      const std::int64_t key_stage = use % key_stages_;
      co_await wait(keys_empty(key_stage), use / key_stages_ * consumers_);
      co_await load(key_box(at, k, false), keys_full(key_stage));
      const std::int64_t stage = use % stages_;
      co_await wait(values_empty(stage), use / stages_ * consumers_);
      co_await load(key_box(at, k, true), values_full(stage));
    }
  }
}

/// One of the warpgroups that share a tile's rows. The product with the next keys is issued before
/// that with the values, so that the tensor pipe works while exponentials are computed.
TileProgram AttentionForward::consumer(const Cta& cta, int index) const {
  std::int64_t use = 0;
  std::int64_t issued = 0;
  std::int64_t scored = 0;
  std::int64_t written = 0;
  std::int64_t summed = 0;
  const auto operand = static_cast<std::uint32_t>(
      static_cast<double>(tile_.n * (attention_.qk_dim + attention_.v_dim)) * element_bytes_ / 2);
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const AttentionPlace at = place(tile);
    co_await wait(queries_full(), static_cast<std::int64_t>(t) + 1);
    const std::int64_t end = use + at.keys.last - at.keys.first;
    for (std::int64_t k = use; k < end; ++k) {
      const std::int64_t stage = k % stages_;
      // One consumer alone keeps the tensor pipe busy by scoring one tile ahead.
      for (; issued < std::min(end, k + 1 + ahead_); ++issued) {
        co_await wait(keys_full(issued % key_stages_), issued / key_stages_ + 1);
        co_await mma(score_cycles_, operand, scores(index));
      }
      if (k > use && asynchronous_ && ahead_ == 0) {  // the values of the tile before
        const std::int64_t before = (k - 1) % stages_;
        co_await wait(values_full(before), (k - 1) / stages_ + 1);
        co_await mma(value_cycles_, operand, values_empty(before));
      }
      co_await wait(scores(index), ++scored);
      if (k + 1 == end) co_await signal(queries_empty());  // the next tile's may be loaded
      if (traits_.overlaps_products) co_await signal(keys_empty(k % key_stages_));
      co_await delay(latency_cycles_);
      const std::int64_t cut = mask_cycles_ > 0 ? edges(at, at.keys.first + k - use) : 0;
      for (std::int64_t piece = 0; piece < pieces_; ++piece) {
        co_await compute(Pipe::fp32, (fp32_cycles_ + cut * mask_cycles_) / pieces_);
        co_await compute(Pipe::sfu, sfu_cycles_ / pieces_);
      }
      if (!asynchronous_) {
        co_await wait(values_full(stage), k / stages_ + 1);
        co_await mma(value_cycles_, operand, outputs(index));
        co_await wait(outputs(index), ++written);
        if (!traits_.overlaps_products) co_await signal(keys_empty(k % key_stages_));
        co_await signal(values_empty(stage));
      } else if (ahead_ > 0 || k + 1 == end) {
        co_await wait(values_full(stage), k / stages_ + 1);
        co_await mma(value_cycles_, operand, values_empty(stage));
      }
    }
    if (asynchronous_ && end > use) {
      co_await mma(0, 0, outputs(index));
      co_await wait(outputs(index), ++written);
    }
    if (use == end) co_await signal(queries_empty());
    use = end;
    co_await delay(std::llround(plan_.epilogue_cycles));
    if (split_ > 1) {
      co_await store(output_box(at, index, at.split));
      const std::int64_t counter = (tile / split_) * consumers_ + index;
      if (cta.source->arrive(counter) < split_ - 1) continue;
      co_await delay(combine_cycles_);
      for (std::int64_t part = 0; part < split_; ++part)
        if (part != at.split) co_await load(output_box(at, index, part), partials(index));
      summed += split_ - 1;
      co_await wait(partials(index), summed);
    }
    if (split_ == 1 && tile == plan_.tiles - 1) co_await delay(combine_cycles_);
    co_await compute(Pipe::conversion, finish_cycles_);
    co_await compute(
        Pipe::fp32,
        stage_cycles_ + std::llround(drain_cycles_ * static_cast<double>(at.rows) / consumers_));
    co_await store(output_box(at, index, -1));
  }
}

std::vector<WarmBox> AttentionForward::warm_boxes() const {
  std::vector<WarmBox> boxes;
  if (!residency_.activations) return boxes;
  for (std::int64_t tile = 0; tile < plan_.tiles; ++tile) {
    const AttentionPlace at = place(tile);
    for (int i = 0; i < consumers_; ++i)
      if (residency_.outputs) boxes.push_back({output_box(at, i, -1), true});
    boxes.push_back({query_box(at), false});
  }
  AttentionPlace at;
  for (at.sequence = 0; at.sequence < attention_.batch; ++at.sequence)
    for (std::int64_t head = 0; head < attention_.kv_heads; ++head)
      for (std::int64_t k = 0; k < divide_up(attention_.kv_length, tile_.n); ++k) {
        at.head = group_ > 1 ? head : head * (attention_.heads / attention_.kv_heads);
        boxes.push_back({key_box(at, k, false), false});
        boxes.push_back({key_box(at, k, true), false});
      }
  return boxes;
}

/// Registers a thread of a Hopper warpgroup needs: outputs, scores, their 16-bit copy, the rest.
bool fits_registers(const TileShape& tile, int consumers, std::int64_t v_dim) {
  constexpr double kOthers = 24;  // assumed: addresses, maxima, sums
  // Two warpgroups share the columns of wider values (hopper/tile_size.h).
  const double columns = static_cast<double>(v_dim > 256 ? v_dim / 2 : v_dim);
  const double needed = columns / 2 + 0.75 * tile.n + kOthers;
  return needed <= (consumers > 2 ? 160 : 240);  // setmaxnreg of FlashAttention-3
}

/// Whether the library takes the tile for such attention.
bool takes(const TileShape& tile, const Attention& a, const Implementation& implementation) {
  const std::int64_t rows =
      a.q_length * (implementation.attention.packs_always ? a.heads / a.kv_heads : 1);
  if (rows < tile.rows_from || (tile.rows_to > 0 && rows > tile.rows_to)) return false;
  if (a.qk_dim < tile.head_from || (tile.head_to > 0 && a.qk_dim > tile.head_to)) return false;
  if (tile.element_bits > 0 && core::activation_bits(a.type) != tile.element_bits) return false;
  const bool masked = a.causal || a.window > 0;
  return tile.mask == TileMask::any || masked == (tile.mask == TileMask::masked);
}

/// Whether the tile fits; fills how many CTAs share an SM and how many stages each has.
bool fit(const Attention& a, const device::DeviceSpec& device, const Implementation& implementation,
         AttentionConfiguration& how) {
  const bool tmem = how.tile.schedule == GemmSchedule::tmem;
  how.consumers = std::max(1, how.tile.m / (tmem ? 128 : 64));
  // Columns of 128 lanes x 4 B; a tile of 64 rows fills half of the lanes.
  const std::int64_t lanes = std::min(128, how.tile.m);
  if (tmem &&
      how.consumers * (how.tile.n + a.v_dim) * lanes / 128 > device.sm.tensor_memory.value() / 512)
    return false;
  const bool known = how.tile.head_to > 0;  // the library compiles it for these heads
  if (how.tile.schedule == GemmSchedule::pingpong && !known &&
      !fits_registers(how.tile, how.consumers, a.v_dim))
    return false;
  const std::int64_t qk_dim = padded(a.qk_dim, a.type, implementation);
  const std::int64_t v_dim = padded(a.v_dim, a.type, implementation);
  const double queries = static_cast<double>(how.tile.m * qk_dim) * bytes_of(a.type);
  const double stage = static_cast<double>(how.tile.n * (qk_dim + v_dim)) * bytes_of(a.type);
  const auto cta = static_cast<double>(device.sm.shared_memory_per_cta.value());
  const auto sm = static_cast<double>(device.sm.shared_memory.value());
  const double least = queries + stage + kBarrierBytes;
  if (least > cta) return false;
  how.resident = std::clamp(static_cast<int>(sm / least), 1, implementation.ctas_per_sm);
  const double room = std::min(cta, sm / how.resident) - queries - kBarrierBytes;
  how.stages = std::clamp<std::int64_t>(static_cast<std::int64_t>(room / stage), 1, kMaxStages);
  const double keys = static_cast<double>(how.tile.n * qk_dim) * bytes_of(a.type);
  how.key_stages = how.stages + (room - static_cast<double>(how.stages) * stage >= keys ? 1 : 0);
  if (how.tile.stages > 0)
    how.stages = how.key_stages = std::min<std::int64_t>(how.stages, how.tile.stages);
  return true;
}

/// What FlashAttention-3 cuts keys for: bound by the keys that a tile of queries sees, then evened
/// out over all (hopper/flash_api.cpp, get_num_splits; hopper/flash_prepare_scheduler.cu).
DecodeWork work_of(const Attention& attention, const TileShape& tile, std::int64_t uncut,
                   std::int64_t sms) {
  const std::int64_t seen = attention.window > 0 ? attention.window + tile.m : attention.kv_length;
  return {.ctas = uncut,
          .ctas_of_sequence = uncut / attention.batch,
          .sms = sms,
          .tiles = divide_up(std::min(seen, attention.kv_length), tile.n)};
}

}  // namespace

KeyRange keys_needed(const Attention& attention, std::int64_t first_query, std::int64_t last_query,
                     std::int64_t keys) {
  KeyRange range{0, divide_up(attention.kv_length, keys)};
  const std::int64_t past =
      attention.kv_length - attention.q_length;  // keys before the first query
  if (attention.causal)
    range.last = divide_up(std::min(attention.kv_length, last_query + past), keys);
  if (attention.window > 0)
    range.first = std::max<std::int64_t>(0, first_query + past - attention.window + 1) / keys;
  return range;
}

std::vector<std::unique_ptr<TileKernel>> make_attention(const Attention& attention,
                                                        const device::DeviceSpec& device,
                                                        const Implementation& implementation,
                                                        const Residency& residency,
                                                        const std::vector<int>& gpc_sizes) {
  std::int64_t sms = 0;
  for (const int size : gpc_sizes) sms += size;
  const bool evens = parameter_or(implementation, "evens_keys", 0) > 0;
  std::vector<std::unique_ptr<TileKernel>> launches;
  const auto launch = [&](const AttentionConfiguration& how) {
    return std::make_unique<AttentionForward>(attention, device, implementation, how, residency);
  };
  for (const TileShape& tile : implementation.tiles) {
    AttentionConfiguration how{.tile = tile};
    if (!takes(tile, attention, implementation) || !fit(attention, device, implementation, how))
      continue;
    const std::int64_t uncut = launch(how)->plan().tiles;
    if (evens) {
      const DecodeWork work = work_of(attention, tile, uncut, sms);
      how.combines = most_efficient_splits(work) > 1;
      how.split = decode_splits({.split = KeySplit::efficient, .most_splits = kMostSplits}, work);
      launches.push_back(launch(how));
      continue;
    }
    for (const int split : implementation.splits) {
      // Keys are cut only while the queries leave SMs idle.
      if (split > 1 &&
          (uncut * split > 2 * sms * how.resident || split * tile.n > attention.kv_length))
        continue;
      how.split = split;
      launches.push_back(launch(how));
    }
  }
  return launches;
}

}  // namespace tessera::kernels
