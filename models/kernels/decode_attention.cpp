#include "models/kernels/decode_attention.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "models/kernels/attention_place.hpp"
#include "models/kernels/flash_attention.hpp"
#include "models/kernels/stream.hpp"

namespace tessera::kernels {

using workload::Attention;

namespace {

constexpr double kBarrierBytes = 1024;   ///< Of shared memory. // assumed
constexpr double kEpilogueValues = 128;  ///< Of a row, for which the cost of the epilogue is;
constexpr double kEpilogueShare = 0.5;   ///< of it for the values, the rest for what a row has one
                                         ///< of. // assumed: of none, half and all, half erred
                                         ///< least on the fit half
constexpr double kPartialBytes = 4;      ///< Parts are kept in FP32.
constexpr double kStatisticBytes = 8;    ///< Maximum and sum of a row of a part, FP32.
/// FlashAttention takes the fewest parts whose waves are at least this full, against the best
/// (hopper/heuristics.h, num_splits_heuristic).
constexpr double kEfficientEnough = 0.85;
/// It cuts nothing once this part of the SMs has work, or for so few tiles (ibid.).
constexpr double kFullEnough = 0.8;
constexpr std::int64_t kTooFewTiles = 4;
/// And gives an SM this much over its share (hopper/flash_prepare_scheduler.cu).
constexpr double kShareMargin = 1.1;
/// XQA's parts run in so many waves at most (kTargetWaveFactor of decoderXQAConstants.h).
constexpr double kMostWaves = 8;

/// One tile shape on one device.
struct DecodeConfiguration {
  TileShape tile;
  int resident = 1;
  std::int64_t stages = 1;
  std::int64_t split = 1;
  bool combines = false;  ///< The kernel that adds parts up runs, if only to find none.
};

class DecodeAttention : public TileKernel {
 public:
  DecodeAttention(const Attention& attention, const device::DeviceSpec& device,
                  const Implementation& implementation, const DecodeConfiguration& how,
                  const Residency& residency);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;

 private:
  /// Where a work item lies.
  struct Place {
    std::int64_t key_head = 0;  ///< Counted over all sequences.
    std::int64_t head = 0;      ///< Group of query heads, counted over all sequences.
    std::int64_t split = 0;
    std::int64_t rows = 0;
    KeyRange keys;  ///< In tiles; none for a CTA too many, which hands over an empty sum.
  };

  [[nodiscard]] Barrier keys_full(std::int64_t stage) const { return at(stage); }
  [[nodiscard]] Barrier keys_empty(std::int64_t stage) const { return at(stages_ + stage); }
  [[nodiscard]] Barrier values_full(std::int64_t stage) const { return at(2 * stages_ + stage); }
  [[nodiscard]] Barrier values_empty(std::int64_t stage) const { return at(3 * stages_ + stage); }
  [[nodiscard]] Barrier queries_full() const { return at(4 * stages_); }
  [[nodiscard]] Barrier queries_empty() const { return at(4 * stages_ + 1); }
  [[nodiscard]] Barrier values_landed() const { return at(4 * stages_ + 2); }
  [[nodiscard]] Barrier partials(int consumer) const { return own(0, consumer); }
  [[nodiscard]] Barrier scores(int consumer) const { return own(1, consumer); }
  [[nodiscard]] Barrier outputs(int consumer) const { return own(2, consumer); }
  [[nodiscard]] Barrier own(std::int64_t kind, int consumer) const {
    return at(4 * stages_ + 3 + kind * consumers_ + consumer);
  }
  static Barrier at(std::int64_t index) { return static_cast<Barrier>(index); }

  TileProgram producer(const Cta& cta) const;
  TileProgram consumer(const Cta& cta, int index) const;

