#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/kernels/flash_attention.hpp"
#include "models/kernels/row_kernel.hpp"

namespace tessera::kernels {

using workload::Attention;

namespace {

constexpr std::uint32_t kQueries = 1;
constexpr std::uint32_t kOutputGradients = 2;
constexpr std::uint32_t kKeys = 3;
constexpr std::uint32_t kKeyGradients = 4;
constexpr std::uint32_t kQuerySums = 5;
constexpr double kBarrierBytes = 1024;  ///< Of shared memory. // assumed
constexpr double kSumBytes = 4;  ///< dQ is added up in FP32, and dK and dV of shared key heads.
constexpr double kStatisticBytes = 8;  ///< Log-sum-exp and row sum of dO * O, per query, FP32.
constexpr double kShareOfL2 = 0.5;     ///< As forward.

/// How dK and dV leave when query heads share a key head.
enum class KeyGradients {
  own,           ///< Each key head has one query head: as they are.
  a_query_head,  ///< One copy a query head, added up by a kernel of its own (FlashAttention-2,
                 ///< flash_api.cpp: dk_expanded).
  summed,        ///< By reducing stores in FP32, converted by a kernel of its own
                 ///< (FlashAttention-3, hopper/flash_api.cpp: dk_accum).
};

KeyGradients key_gradients_of(const Attention& a, const TileShape& tile) {
  if (a.heads == a.kv_heads) return KeyGradients::own;
  return tile.schedule == GemmSchedule::multistage ? KeyGradients::a_query_head
                                                   : KeyGradients::summed;
}

double bytes_of(KeyGradients gradients, double element_bytes) {
  return gradients == KeyGradients::summed ? kSumBytes : element_bytes;
}

/// Tiles of queries that meet keys [first, last): [first, last).
struct QueryRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

QueryRange queries_needed(const Attention& a, std::int64_t first_key, std::int64_t last_key,
                          std::int64_t queries) {
  QueryRange range{0, divide_up(a.q_length, queries)};
  const std::int64_t past = a.kv_length - a.q_length;
  if (a.causal) range.first = std::clamp<std::int64_t>(first_key - past, 0, a.q_length) / queries;
  if (a.window > 0)
    range.last =
        divide_up(std::clamp<std::int64_t>(last_key - 1 + a.window - past, 0, a.q_length), queries);
  range.last = std::max(range.first, range.last);
  return range;
}

class AttentionBackward : public TileKernel {
 public:
  /// `multiplied` and `stored` differ where values are widened while they are loaded.
  AttentionBackward(const Attention& multiplied, const Attention& stored,
                    const device::DeviceSpec& device, const Implementation& implementation,
                    const TileShape& tile, int consumers, int resident, std::int64_t stages);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;

 private:
  /// Where a work item lies.
  struct Place {
    std::int64_t head = 0;  ///< Of queries, counted over all sequences.
    std::int64_t tile = 0;
    std::int64_t rows = 0;  ///< Keys inside.
    QueryRange queries;
  };

  // Barriers of a CTA.
  [[nodiscard]] Barrier full(std::int64_t stage) const { return static_cast<Barrier>(stage); }
  [[nodiscard]] Barrier empty(std::int64_t stage) const {
    return static_cast<Barrier>(stages_ + stage);
  }
  [[nodiscard]] Barrier keys_full() const { return static_cast<Barrier>(2 * stages_); }
  [[nodiscard]] Barrier keys_empty() const { return static_cast<Barrier>(2 * stages_ + 1); }
  [[nodiscard]] Barrier scores(int consumer) const {
    return static_cast<Barrier>(2 * stages_ + 2 + consumer);
  }
  [[nodiscard]] Barrier gradients(int consumer) const {
    return static_cast<Barrier>(2 * stages_ + 2 + consumers_ + consumer);
  }
  [[nodiscard]] Barrier stored(int consumer) const {
    return static_cast<Barrier>(2 * stages_ + 2 + 2 * consumers_ + consumer);
  }

