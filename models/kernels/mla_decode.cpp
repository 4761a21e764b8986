#include "models/kernels/mla_decode.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/kernels/row_kernel.hpp"

namespace tessera::kernels {

using device::Generation;
using workload::AbsorbedAttention;

namespace {

constexpr std::uint32_t kQueries = 1;
constexpr std::uint32_t kCache = 2;
constexpr std::uint32_t kOutputs = 3;
constexpr std::uint32_t kPartials = 4;
constexpr double kBarrierBytes = 1024;  ///< Of shared memory. // assumed
constexpr std::int64_t kMaxStages = 4;  ///< Blocks in flight. // assumed
/// A block arrives and leaves in pieces: products start on the first before all of it is there.
constexpr std::int64_t kPieces = 2;  // assumed; FlashMLA copies a block in nine
/// Blocks of the longest range from which on boxes grow, so that a CTA simulates at most so many.
constexpr std::int64_t kMostBoxes = 96;
constexpr std::int64_t kGatheredBoxes = 8;  ///< The same where every query gathers its own tokens.
/// SM cycles to widen one FP8 element: to half, to FP32, times its scale, to BF16 (FlashMLA
/// deep-dive: 25 in 256).
constexpr double kWidenCycles = 25.0 / 256.0;
constexpr double kShareOfL2 = 0.3;   ///< That simulated boxes under way may take. // assumed
constexpr double kOutputBytes = 2;   ///< BF16, whatever was multiplied.
constexpr double kPartialBytes = 4;  ///< FP32.

class LatentForward : public TileKernel {
 public:
  LatentForward(const AbsorbedAttention& attention, const device::DeviceSpec& device,
                const Implementation& implementation, const Residency& residency,
                LatentSchedule schedule, std::int64_t sms);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;
  [[nodiscard]] bool fits() const { return fits_; }

 private:
  // Barriers of a CTA.
  [[nodiscard]] Barrier full(std::int64_t piece) const {
    return static_cast<Barrier>(piece % slots_);
  }
  [[nodiscard]] Barrier empty(std::int64_t piece) const {
    return static_cast<Barrier>(slots_ + piece % slots_);
  }
  [[nodiscard]] Barrier queries_full() const { return static_cast<Barrier>(2 * slots_); }
  [[nodiscard]] Barrier queries_empty() const { return static_cast<Barrier>(2 * slots_ + 1); }
  [[nodiscard]] Barrier scores() const { return static_cast<Barrier>(2 * slots_ + 2); }
  [[nodiscard]] Barrier outputs() const { return static_cast<Barrier>(2 * slots_ + 3); }
  [[nodiscard]] Barrier partials() const { return static_cast<Barrier>(2 * slots_ + 4); }

  TileProgram producer(const Cta& cta) const;
  TileProgram consumer(const Cta& cta) const;

  [[nodiscard]] std::int64_t boxes_of(const LatentPart& part) const {
    return divide_up(part.last - part.first, coarse_);
  }
  [[nodiscard]] std::int64_t blocks_in(const LatentPart& part, std::int64_t box) const {
    return std::min(coarse_, part.last - part.first - box * coarse_);
  }
  [[nodiscard]] std::int64_t rows_of(const LatentPart& part) const {
    return std::min<std::int64_t>(tile_.m, schedule_.rows - part.tile * tile_.m);
  }
  [[nodiscard]] Box query_box(const LatentPart& part, int rank) const;
  [[nodiscard]] Box cache_box(const LatentPart& part, std::int64_t box, std::int64_t piece,
                              int rank) const;
  [[nodiscard]] Box output_box(const LatentPart& part, std::int64_t index, int rank) const;
  [[nodiscard]] std::int64_t waiting(std::int64_t tile) const;

  /// Cycles to clear the places of tokens that the last block of a part lacks.
  [[nodiscard]] std::int64_t clearing(const LatentPart& part) const {
    const std::int64_t lacking = std::max<std::int64_t>(0, part.last * tile_.n - key_tokens_);
    return std::llround(blank_cycles_ * static_cast<double>(lacking));
  }

  /// Blocks by which the last instruction of a part reaches past its end.
  [[nodiscard]] std::int64_t padding(const LatentPart& part) const {
    const std::int64_t blocks = part.last - part.first;
    return divide_up(blocks, together_) * together_ - blocks;
  }

  void choose_stages(const device::DeviceSpec& device, const Implementation& implementation);
  void describe_costs(const device::DeviceSpec& device, const Implementation& implementation);
  void describe_launch(const Implementation& implementation);
  void describe_traffic();