  /// A consumer's rows are reduced, scaled and stored piece by piece.
  [[nodiscard]] double epilogue(const ImplementationCosts& costs) const {
    const double rows = static_cast<double>(tile_.m) / consumers_ / least_rows_;
    const double values = static_cast<double>(attention_.v_dim) / kEpilogueValues;
    return costs.epilogue_cycles * rows * (1 + kEpilogueShare * (values - 1));
  }
  [[nodiscard]] Place place(std::int64_t tile) const;
  [[nodiscard]] std::int64_t keys_inside(std::int64_t tile) const;
  /// Before a tile's queries are loaded: of its sequence, from that of the tile before.
  [[nodiscard]] std::int64_t scan_cycles(std::int64_t tile, std::int64_t before) const;
  [[nodiscard]] std::int64_t products_on_cores(std::int64_t tile) const {
    return std::llround(key_fp32_ * static_cast<double>(keys_inside(tile)));
  }
  [[nodiscard]] Box query_box(const Place& at) const;
  [[nodiscard]] Box key_box(std::int64_t key_head, std::int64_t tile, bool values) const;
  [[nodiscard]] Box output_box(const Place& at, int consumer, std::int64_t part) const;
  void describe_costs(const device::DeviceSpec& device, const Implementation& implementation);
  void describe_launch(const device::DeviceSpec& device, const Implementation& implementation);