  TileProgram producer(const Cta& cta) const;
  TileProgram consumer(const Cta& cta, int index) const;

  [[nodiscard]] Place place(std::int64_t tile) const;
  /// Steps of a tile: its queries. Query heads that share a key head have CTAs of their own.
  [[nodiscard]] static std::int64_t steps(const Place& at) {
    return at.queries.last - at.queries.first;
  }
  [[nodiscard]] std::int64_t key_head(const Place& at) const { return at.head / group_; }
  [[nodiscard]] Box key_gradient_box(const Place& at, int index) const;
  [[nodiscard]] Box step_box(const Place& at, std::int64_t step, std::uint32_t tensor,
                             double bytes_per_query, std::int64_t part, std::int64_t parts) const;
  void describe_costs(const device::DeviceSpec& device, const Implementation& implementation);
  void describe_launch(const device::DeviceSpec& device, const Implementation& implementation);

  Attention attention_;       ///< As multiplied.
  std::int64_t value_width_;  ///< Columns of V, dO and dV in memory.
  TileShape tile_;
  int consumers_;
  std::int64_t stages_;
  std::int64_t group_;
  std::int64_t tiles_;
  std::int64_t section_ = 1;
  std::int64_t score_cycles_ = 1;     ///< Tensor pipe, one consumer: S.
  std::int64_t output_cycles_ = 1;    ///< dP, and dV.
  std::int64_t gradient_cycles_ = 1;  ///< dK, and dQ.
  std::int64_t sfu_cycles_ = 1;
  std::int64_t fp32_cycles_ = 1;
  std::int64_t conversion_cycles_ = 1;
  std::int64_t sum_cycles_ = 1;  ///< dQ through shared memory.
  std::int64_t latency_cycles_ = 0;
  std::int64_t finish_cycles_ = 1;
  double element_bytes_;
  KeyGradients key_gradients_;
};

AttentionBackward::AttentionBackward(const Attention& multiplied, const Attention& stored,
                                     const device::DeviceSpec& device,
                                     const Implementation& implementation, const TileShape& tile,
                                     int consumers, int resident, std::int64_t stages)
    : attention_(multiplied),
      value_width_(stored.v_dim),
      tile_(tile),
      consumers_(consumers),
      stages_(stages),
      group_(attention_.heads / attention_.kv_heads),
      tiles_(divide_up(attention_.kv_length, tile.n)),
      element_bytes_(core::activation_bits(attention_.type) / 8.0),
      key_gradients_(key_gradients_of(attention_, tile)) {
  plan_.ctas_per_sm = resident;
  const double head_bytes =
      static_cast<double>(attention_.q_length) *
      (static_cast<double>(attention_.qk_dim + value_width_) * element_bytes_ +
       static_cast<double>(attention_.qk_dim) * kSumBytes);
  const double fitting = kShareOfL2 * static_cast<double>(device.l2.size.value()) / head_bytes;
  const std::int64_t heads = attention_.batch * attention_.heads;
  section_ = std::clamp<std::int64_t>(static_cast<std::int64_t>(fitting), 1, heads);
  while (heads % section_ != 0) --section_;
  describe_costs(device, implementation);
  describe_launch(device, implementation);
}

void AttentionBackward::describe_costs(const device::DeviceSpec& device,
                                       const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  const double keys = static_cast<double>(tile_.n) / consumers_;
  const double queries = tile_.m;
  const auto qk = static_cast<double>(attention_.qk_dim);
  const auto v = static_cast<double>(attention_.v_dim);
  const auto cycles = [&](double m, double n, double k) {
    return std::llround(costs.tensor_scale * mma_cycles(device, attention_.type, m, n, k) +
                        costs.step_cycles);
  };
  score_cycles_ = cycles(keys, queries, qk);
  output_cycles_ = cycles(keys, queries, v);
  gradient_cycles_ = cycles(keys, qk, queries);
  const double scores = keys * queries;
  sfu_cycles_ = std::llround(scores / device.sm.sfu_lanes);
  fp32_cycles_ =
      std::llround(scores * parameter(implementation, "backward_fp32") / device.sm.fp32_lanes);
  // P and dS, packed pairs.
  conversion_cycles_ = std::llround(2 * scores / (2.0 * device.sm.conversion_lanes));
  const double sums = queries * qk * kSumBytes / consumers_;
  // dS in, dQ in and out.
  sum_cycles_ = std::llround((scores * element_bytes_ + 2 * sums) / device.sm.shared_memory_rate);
  latency_cycles_ = std::llround(costs.mma_latency_cycles + costs.reduction_cycles);
  const double outputs = keys * (qk + v);
  finish_cycles_ = std::llround(outputs / (2.0 * device.sm.conversion_lanes) +
                                outputs * element_bytes_ / device.sm.shared_memory_rate);
}

void AttentionBackward::describe_launch(const device::DeviceSpec& device,
                                        const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  const std::int64_t heads = attention_.batch * attention_.heads;
  plan_.name = fmt::format("{}x{} backward", tile_.m, tile_.n);
  plan_.tiles = heads * tiles_;
  plan_.period = attention_.causal && tiles_ > 1 ? section_ * tiles_ : 1;
  plan_.steady_waves = 1;
  plan_.barriers = static_cast<int>(2 * stages_ + 2 + 3 * consumers_);
  plan_.persistent = implementation.persistent;
  plan_.overlapped_epilogue = true;
  plan_.serial_step = true;
  plan_.lanes = consumers_;
  plan_.stages = static_cast<int>(stages_);
  double total = 0;
  double longest = 0;
  for (std::int64_t tile = 0; tile < tiles_; ++tile) {
    const auto count = static_cast<double>(steps(place(tile * section_)));
    total += count;
    longest = std::max(longest, count);
  }
  plan_.steps = std::max(total / static_cast<double>(tiles_), 1e-3);
  if (longest > plan_.steps) plan_.longest_steps = longest;
  const auto qk = static_cast<double>(attention_.qk_dim);
  const auto v = static_cast<double>(value_width_);
  const auto each = static_cast<double>(consumers_);
  plan_.step.tensor =
      each * static_cast<double>(score_cycles_ + 2 * output_cycles_ + 2 * gradient_cycles_);
  plan_.step.sfu = each * static_cast<double>(sfu_cycles_);
  plan_.step.fp32 = each * static_cast<double>(fp32_cycles_);
  plan_.step.conversion = each * static_cast<double>(conversion_cycles_);
  plan_.step.shared_memory = each * static_cast<double>(sum_cycles_);
  plan_.step.waiting = static_cast<double>(latency_cycles_);
  const double queries = std::min<double>(tile_.m, static_cast<double>(attention_.q_length));
  plan_.step.load_bytes = queries * ((qk + v) * element_bytes_ + kStatisticBytes);
  plan_.step.loads = 2;
  plan_.epilogue.conversion = each * static_cast<double>(finish_cycles_);
  const double keys = static_cast<double>(attention_.kv_length) / static_cast<double>(tiles_);
  plan_.epilogue.load_bytes = keys * (qk + v) * element_bytes_;
  plan_.prologue_cycles = costs.prologue_cycles;
  plan_.epilogue_cycles = costs.epilogue_cycles + static_cast<double>(latency_cycles_);
  const double key_gradient_bytes = bytes_of(key_gradients_, element_bytes_);
  plan_.store_bytes = plan_.steps * queries * qk * kSumBytes + keys * (qk + v) * key_gradient_bytes;
  plan_.issue_cycles = costs.issue_cycles;
  const double query_elements =
      static_cast<double>(attention_.batch * attention_.q_length * attention_.heads);
  const double key_elements =
      static_cast<double>(attention_.batch * attention_.kv_heads * attention_.kv_length);
  plan_.read_bytes = query_elements * ((qk + v) * element_bytes_ + kStatisticBytes) +
                     key_elements * (qk + v) * element_bytes_;
  const auto copies =
      static_cast<double>(key_gradients_ == KeyGradients::a_query_head ? group_ : 1);
  plan_.write_bytes =
      query_elements * qk * kSumBytes + copies * key_elements * (qk + v) * key_gradient_bytes;
  plan_.flops = workload::flops(attention_).value();
  plan_.fp32_operations = static_cast<double>(heads) * total * plan_.step.fp32 *
                          static_cast<double>(device.sm.fp32_lanes);
}

/// Sections of heads one after another; in each, the keys that most queries see first.
AttentionBackward::Place AttentionBackward::place(std::int64_t tile) const {
  const std::int64_t per_section = section_ * tiles_;
  const std::int64_t section = tile / per_section;
  tile %= per_section;
  Place at;
  at.head = section * section_ + tile % section_;
  at.tile = tile / section_;
  const std::int64_t first = at.tile * tile_.n;
  const std::int64_t last = std::min<std::int64_t>(first + tile_.n, attention_.kv_length);
  at.rows = last - first;
  at.queries = queries_needed(attention_, first, last, tile_.m);
  return at;
}

Box AttentionBackward::step_box(const Place& at, std::int64_t step, std::uint32_t tensor,
                                double bytes_per_query, std::int64_t part,
                                std::int64_t parts) const {
  const std::int64_t tile = at.queries.first + step;
  const auto inside = static_cast<double>(
      std::clamp<std::int64_t>(attention_.q_length - tile * tile_.m, 0, tile_.m));
  return {.tensor = tensor,
          .row = static_cast<std::uint32_t>(at.head),
          .column = static_cast<std::uint32_t>(tile * parts + part),
          .bytes = static_cast<std::uint32_t>(
              std::ceil(inside * bytes_per_query / static_cast<double>(parts)))};
}

/// dK and dV of a consumer's keys.
Box AttentionBackward::key_gradient_box(const Place& at, int index) const {
  const double bytes = static_cast<double>(at.rows) / consumers_ *
                       static_cast<double>(attention_.qk_dim + value_width_) *
                       bytes_of(key_gradients_, element_bytes_);
  const bool shared = key_gradients_ == KeyGradients::summed;
  return {.tensor = kKeyGradients,
          .row = static_cast<std::uint32_t>(shared ? key_head(at) : at.head),
          .column = static_cast<std::uint32_t>(at.tile * consumers_ + index),
          .bytes = static_cast<std::uint32_t>(std::ceil(bytes))};
}

std::vector<TileProgram> AttentionBackward::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(producer(cta));
  for (int i = 0; i < consumers_; ++i) programs.push_back(consumer(cta, i));
  return programs;
}

/// Keys and values once a tile, then queries with their output gradients as stages become free.
TileProgram AttentionBackward::producer(const Cta& cta) const {
  const double query_bytes =
      static_cast<double>(attention_.qk_dim) * element_bytes_ + kStatisticBytes / 2;
  const double output_bytes =
      static_cast<double>(value_width_) * element_bytes_ + kStatisticBytes / 2;
  const double key_bytes = static_cast<double>(attention_.qk_dim + value_width_) * element_bytes_;
  co_await delay(std::llround(plan_.prologue_cycles));
  std::int64_t use = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const Place at = place(tile);
    co_await wait(keys_empty(), static_cast<std::int64_t>(t) * consumers_);
    co_await load(
        Box{.tensor = kKeys,
            .row = static_cast<std::uint32_t>(key_head(at)),
            .column = static_cast<std::uint32_t>(at.tile),
            .bytes = static_cast<std::uint32_t>(static_cast<double>(at.rows) * key_bytes)},
        keys_full());
    for (std::int64_t step = 0; step < steps(at); ++step, ++use) {
      const std::int64_t stage = use % stages_;
      co_await wait(empty(stage), use / stages_ * consumers_);
      co_await load(step_box(at, step, kQueries, query_bytes, 0, 1), full(stage));
      co_await load(step_box(at, step, kOutputGradients, output_bytes, 0, 1), full(stage));
    }
  }
}