  AbsorbedAttention attention_;
  Residency residency_;
  LatentSchedule schedule_;
  TileShape tile_;
  std::int64_t sms_;
  bool asynchronous_;  ///< Products run beside the warps that issue them.
  bool fits_ = true;
  bool in_kernel_;
  std::int64_t slots_ = kPieces;  ///< Of shared memory, each for a piece.
  std::int64_t together_ = 1;     ///< Blocks of one instruction.
  std::int64_t coarse_ = 1;       ///< Blocks of a simulated box.
  std::int64_t ahead_ = 0;        ///< Boxes scored before their turn.
  double token_bytes_ = 0;
  double element_bytes_ = 2;
  std::int64_t key_tokens_ = 0;   ///< That a query multiplies.
  std::int64_t held_tokens_ = 0;  ///< That it may see.
  // Of one block.
  std::int64_t score_cycles_ = 1;
  std::int64_t value_cycles_ = 1;
  std::int64_t fp32_cycles_ = 1;
  std::int64_t sfu_cycles_ = 1;  ///< Exponentials, and conversions on the same pipe.
  std::int64_t widen_cycles_ = 0;
  std::int64_t turn_cycles_ = 0;  ///< Shared memory.
  double blank_cycles_ = 0;       ///< To clear one token's place in a block that is not full.
  std::int64_t latency_cycles_ = 0;
  std::int64_t crowded_cycles_ = 0;
  double lone_ctas_ = 0;
  double load_latency_ = 0;         ///< From HBM.
  std::int64_t finish_cycles_ = 1;  ///< Conversion pipe, of a part.
  std::int64_t finish_delay_ = 0;   ///< Of a part, occupying no pipe.
};

LatentForward::LatentForward(const AbsorbedAttention& attention, const device::DeviceSpec& device,
                             const Implementation& implementation, const Residency& residency,
                             LatentSchedule schedule, std::int64_t sms)
    : attention_(attention),
      residency_(residency),
      schedule_(std::move(schedule)),
      tile_(schedule_.tile),
      sms_(sms),
      asynchronous_(tile_.schedule != GemmSchedule::multistage),
      in_kernel_(implementation.combination == Combination::in_kernel),
      token_bytes_(latent_token_bytes(attention)),
      element_bytes_(core::activation_bits(attention.type) / 8.0),
      key_tokens_(latent_tokens(attention, implementation)),
      held_tokens_(std::min(key_tokens_, attention.kv_length)) {
  choose_stages(device, implementation);
  describe_costs(device, implementation);
  describe_launch(implementation);
  describe_traffic();
}

void LatentForward::choose_stages(const device::DeviceSpec& device,
                                  const Implementation& implementation) {
  const auto width = static_cast<double>(attention_.latent + attention_.rotary);
  const double queries = tile_.m * width * element_bytes_ / tile_.cluster;
  const double stage = tile_.n * width * element_bytes_ / tile_.cluster;
  const auto cta = static_cast<double>(device.sm.shared_memory_per_cta.value());
  const auto sm = static_cast<double>(device.sm.shared_memory.value());
  const double least = queries + stage + kBarrierBytes;
  fits_ = least <= cta;
  plan_.ctas_per_sm = std::clamp(static_cast<int>(sm / least), 1, implementation.ctas_per_sm);
  const double room = std::min(cta, sm / plan_.ctas_per_sm) - queries - kBarrierBytes;
  slots_ = std::clamp<std::int64_t>(static_cast<std::int64_t>(kPieces * room / stage), kPieces,
                                    kPieces * kMaxStages);
  ahead_ = asynchronous_ && slots_ >= 2 * kPieces ? 1 : 0;
  std::int64_t longest = 1;
  for (const std::vector<LatentPart>& parts : schedule_.ctas) {
    std::int64_t blocks = 0;
    for (const LatentPart& part : parts) blocks += part.last - part.first;
    longest = std::max(longest, blocks);
  }
  coarse_ = divide_up(longest, kMostBoxes);
  // Gathered queries are many and alike: few boxes of each show what one takes.
  if (attention_.selected > 0 && static_cast<std::int64_t>(schedule_.ctas.size()) > 2 * sms_)
    coarse_ = std::max(coarse_, divide_up(longest, kGatheredBoxes));
  if (schedule_.row_tiles > 1) {
    // Tiles of rows share what L2 holds of the blocks under way.
    const double under_way = static_cast<double>(sms_ * slots_) * tile_.n * token_bytes_ / kPieces /
                             static_cast<double>(schedule_.row_tiles * tile_.cluster);
    const double room_in_l2 = kShareOfL2 * static_cast<double>(device.l2.size.value());
    coarse_ =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(room_in_l2 / under_way), 1, coarse_);
  }
}

void LatentForward::describe_costs(const device::DeviceSpec& device,
                                   const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  const double rows = tile_.m, keys = tile_.n, ctas = tile_.cluster;
  const auto latent = static_cast<double>(attention_.latent);
  const auto width = static_cast<double>(attention_.latent + attention_.rotary);
  const auto cycles = [&](double m, double n, double k) {
    return (costs.tensor_scale * mma_cycles(device, attention_.type, m, n, k) + costs.step_cycles) /
           ctas;
  };
  // One instruction may take more tokens than a stage holds.
  const double together = std::max(keys, parameter_or(implementation, "mma_tokens", 0));
  together_ = std::llround(together / keys);
  score_cycles_ = std::llround(cycles(rows, together, width) * keys / together);
  value_cycles_ = std::llround(cycles(rows, latent, together) * keys / together);
  const double scores = rows * keys / ctas;
  const double rescale = rows * latent / ctas;  // the output, when a row's maximum grows
  fp32_cycles_ = std::llround((scores * parameter(implementation, "softmax_fp32") + rescale) /
                              device.sm.fp32_lanes);
  sfu_cycles_ =
      std::llround(scores / device.sm.sfu_lanes + scores / (2.0 * device.sm.conversion_lanes));
  const bool widened =
      core::activation_bits(attention_.cache_type) < core::activation_bits(attention_.type);
  if (widened) widen_cycles_ = std::llround(keys * latent * kWidenCycles / ctas);
  if (attention_.type == core::DataType::fp8)
    turn_cycles_ = std::llround(parameter_or(implementation, "fp8_transpose", 0) * 2 * keys *
                                latent / device.sm.shared_memory_rate / ctas);
  blank_cycles_ = parameter_or(implementation, "blank_token", 0);
  latency_cycles_ = std::llround(costs.mma_latency_cycles + costs.reduction_cycles);
  crowded_cycles_ = std::llround(parameter_or(implementation, "crowded", 0));
  load_latency_ =
      static_cast<double>((device.l2.near_latency + device.l2.far_latency).value()) / 2 +
      static_cast<double>(device.hbm.latency.value());
  lone_ctas_ = parameter_or(implementation, "lone_share", 1) * static_cast<double>(sms_);
  finish_cycles_ = std::llround(rescale / (2.0 * device.sm.conversion_lanes) +
                                rescale * kOutputBytes / device.sm.shared_memory_rate);
}

/// Latency of a step of work item `tile`; more where its wave crowds the SMs.
std::int64_t LatentForward::waiting(std::int64_t tile) const {
  const std::int64_t slots = sms_ * plan_.ctas_per_sm;
  const std::int64_t wave = std::min(slots, plan_.tiles - tile / slots * slots);
  const bool crowded = static_cast<double>(wave * tile_.cluster) > lone_ctas_;
  return latency_cycles_ + (crowded ? crowded_cycles_ : 0);
}

void LatentForward::describe_launch(const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  plan_.name =
      fmt::format("{}x{} {}{}", tile_.m, tile_.n, to_string(tile_.schedule),
                  schedule_.most_parts > 1 ? fmt::format(" split {}", schedule_.most_parts) : "");
  plan_.tiles = static_cast<std::int64_t>(schedule_.ctas.size());
  plan_.cluster = tile_.cluster;
  plan_.barriers = static_cast<int>(2 * slots_ + 5);
  plan_.persistent = implementation.persistent;
  plan_.stages = static_cast<int>(slots_ / kPieces);
  plan_.serial_step = true;
  plan_.steady_waves = 1;
  double steps = 0, longest = 0, parts = 0;
  for (const std::vector<LatentPart>& list : schedule_.ctas) {
    double own = 0;
    for (const LatentPart& part : list) own += static_cast<double>(part.last - part.first);
    steps += own;
    longest = std::max(longest, own);
    parts += static_cast<double>(list.size());
  }
  const auto ctas = static_cast<double>(plan_.tiles);
  plan_.steps = std::max(steps / ctas, 1e-3);
  if (longest > plan_.steps) plan_.longest_steps = longest;
  plan_.step.tensor = static_cast<double>(score_cycles_ + value_cycles_);
  if (asynchronous_)
    plan_.unwaited_tensor = static_cast<double>(value_cycles_ + (ahead_ > 0 ? score_cycles_ : 0));
  plan_.step.fp32 = static_cast<double>(fp32_cycles_);
  plan_.step.sfu = static_cast<double>(sfu_cycles_);
  plan_.step.conversion = static_cast<double>(widen_cycles_);
  plan_.step.shared_memory = static_cast<double>(turn_cycles_);
  plan_.step.waiting = static_cast<double>(waiting(0));
  const double blocks = static_cast<double>(divide_up(key_tokens_, tile_.n));
  plan_.step.load_bytes = static_cast<double>(held_tokens_) / blocks * token_bytes_ / tile_.cluster;
  plan_.step.loads = kPieces;
  const double each = parts / ctas;  // parts of a CTA
  const double rows = static_cast<double>(schedule_.rows) /
                      static_cast<double>(schedule_.row_tiles * tile_.cluster);
  const auto latent = static_cast<double>(attention_.latent);
  plan_.epilogue.conversion = each * static_cast<double>(finish_cycles_);
  plan_.epilogue.load_bytes =
      each * rows * static_cast<double>(attention_.latent + attention_.rotary) * element_bytes_;
  const double whole = 1 - schedule_.partial_rows / std::max(1.0, parts * rows * tile_.cluster);
  plan_.store_bytes = each * rows * latent * (whole * kOutputBytes + (1 - whole) * kPartialBytes);
  plan_.prologue_cycles = costs.prologue_cycles;
  finish_delay_ = std::llround(costs.epilogue_cycles) + latency_cycles_;
  // Parts after the first wait for their queries and first block, and for their own chain.
  const double chain = plan_.step.waiting + plan_.step.fp32 + plan_.step.sfu +
                       plan_.step.conversion + plan_.step.shared_memory + plan_.step.tensor;
  const double start = load_latency_ + chain - plan_.step.tensor;
  const double lacking = blocks * tile_.n - static_cast<double>(key_tokens_);
  plan_.epilogue_cycles =
      each * (static_cast<double>(finish_delay_) +
              blank_cycles_ * lacking / static_cast<double>(schedule_.most_parts)) +
      (each - 1) * start;
  plan_.issue_cycles = costs.issue_cycles;
  // Tiles of rows that read the same tokens at once.
  plan_.shared_rows = schedule_.row_tiles;
  plan_.shared_column_bytes = plan_.step.load_bytes * tile_.cluster;
}

void LatentForward::describe_traffic() {
  const auto queries =
      static_cast<double>(attention_.batch * attention_.q_length * attention_.heads);
  const auto latent = static_cast<double>(attention_.latent);
  const auto width = static_cast<double>(attention_.latent + attention_.rotary);
  const double pool = static_cast<double>(attention_.batch * attention_.kv_length) * token_bytes_;
  const double wanted = static_cast<double>(schedule_.sequences * held_tokens_) * token_bytes_;
  plan_.read_bytes = queries * width * element_bytes_ + std::min(pool, wanted);
  plan_.warm_bytes = residency_.activations ? plan_.read_bytes : 0;
  plan_.write_bytes =
      queries * latent * kOutputBytes + schedule_.partial_rows * latent * kPartialBytes;
  plan_.overwrites = residency_.outputs;
  const auto slots = static_cast<double>(sms_ * plan_.ctas_per_sm);
  if (attention_.selected > 0) {
    // Queries that choose from one pool choose some tokens that others have read.
    plan_.reread_bytes = std::max(0.0, wanted - pool);
    plan_.reuse_distance = std::min(pool, wanted);
  } else if (attention_.q_length > 1) {
    // Each wave of row tiles reads its sequences' tokens again.
    const double waves = static_cast<double>(plan_.tiles) / slots;
    plan_.reread_bytes = std::max(0.0, waves - 1) * std::min(pool, wanted);
    plan_.reuse_distance = std::min(pool, wanted);
  }
  plan_.flops = workload::flops(attention_).value();
  plan_.fp32_operations = plan_.flops / (2.0 * width) * 8;
}

Box LatentForward::query_box(const LatentPart& part, int rank) const {
  const double width = static_cast<double>(attention_.latent + attention_.rotary);
  return {.tensor = kQueries,
          .row = static_cast<std::uint32_t>(part.sequence),
          .column = static_cast<std::uint32_t>(part.tile * tile_.cluster + rank),
          .bytes = static_cast<std::uint32_t>(std::ceil(static_cast<double>(rows_of(part)) * width *
                                                        element_bytes_ / tile_.cluster))};
}

/// Gathered tokens lie anywhere: the box stands for as many of the sequence's, which other queries
/// also choose from.
Box LatentForward::cache_box(const LatentPart& part, std::int64_t box, std::int64_t piece,
                             int rank) const {
  const std::int64_t first = part.first + box * coarse_;
  const std::int64_t end = std::min((first + blocks_in(part, box)) * tile_.n, held_tokens_);
  const std::int64_t tokens = std::max<std::int64_t>(1, end - first * tile_.n);
  std::int64_t row = part.sequence, column = first;
  if (attention_.selected > 0) {
    row = part.sequence / attention_.q_length;
    const std::int64_t query = part.sequence % attention_.q_length;
    const std::int64_t own = divide_up(held_tokens_, tile_.n);
    column = (query * own + first) % divide_up(attention_.kv_length, tile_.n);
  }
  return {.tensor = kCache,
          .row = static_cast<std::uint32_t>(row),
          .column = static_cast<std::uint32_t>((column * tile_.cluster + rank) * kPieces + piece),
          .bytes = static_cast<std::uint32_t>(
              std::ceil(static_cast<double>(tokens) * token_bytes_ / tile_.cluster / kPieces))};
}

/// `index`: of a partial result; -1: the final one.
Box LatentForward::output_box(const LatentPart& part, std::int64_t index, int rank) const {
  const double bytes = index < 0 ? kOutputBytes : kPartialBytes;
  const std::int64_t tile = part.tile * tile_.cluster + rank;
  return {
      .tensor = index < 0 ? kOutputs : kPartials,
      .row = static_cast<std::uint32_t>(part.sequence),
      .column = static_cast<std::uint32_t>(index < 0 ? tile : tile * schedule_.most_parts + index),
      .bytes = static_cast<std::uint32_t>(std::ceil(
          static_cast<double>(rows_of(part) * attention_.latent) * bytes / tile_.cluster))};
}

std::vector<TileProgram> LatentForward::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(producer(cta));
  programs.push_back(consumer(cta));
  return programs;
}