  Attention attention_;
  TileShape tile_;
  int least_rows_ = 1;  ///< Of the implementation's tiles.
  int consumers_;
  std::int64_t stages_;
  std::int64_t split_;
  std::int64_t unit_ = 1;  ///< Tiles of keys that no cut divides.
  bool combines_;
  Residency residency_;
  bool asynchronous_;        ///< Products run beside the warps that issue them.
  std::int64_t packed_ = 1;  ///< Query rows of a work item.
  std::int64_t groups_ = 1;  ///< Work items that a key head's rows make, before its keys are cut.
  KeyRange visible_;         ///< Tiles of keys that are read.
  std::int64_t score_cycles_ = 0;  ///< Tensor pipe, one consumer, one tile of keys.
  std::int64_t value_cycles_ = 0;
  std::int64_t fp32_cycles_ = 0;
  double key_fp32_ = 0;  ///< Cycles for each key of a tile beside them, products on CUDA cores.
  std::int64_t sfu_cycles_ = 0;
  std::int64_t latency_cycles_ = 0;
  std::int64_t epilogue_cycles_ = 0;
  std::int64_t finish_cycles_ = 0;  ///< Conversion pipe, one consumer, at the end.
  std::int64_t reduction_cycles_ = 0;
  std::int64_t turn_cycles_ = 0;    ///< FP32 pipe, a tile of values; 0: nobody turns them.
  std::int64_t lookup_cycles_ = 0;  ///< Of a tile of keys and values, before they are loaded.
  double scan_cycles_ = 0;          ///< Of a step of the scheduler.
  std::int64_t tiles_of_scan_ = 1;  ///< That such a step passes.
  double key_bytes_ = 2;            ///< Per element of keys and values.
  double element_bytes_ = 2;
};

DecodeAttention::DecodeAttention(const Attention& attention, const device::DeviceSpec& device,
                                 const Implementation& implementation,
                                 const DecodeConfiguration& how, const Residency& residency)
    : attention_(attention),
      tile_(how.tile),
      consumers_(std::max(1, how.tile.consumers)),
      stages_(how.stages),
      split_(how.split),
      combines_(how.combines),
      residency_(residency),
      asynchronous_(how.tile.schedule != GemmSchedule::multistage),
      key_bytes_(core::activation_bits(attention.cache_type) / 8.0),
      element_bytes_(core::activation_bits(attention.type) / 8.0) {
  least_rows_ = std::ranges::min(implementation.tiles, {}, &TileShape::m).m;
  const std::int64_t rows = attention_.q_length * attention_.heads / attention_.kv_heads;
  packed_ = std::min<std::int64_t>({rows, tile_.m, implementation.decode->packed_heads});
  groups_ = divide_up(rows, packed_);
  visible_ = keys_needed(attention_, 0, attention_.q_length, tile_.n);
  plan_.tiles = attention_.batch * attention_.kv_heads * groups_ * split_;
  unit_ = std::max(1, implementation.decode->least_tiles);
  plan_.ctas_per_sm = how.resident;
  plan_.period = split_;
  describe_costs(device, implementation);
  describe_launch(device, implementation);
}

void DecodeAttention::describe_costs(const device::DeviceSpec& device,
                                     const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  const double rows = static_cast<double>(tile_.m) / consumers_;
  const double keys = tile_.n;
  const auto qk = static_cast<double>(attention_.qk_dim);
  const auto v = static_cast<double>(attention_.v_dim);
  const double scores = rows * keys;
  const double own = parameter(implementation, "core_fp32");
  double fp32 = scores * parameter(implementation, "softmax_fp32") + rows * v;
  if (own > 0) {
    // Threads beyond the last key have nothing to do.
    const double one = own * static_cast<double>(packed_) / consumers_ * (qk + v);
    key_fp32_ = one / device.sm.fp32_lanes;
  } else {
    const auto cycles = [&](double n, double k) {
      return std::llround(costs.tensor_scale * mma_cycles(device, attention_.type, rows, n, k));
    };
    score_cycles_ = cycles(keys, qk);
    value_cycles_ = cycles(v, keys);
  }
  if (implementation.decode->turns_values && core::activation_bits(attention_.cache_type) == 8)
    turn_cycles_ =
        std::llround(parameter(implementation, "turn_fp32") * keys * v / device.sm.fp32_lanes);
  else if (attention_.cache_type != attention_.type)
    fp32 += parameter(implementation, "widen_fp32") * keys * (qk + v) / consumers_;
  fp32_cycles_ = std::llround(fp32 / device.sm.fp32_lanes);
  sfu_cycles_ =
      std::llround(scores / device.sm.sfu_lanes + scores / (2.0 * device.sm.conversion_lanes));
  latency_cycles_ = std::llround(costs.mma_latency_cycles + costs.step_cycles);
  epilogue_cycles_ = std::llround(epilogue(costs));
  reduction_cycles_ = std::llround(costs.reduction_cycles);
  // Rows without a query head are staged and converted like the others.
  const double staged = rows * (qk + v) * element_bytes_ / device.sm.shared_memory_rate;
  finish_cycles_ = std::llround(rows * v / (2.0 * device.sm.conversion_lanes) + staged);
}

void DecodeAttention::describe_launch(const device::DeviceSpec& device,
                                      const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  plan_.name = fmt::format("decode {}x{} {}{}", tile_.m, tile_.n, to_string(tile_.schedule),
                           split_ > 1 ? fmt::format(" split {}", split_) : "");
  plan_.barriers = static_cast<int>(4 * stages_ + 3 + 3 * consumers_);
  plan_.persistent = implementation.persistent;
  // Keys are replaced as soon as they are scored, beside their values' product.
  plan_.stages = static_cast<int>(stages_) + 1;
  plan_.serial_step = true;
  plan_.lanes = consumers_;
  double keys_read = 0;
  for (std::int64_t k = visible_.first; k < visible_.last; ++k)
    keys_read += static_cast<double>(keys_inside(k));
  const auto steps = static_cast<double>(visible_.last - visible_.first);
  const auto qk = static_cast<double>(attention_.qk_dim);
  const auto v = static_cast<double>(attention_.v_dim);
  plan_.steps = steps / static_cast<double>(split_);
  plan_.longest_steps = std::ceil(plan_.steps);
  plan_.step.tensor = static_cast<double>(consumers_ * (score_cycles_ + value_cycles_));
  if (asynchronous_) plan_.unwaited_tensor = static_cast<double>(consumers_ * value_cycles_);
  plan_.step.sfu = static_cast<double>(consumers_ * sfu_cycles_);
  plan_.step.fp32 =
      consumers_ * (static_cast<double>(fp32_cycles_) + key_fp32_ * keys_read / steps);
  plan_.step.waiting = static_cast<double>(latency_cycles_);
  plan_.step.load_bytes = keys_read / steps * (qk + v) * key_bytes_;
  plan_.step.loads = 2;
  lookup_cycles_ = std::llround(parameter_or(implementation, "lookup_cycles", 0));
  if (turn_cycles_ > 0) plan_.turned_cycles = static_cast<double>(turn_cycles_ + lookup_cycles_);
  plan_.least_step = static_cast<double>(lookup_cycles_);
  plan_.issue_cycles = costs.issue_cycles;
  plan_.prologue_cycles = costs.prologue_cycles;
  if (const int scanned = implementation.decode->scanned_sequences; scanned > 0) {
    scan_cycles_ = parameter(implementation, "scan_cycles");
    tiles_of_scan_ = scanned * attention_.kv_heads * groups_ * split_;
    const auto slots = static_cast<double>(device.sm.count * plan_.ctas_per_sm);
    plan_.switch_cycles = scan_cycles_ * slots / static_cast<double>(tiles_of_scan_);
  }
  const auto rows = static_cast<double>(packed_);
  plan_.epilogue.conversion = static_cast<double>(consumers_ * finish_cycles_);
  plan_.epilogue_cycles = epilogue(costs);
  if (combines_) {
    const double slots = static_cast<double>(device.sm.count * plan_.ctas_per_sm);
    const double waves = std::ceil(static_cast<double>(plan_.tiles) / slots);
    plan_.epilogue_cycles += costs.reduction_cycles / (split_ > 1 ? 1 : waves);
  }
  plan_.epilogue.load_bytes =
      rows * qk * element_bytes_ + (split_ > 1 ? rows * v * kPartialBytes : 0);
  plan_.store_bytes = rows * v * (split_ > 1 ? kPartialBytes : element_bytes_);
  const auto queries = static_cast<double>(attention_.batch * attention_.q_length);
  const auto heads = static_cast<double>(attention_.heads);
  plan_.read_bytes = queries * heads * qk * element_bytes_ +
                     static_cast<double>(attention_.batch * attention_.kv_heads) * keys_read *
                         (qk + v) * key_bytes_;
  plan_.warm_bytes = residency_.activations ? plan_.read_bytes : 0;
  plan_.write_bytes = queries * heads * v * element_bytes_;
  plan_.flops =
      parameter(implementation, "core_fp32") > 0
          ? 0
          : static_cast<double>(plan_.tiles) * plan_.steps * 2 * tile_.m * tile_.n * (qk + v);
  plan_.fp32_operations = static_cast<double>(plan_.tiles) * plan_.steps * plan_.step.fp32 *
                          static_cast<double>(device.sm.fp32_lanes);
}

/// Parts of one row group first, then the row groups of a key head, which read the same keys.
DecodeAttention::Place DecodeAttention::place(std::int64_t tile) const {
  Place at;
  at.split = tile % split_;
  at.head = tile / split_;
  at.key_head = at.head / groups_;
  const std::int64_t rows = attention_.q_length * attention_.heads / attention_.kv_heads;
  at.rows = std::min(packed_, rows - at.head % groups_ * packed_);
  const std::int64_t units = divide_up(visible_.last - visible_.first, unit_);
  const auto cut = [&](std::int64_t part) {
    return std::min(visible_.first + units * part / split_ * unit_, visible_.last);
  };
  at.keys = {cut(at.split), cut(at.split + 1)};
  return at;
}

/// Keys of a tile that are read: those in memory, and in the window.
std::int64_t DecodeAttention::keys_inside(std::int64_t tile) const {
  std::int64_t first = tile * tile_.n;
  const std::int64_t last = std::min(first + tile_.n, attention_.kv_length);
  if (attention_.window > 0)
    first = std::max(first, attention_.kv_length - attention_.q_length - attention_.window + 1);
  return std::max<std::int64_t>(0, last - first);
}

Box DecodeAttention::query_box(const Place& at) const {
  return {.tensor = kQueries,
          .row = static_cast<std::uint32_t>(at.head),
          .bytes = static_cast<std::uint32_t>(static_cast<double>(at.rows * attention_.qk_dim) *
                                              element_bytes_)};
}

Box DecodeAttention::key_box(std::int64_t key_head, std::int64_t tile, bool values) const {
  const std::int64_t width = values ? attention_.v_dim : attention_.qk_dim;
  return {.tensor = values ? kValues : kKeys,
          .row = static_cast<std::uint32_t>(key_head),
          .column = static_cast<std::uint32_t>(tile),
          .bytes = static_cast<std::uint32_t>(static_cast<double>(keys_inside(tile) * width) *
                                              key_bytes_)};
}

Box DecodeAttention::output_box(const Place& at, int consumer, std::int64_t part) const {
  const double rows = static_cast<double>(at.rows) / consumers_;
  const double width = static_cast<double>(attention_.v_dim);
  const double bytes = part < 0 ? width * element_bytes_ : width * kPartialBytes + kStatisticBytes;
  return {.tensor = part < 0 ? kOutputs : kPartials,
          .row = static_cast<std::uint32_t>(at.head),
          .column = static_cast<std::uint32_t>(part < 0 ? consumer : consumer * split_ + part),
          .bytes = static_cast<std::uint32_t>(std::ceil(rows * bytes))};
}

std::vector<TileProgram> DecodeAttention::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(producer(cta));
  for (int i = 0; i < consumers_; ++i) programs.push_back(consumer(cta, i));
  return programs;
}

std::int64_t DecodeAttention::scan_cycles(std::int64_t tile, std::int64_t before) const {
  return std::llround(scan_cycles_ *
                      static_cast<double>(tile / tiles_of_scan_ - before / tiles_of_scan_));
}

/// Queries once a work item, then keys and values as stages become free. Who turns values waits for
/// them, with the next keys under way.
TileProgram DecodeAttention::producer(const Cta& cta) const {
  co_await delay(std::llround(plan_.prologue_cycles));
  std::int64_t use = 0;
  std::int64_t before = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const Place at = place(tile);
    co_await wait(queries_empty(), static_cast<std::int64_t>(t) * consumers_);
    if (scan_cycles_ > 0) co_await delay(scan_cycles(tile, std::exchange(before, tile)));
    co_await load(query_box(at), queries_full());
    std::int64_t keys_loaded = at.keys.first;
    for (std::int64_t k = at.keys.first; k < at.keys.last; ++k, ++use) {
      const std::int64_t ahead = turn_cycles_ > 0 ? std::min(k + 2, at.keys.last) : k + 1;
      for (; keys_loaded < ahead; ++keys_loaded) {
        if (lookup_cycles_ > 0) co_await delay(lookup_cycles_);
        const std::int64_t of = use + keys_loaded - k;
        co_await wait(keys_empty(of % stages_), of / stages_ * consumers_);
        co_await load(key_box(at.key_head, keys_loaded, false), keys_full(of % stages_));
      }
      const std::int64_t stage = use % stages_;
      co_await wait(values_empty(stage), use / stages_ * consumers_);
      if (turn_cycles_ == 0) {
        co_await load(key_box(at.key_head, k, true), values_full(stage));
        continue;
      }
      co_await load(key_box(at.key_head, k, true), values_landed());
      co_await wait(values_landed(), use + 1);
      co_await compute(Pipe::fp32, turn_cycles_);
      co_await signal(values_full(stage));
    }
  }
}