/// One of the warpgroups that share a tile's keys: S and dP, their elementwise part, then dV, dK
/// and its part of dQ, which leaves by a reducing store.
TileProgram AttentionBackward::consumer(const Cta& cta, int index) const {
  const double sum_bytes = static_cast<double>(attention_.qk_dim) * kSumBytes;
  const auto operand = static_cast<std::uint32_t>(
      static_cast<double>(tile_.m * (attention_.qk_dim + attention_.v_dim)) * element_bytes_ / 2);
  std::int64_t use = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const Place at = place(tile);
    co_await wait(keys_full(), static_cast<std::int64_t>(t) + 1);
    for (std::int64_t step = 0; step < steps(at); ++step, ++use) {
      const std::int64_t stage = use % stages_;
      co_await wait(full(stage), 2 * (use / stages_ + 1));
      co_await mma(score_cycles_ + output_cycles_, operand, scores(index));
      co_await wait(scores(index), use + 1);
      co_await delay(latency_cycles_);
      co_await compute(Pipe::sfu, sfu_cycles_);
      co_await compute(Pipe::fp32, fp32_cycles_);
      co_await compute(Pipe::conversion, conversion_cycles_);
      co_await mma(output_cycles_ + 2 * gradient_cycles_, operand, gradients(index));
      co_await wait(gradients(index), use + 1);
      co_await signal(empty(stage));
      co_await wait(stored(index), use);  // the part of shared memory that dQ leaves through
      co_await compute(Pipe::shared_memory, sum_cycles_);
      co_await store(step_box(at, step, kQuerySums, sum_bytes, index, consumers_), stored(index));
    }
    co_await signal(keys_empty());
    co_await delay(std::llround(plan_.epilogue_cycles));
    co_await compute(Pipe::conversion, finish_cycles_);
    co_await store(key_gradient_box(at, index));
  }
}