/// Queries of a part once the part before has stored its outputs, which pass through their place in
/// shared memory; then its tokens as stages become free.
TileProgram LatentForward::producer(const Cta& cta) const {
  co_await delay(std::llround(plan_.prologue_cycles));
  std::int64_t use = 0, done = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    for (const LatentPart& part : schedule_.ctas[static_cast<std::size_t>(tile)]) {
      co_await wait(queries_empty(), done++);
      co_await load(query_box(part, cta.rank), queries_full());
      for (std::int64_t box = 0; box < boxes_of(part); ++box, ++use) {
        for (std::int64_t piece = use * kPieces; piece < (use + 1) * kPieces; ++piece) {
          co_await wait(empty(piece), piece / slots_);
          co_await load(cache_box(part, box, piece % kPieces, cta.rank), full(piece));
        }
      }
    }
  }
}

TileProgram LatentForward::consumer(const Cta& cta) const {
  std::int64_t use = 0, issued = 0, scored = 0, written = 0, parts = 0, summed = 0;
  const auto operand =
      static_cast<std::uint32_t>(static_cast<double>(tile_.n * attention_.latent) * element_bytes_);
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    const std::int64_t latency = waiting(tile);
    for (const LatentPart& part : schedule_.ctas[static_cast<std::size_t>(tile)]) {
      co_await wait(queries_full(), ++parts);
      const std::int64_t start = use;
      const std::int64_t end = use + boxes_of(part);
      for (std::int64_t k = use; k < end; ++k) {
        const std::int64_t blocks = blocks_in(part, k - start);
        for (; issued < std::min(end, k + 1 + ahead_); ++issued) {
          const std::int64_t ready = blocks_in(part, issued - start);
          for (std::int64_t piece = 0; piece < kPieces; ++piece) {
            const std::int64_t at = issued * kPieces + piece;
            co_await wait(full(at), at / slots_ + 1);
            if (widen_cycles_ > 0)
              co_await compute(Pipe::conversion, widen_cycles_ * ready / kPieces);
            co_await mma(score_cycles_ * ready / kPieces, operand / kPieces,
                         piece + 1 == kPieces ? scores() : kNoBarrier);
          }
        }
        co_await wait(scores(), ++scored);
        co_await delay(latency * blocks);
        if (turn_cycles_ > 0) co_await compute(Pipe::shared_memory, turn_cycles_ * blocks);
        co_await compute(Pipe::fp32, fp32_cycles_ * blocks);
        co_await compute(Pipe::sfu, sfu_cycles_ * blocks);
        for (std::int64_t piece = k * kPieces; piece < (k + 1) * kPieces; ++piece)
          co_await mma(value_cycles_ * blocks / kPieces, operand / kPieces, empty(piece));
        if (!asynchronous_) {
          co_await mma(0, 0, outputs());
          co_await wait(outputs(), ++written);
        }
      }
      use = end;
      co_await delay(clearing(part));
      // The last instruction multiplies places beyond the part's end as well.
      if (!asynchronous_) co_await delay((latency + fp32_cycles_ + sfu_cycles_) * padding(part));
      co_await mma((score_cycles_ + value_cycles_) * padding(part), operand, outputs());
      co_await wait(outputs(), ++written);
      co_await delay(finish_delay_);
      if (part.parts > 1) {
        co_await store(output_box(part, part.index, cta.rank));
        const std::int64_t counter =
            ((part.sequence * schedule_.row_tiles) + part.tile) * tile_.cluster + cta.rank;
        if (!in_kernel_ || cta.source->arrive(counter) < part.parts - 1) {
          co_await wait_stores();
          co_await signal(queries_empty());
          continue;
        }
        for (std::int64_t other = 0; other < part.parts; ++other)
          if (other != part.index) co_await load(output_box(part, other, cta.rank), partials());
        summed += part.parts - 1;
        co_await wait(partials(), summed);
      }
      co_await compute(Pipe::conversion, finish_cycles_);
      co_await store(output_box(part, -1, cta.rank));
      co_await wait_stores();
      co_await signal(queries_empty());
    }
  }
}