/// Warps that score a tile of keys, exponentiate and multiply with its values, one tile after
/// another; where products are asynchronous, that with the values ends beside the next scores.
TileProgram DecodeAttention::consumer(const Cta& cta, int index) const {
  const auto operand = static_cast<std::uint32_t>(
      static_cast<double>(tile_.n * (attention_.qk_dim + attention_.v_dim)) * key_bytes_ / 2);
  std::int64_t use = 0;
  std::int64_t written = 0;
  std::int64_t summed = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const Place at = place(tile);
    co_await wait(queries_full(), static_cast<std::int64_t>(t) + 1);
    for (std::int64_t k = at.keys.first; k < at.keys.last; ++k, ++use) {
      const std::int64_t stage = use % stages_;
      co_await wait(keys_full(stage), use / stages_ + 1);
      co_await mma(score_cycles_, operand, scores(index));
      co_await wait(scores(index), use + 1);
      co_await signal(keys_empty(stage));
      co_await delay(latency_cycles_);
      co_await compute(Pipe::fp32, fp32_cycles_ + products_on_cores(k));
      co_await compute(Pipe::sfu, sfu_cycles_);
      co_await wait(values_full(stage), use / stages_ + 1);
      if (asynchronous_) {
        co_await mma(value_cycles_, operand, values_empty(stage));
      } else {
        co_await mma(value_cycles_, operand, outputs(index));
        co_await wait(outputs(index), ++written);
        co_await signal(values_empty(stage));
      }
    }
    if (asynchronous_) {
      co_await mma(0, 0, outputs(index));
      co_await wait(outputs(index), ++written);
    }
    co_await signal(queries_empty());
    co_await delay(epilogue_cycles_);
    co_await compute(Pipe::conversion, finish_cycles_);
    if (split_ > 1) {
      co_await store(output_box(at, index, at.split));
      if (cta.source->arrive(tile / split_ * consumers_ + index) < split_ - 1) continue;
      co_await delay(reduction_cycles_);
      for (std::int64_t part = 0; part < split_; ++part)
        co_await load(output_box(at, index, part), partials(index));
      summed += split_;
      co_await wait(partials(index), summed);
    }
    if (split_ == 1 && combines_ && tile == plan_.tiles - 1) co_await delay(reduction_cycles_);
    co_await store(output_box(at, index, -1));
  }
}