/// Accumulators that a thread holds: dK and dV of its keys, S and dP; dQ takes the place of S.
/// TMEM holds them on Blackwell.
bool fits_registers(const Attention& a, const TileShape& tile, int consumers) {
  if (tile.schedule == GemmSchedule::tmem) return true;
  constexpr double kOthers = 24;  // assumed: addresses, row statistics
  const double keys = static_cast<double>(tile.n) / consumers;
  const double needed =
      (keys * static_cast<double>(a.qk_dim + a.v_dim) + 2 * keys * tile.m) / 128 + kOthers;
  if (tile.schedule == GemmSchedule::multistage) return needed <= 255;
  return needed <= (consumers > 2 ? 160 : 240);  // setmaxnreg of FlashAttention-3
}

}  // namespace

std::vector<std::unique_ptr<TileKernel>> make_attention_backward(
    const Attention& attention, const device::DeviceSpec& device,
    const Implementation& implementation) {
  const Attention a = multiplied(attention, implementation);
  std::vector<std::unique_ptr<TileKernel>> launches;
  const double element = core::activation_bits(a.type) / 8.0;
  const auto width = static_cast<double>(a.qk_dim + a.v_dim);
  const auto cta = static_cast<double>(device.sm.shared_memory_per_cta.value());
  const auto sm = static_cast<double>(device.sm.shared_memory.value());
  for (const TileShape& tile : implementation.tiles) {
    const int consumers = tile.consumers > 0 ? tile.consumers : std::max(1, tile.n / 64);
    if (!fits_registers(a, tile, consumers)) continue;
    const double stage = tile.m * width * element;
    // Keys and values; dS; dQ on its way out unless it leaves from TMEM in slices.
    const double held =
        tile.n * width * element + tile.m * tile.n * element +
        (tile.schedule == GemmSchedule::tmem ? 0.0
                                             : tile.m * static_cast<double>(a.qk_dim) * kSumBytes) +
        kBarrierBytes;
    if (held + stage > cta) continue;
    // Four accumulators of 128 lanes x 4 B columns: S and P share, dP and dQ share, dV, dK.
    if (tile.schedule == GemmSchedule::tmem &&
        2 * tile.m + a.qk_dim + a.v_dim > device.sm.tensor_memory.value() / 512)
      continue;
    const int resident =
        std::clamp(static_cast<int>(sm / (held + stage)), 1, implementation.ctas_per_sm);
    const auto stages = std::clamp<std::int64_t>(
        static_cast<std::int64_t>((std::min(cta, sm / resident) - held) / stage), 1, 2);
    launches.push_back(std::make_unique<AttentionBackward>(a, stored(attention, implementation),
                                                           device, implementation, tile, consumers,
                                                           resident, stages));
  }
  return launches;
}