std::vector<WarmBox> LatentForward::warm_boxes() const {
  std::vector<WarmBox> boxes;
  if (!residency_.activations) return boxes;
  for (const std::vector<LatentPart>& parts : schedule_.ctas) {
    for (const LatentPart& part : parts) {
      for (int rank = 0; rank < tile_.cluster; ++rank) {
        if (residency_.outputs)
          boxes.push_back({output_box(part, part.parts > 1 ? part.index : -1, rank), true});
        boxes.push_back({query_box(part, rank), false});
        for (std::int64_t box = 0; box < boxes_of(part); ++box)
          for (std::int64_t piece = 0; piece < kPieces; ++piece)
            boxes.push_back({cache_box(part, box, piece, rank), false});
      }
    }
  }
  return boxes;
}

}  // namespace

std::vector<std::unique_ptr<TileKernel>> make_absorbed_attention(
    const AbsorbedAttention& attention, const device::DeviceSpec& device,
    const Implementation& implementation, const Residency& residency,
    const std::vector<int>& gpc_sizes) {
  const std::int64_t sms = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), std::int64_t{0});
  std::vector<std::unique_ptr<TileKernel>> launches;
  auto kernel =
      std::make_unique<LatentForward>(attention, device, implementation, residency,
                                      latent_schedule(attention, implementation, sms), sms);
  if (kernel->fits()) launches.push_back(std::move(kernel));
  return launches;
}