std::vector<WarmBox> DecodeAttention::warm_boxes() const {
  std::vector<WarmBox> boxes;
  if (!residency_.activations) return boxes;
  for (std::int64_t tile = 0; tile < plan_.tiles; tile += split_) {
    const Place at = place(tile);
    for (int i = 0; i < consumers_; ++i)
      if (residency_.outputs) boxes.push_back({output_box(at, i, -1), true});
    boxes.push_back({query_box(at), false});
  }
  for (std::int64_t head = 0; head < attention_.batch * attention_.kv_heads; ++head)
    for (std::int64_t k = visible_.first; k < visible_.last; ++k) {
      boxes.push_back({key_box(head, k, false), false});
      boxes.push_back({key_box(head, k, true), false});
    }
  return boxes;
}

/// Whether the tile fits; fills how many CTAs share an SM and how many stages each has. CUDA cores
/// take keys and values from registers.
bool fit(const Attention& a, const device::DeviceSpec& device, const Implementation& implementation,
         DecodeConfiguration& how) {
  const double cache = core::activation_bits(a.cache_type) / 8.0;
  const double queries =
      static_cast<double>(how.tile.m * a.qk_dim) * core::activation_bits(a.type) / 8.0;
  const bool in_registers = parameter(implementation, "core_fp32") > 0;
  const double stage =
      in_registers ? 0 : static_cast<double>(how.tile.n * (a.qk_dim + a.v_dim)) * cache;
  const auto cta = static_cast<double>(device.sm.shared_memory_per_cta.value());
  const auto sm = static_cast<double>(device.sm.shared_memory.value());
  const double least = queries + stage + kBarrierBytes;
  if (least > cta) return false;
  how.resident = std::clamp(static_cast<int>(sm / least), 1, how.tile.ctas_per_sm);
  const double room = std::min(cta, sm / how.resident) - queries - kBarrierBytes;
  how.stages = 1;
  if (in_registers) return true;
  how.stages = std::clamp<std::int64_t>(static_cast<std::int64_t>(room / stage), 1,
                                        implementation.decode->stages);
  return true;
}