Attention multiplied(const Attention& attention, const Implementation& implementation) {
  Attention wide = attention;
  if (implementation.values != ValueWidth::own) wide.v_dim = std::max(wide.v_dim, wide.qk_dim);
  return wide;
}

Attention stored(const Attention& attention, const Implementation& implementation) {
  return implementation.values == ValueWidth::padded ? multiplied(attention, implementation)
                                                     : attention;
}

std::vector<std::unique_ptr<TileKernel>> make_attention_passes(const Attention& attention,
                                                               const device::DeviceSpec& device,
                                                               const Implementation& implementation,
                                                               const Implementation& rows,
                                                               const std::vector<int>& gpc_sizes) {
  const double element = core::activation_bits(attention.type) / 8.0;
  const auto qk = static_cast<double>(attention.qk_dim);
  const auto v = static_cast<double>(attention.v_dim);
  const auto stored_v = static_cast<double>(stored(attention, implementation).v_dim);
  const double queries =
      static_cast<double>(attention.batch * attention.q_length * attention.heads);
  const double keys =
      static_cast<double>(attention.batch * attention.kv_length * attention.kv_heads);
  std::vector<std::unique_ptr<TileKernel>> launches;
  const auto add = [&](const RowWork& work) {
    launches.push_back(make_row_kernel(work, device, rows, {}, gpc_sizes));
  };
  const auto pad = [&](const std::string& name, double heads) {
    add({.name = name,
         .units = heads,
         .unit_elements = 1,
         .facts = {.read_bytes = v * element, .write_bytes = stored_v * element}});
  };
  if (stored_v > v) pad("attention value padding", keys);
  if (!attention.backward) return launches;
  if (stored_v > v) pad("attention output gradient padding", queries);
  // Per query: dO and O in, their product's sum and dQ's cleared sums out.
  add({.name = "attention row sums",
       .units = queries,
       .unit_elements = 1,
       .facts = {.read_bytes = 2 * stored_v * element,
                 .write_bytes = qk * kSumBytes + kStatisticBytes,
                 .fp32 = 4 * stored_v,
                 .row_steps = 1}});
  add({.name = "attention query gradients",
       .units = queries,
       .unit_elements = 1,
       .facts = {.read_bytes = qk * kSumBytes,
                 .write_bytes = qk * element,
                 .fp32 = qk,
                 .conversions = qk}});
  const KeyGradients gradients = key_gradients_of(attention, implementation.tiles.front());
  if (gradients == KeyGradients::own) return launches;
  // Per key: dK and dV of its query heads, or their sums, which were cleared before.
  const bool sums = gradients == KeyGradients::summed;
  const std::int64_t group_heads = attention.heads / attention.kv_heads;  // a divisor
  const auto group = static_cast<double>(group_heads);
  const double width = qk + stored_v;
  add({.name = "attention key gradients",
       .units = keys,
       .unit_elements = 1,
       .facts = {.read_bytes = width * (sums ? kSumBytes : group * element),
                 .write_bytes = width * (element + (sums ? kSumBytes : 0)),
                 .fp32 = width * (sums ? 1 : group),
                 .conversions = width}});
  return launches;
}

}  // namespace tessera::kernels