std::vector<std::unique_ptr<TileKernel>> make_absorbed_passes(const AbsorbedAttention& attention,
                                                              const device::DeviceSpec& device,
                                                              const Implementation& implementation,
                                                              const Implementation& rows,
                                                              const std::vector<int>& gpc_sizes) {
  std::vector<std::unique_ptr<TileKernel>> launches;
  if (implementation.combination == Combination::in_kernel) return launches;
  const std::int64_t sms = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), std::int64_t{0});
  const LatentSchedule schedule = latent_schedule(attention, implementation, sms);
  if (schedule.most_parts == 1 && implementation.combination == Combination::if_split)
    return launches;
  const double parts = schedule.partial_rows / std::max(1.0, schedule.split_rows);
  const Residency written{.activations = true};
  launches.push_back(make_row_kernel(
      {.name = "latent combine",
       .units = std::max(1.0, schedule.split_rows),
       .unit_elements = static_cast<double>(attention.latent),
       .facts = {.read_bytes = std::max(1.0, parts) * kPartialBytes,
                 .write_bytes = kOutputBytes,
                 .fp32 = 2 * parts,
                 .conversions = 1,
                 .row_steps = parts * parameter_or(implementation, "combine_part", 0) /
                              std::max(1.0, rows.costs.reduction_cycles)}},
      device, rows, written, gpc_sizes));
  return launches;
}

}  // namespace tessera::kernels