/// The tiles that fit, of those for the narrowest heads that hold these: the smallest that holds
/// the rows of a work item, else the largest.
std::vector<DecodeConfiguration> configurations(const Attention& a,
                                                const device::DeviceSpec& device,
                                                const Implementation& implementation) {
  const std::int64_t rows = std::min<std::int64_t>(a.q_length * a.heads / a.kv_heads,
                                                   implementation.decode->packed_heads);
  const auto is_for = [&](const TileShape& tile) {
    const TileMask other = a.window > 0 ? TileMask::unmasked : TileMask::masked;
    return tile.mask != other &&
           (tile.element_bits == 0 || tile.element_bits == core::activation_bits(a.type));
  };
  int width = 0;
  for (const TileShape& tile : implementation.tiles)
    if (is_for(tile) && tile.head_to >= a.qk_dim && (width == 0 || tile.head_to < width))
      width = tile.head_to;
  std::vector<DecodeConfiguration> fitting;
  for (const TileShape& tile : implementation.tiles) {
    DecodeConfiguration how{.tile = tile};
    if (!is_for(tile) || (tile.head_to != width && tile.head_to > 0)) continue;
    if (fit(a, device, implementation, how)) fitting.push_back(how);
  }
  std::int64_t best = 0;
  for (const DecodeConfiguration& how : fitting) {
    const std::int64_t m = how.tile.m;
    const bool better =
        best == 0 || (m >= rows && (best < rows || m < best)) || (best < rows && m > best);
    if (better) best = m;
  }
  std::erase_if(fitting, [&](const DecodeConfiguration& how) { return how.tile.m != best; });
  return fitting;
}

/// mmha_launch_kernel_ex of TensorRT-LLM's decoderMaskedMultiheadAttentionLaunch.h: the fewer the
/// CTAs, the more threads has each, up to an SM's; a power of two times the fewest.
void size_by_crowd(std::vector<DecodeConfiguration>& fitting, std::int64_t ctas, std::int64_t sms) {
  int most = 1;
  for (const DecodeConfiguration& how : fitting) most = std::max(most, how.resident);
  const std::int64_t factor = std::min<std::int64_t>(divide_up(most * sms, ctas), most);
  const auto threads = static_cast<int>(std::bit_floor(static_cast<std::uint64_t>(factor)));
  std::erase_if(fitting,
                [&](const DecodeConfiguration& how) { return how.resident != most / threads; });
}

/// What hopper/flash_prepare_scheduler.cu makes of that bound: no SM gets more than a tenth over
/// its share of tiles.
std::int64_t efficient_splits(const DecodeWork& work) {
  const std::int64_t most = most_efficient_splits(work);
  const auto tiles = static_cast<double>(work.tiles);
  const double share = std::ceil(kShareMargin * tiles * static_cast<double>(work.ctas) /
                                 static_cast<double>(work.sms));
  return std::min(most, static_cast<std::int64_t>(std::ceil(tiles / share)));
}

/// computeMultiBlockCount of TensorRT-LLM's decoderXQAImplCommon.h. It counts all keys, those
/// before a window too, and shorter parts than a tile: some CTAs find nothing to read. Where they
/// leave at once, `work.keys` are those of the window.
std::int64_t root_splits(const DecodeWork& work) {
  const std::int64_t least = work.keys / work.keys_of_part;
  const auto root =
      static_cast<std::int64_t>(std::round(std::sqrt(8.0 * static_cast<double>(least))));
  const std::int64_t parts = std::max<std::int64_t>(1, std::min(least, root));
  const double waves = static_cast<double>(work.ctas * parts) / static_cast<double>(work.sms);
  if (waves <= kMostWaves) return parts;
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(static_cast<double>(parts) * kMostWaves / waves));
}

}  // namespace

std::int64_t most_efficient_splits(const DecodeWork& work) {
  const auto sms = static_cast<double>(work.sms);
  const auto alone = static_cast<double>(work.ctas_of_sequence);
  if (alone >= kFullEnough * sms || work.tiles <= kTooFewTiles) return 1;
  const auto efficiency = [&](std::int64_t parts) {
    const double waves = alone * static_cast<double>(parts) / sms;
    return waves / std::ceil(waves);
  };
  const std::int64_t limit = std::min(work.tiles, work.sms);
  double best = 0;
  for (std::int64_t parts = 1; parts <= limit; ++parts) best = std::max(best, efficiency(parts));
  std::int64_t fewest = 1;
  while (efficiency(fewest) < kEfficientEnough * best) ++fewest;
  return fewest;
}

std::int64_t decode_splits(const DecodeTraits& traits, const DecodeWork& work) {
  const std::int64_t most =
      std::clamp<std::int64_t>(work.tiles / std::max(1, traits.least_tiles), 1, traits.most_splits);
  switch (traits.split) {
    case KeySplit::none:
      return 1;
    case KeySplit::fill:
      if (work.keys_of_part > 0)
        return std::min<std::int64_t>(traits.most_splits, root_splits(work));
      return std::clamp<std::int64_t>(work.slots / std::max<std::int64_t>(1, work.ctas), 1, most);
    case KeySplit::efficient:
      return std::min(most, efficient_splits(work));
    case KeySplit::cover:
      return std::min({static_cast<std::int64_t>(traits.most_splits),
                       divide_up(work.keys, work.keys_of_tile), divide_up(work.sms, work.ctas)});
  }
  return 1;
}

std::vector<std::unique_ptr<TileKernel>> make_decode_attention(const Attention& attention,
                                                               const device::DeviceSpec& device,
                                                               const Implementation& implementation,
                                                               const Residency& residency,
                                                               const std::vector<int>& gpc_sizes) {
  const std::int64_t sms = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), std::int64_t{0});
  const std::int64_t keys_of_part = std::llround(parameter_or(implementation, "keys_of_part", 0));
  const bool cuts_window = parameter_or(implementation, "cuts_window", 0) > 0;
  const auto work_of = [&](const DecodeConfiguration& how) {
    const KeyRange keys = keys_needed(attention, 0, attention.q_length, how.tile.n);
    const std::int64_t uncut =
        DecodeAttention{attention, device, implementation, how, residency}.plan().tiles;
    return DecodeWork{
        .ctas = uncut,
        .ctas_of_sequence = uncut / attention.batch,
        .sms = sms,
        .slots = sms * how.resident,
        .tiles = keys.last - keys.first,
        .keys = cuts_window ? (keys.last - keys.first) * how.tile.n : attention.kv_length,
        .keys_of_tile = how.tile.n,
        .keys_of_part = keys_of_part};
  };
  const DecodeTraits& traits = *implementation.decode;
  std::vector<DecodeConfiguration> fitting = configurations(attention, device, implementation);
  bool may_cut = false;
  for (const DecodeConfiguration& how : fitting)
    if (how.tile.use != TileUse::whole && traits.split == KeySplit::efficient)
      may_cut = may_cut || most_efficient_splits(work_of(how)) > 1;
  std::erase_if(fitting, [&](const DecodeConfiguration& how) {
    return how.tile.use == (may_cut ? TileUse::whole : TileUse::cut);
  });
  if (traits.split == KeySplit::cover && !fitting.empty())
    size_by_crowd(fitting, work_of(fitting.front()).ctas, sms);
  std::vector<std::unique_ptr<TileKernel>> launches;
  for (DecodeConfiguration how : fitting) {
    how.split = decode_splits(traits, work_of(how));
    how.combines = may_cut || how.split > 1;
    launches.push_back(
        std::make_unique<DecodeAttention>(attention, device, implementation, how, residency));
  }
  return launches;
}

}  // namespace tessera::kernels
