#include "models/kernels/index_scores.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "models/kernels/stream.hpp"

namespace tessera::kernels {

using workload::IndexScores;

namespace {

constexpr std::uint32_t kQueries = 1;
constexpr std::uint32_t kKeys = 2;
constexpr std::uint32_t kLogits = 3;
constexpr int kConsumers = 2;        ///< Warpgroups that share a block (DeepGEMM).
constexpr std::int64_t kStages = 3;  ///< Blocks of keys in flight (DeepGEMM, num_kv_stages).
/// Blocks of queries in flight beside the one that is worked on (DeepGEMM, num_q_stages).
constexpr std::int64_t kQueryStages = 3;
/// Boxes of the longest item from which on a box holds several blocks.
constexpr std::int64_t kMostBoxes = 24;
constexpr double kScaleBytes = 4;  ///< FP32, one a key; one weight a query and head.
constexpr double kLogitBytes = 4;

/// Keys that the queries of block `block` scan, all sequences' keys end to end.
struct Range {
  std::int64_t sequence = 0;
  std::int64_t keys = 1;
};

Range range_of(const IndexScores& s, std::int64_t queries_per_block, std::int64_t block) {
  const std::int64_t first = block * queries_per_block;
  const std::int64_t last = std::min(first + queries_per_block, s.batch * s.q_length) - 1;
  const std::int64_t sequence = first / s.q_length;
  const std::int64_t others = last / s.q_length - sequence;
  return {sequence, std::max<std::int64_t>(1, others * (s.kv_length / s.compression) +
                                                  visible_keys(s, last % s.q_length))};
}

class IndexKernel : public TileKernel {
 public:
  IndexKernel(const IndexScores& scores, const device::DeviceSpec& device,
              const Implementation& implementation, const Residency& residency,
              IndexSchedule schedule, std::int64_t sms);

  [[nodiscard]] std::vector<TileProgram> roles(const Cta& cta) const override;
  [[nodiscard]] std::vector<WarmBox> warm_boxes() const override;
  [[nodiscard]] double work_before(std::int64_t tile) const override {
    return work_before_[static_cast<std::size_t>(std::min(tile, plan_.tiles))];
  }

 private:
  static Barrier full(std::int64_t box) { return static_cast<Barrier>(box % kStages); }
  static Barrier empty(std::int64_t box) { return static_cast<Barrier>(kStages + box % kStages); }
  static Barrier queries_full() { return 2 * kStages; }
  static Barrier queries_empty() { return 2 * kStages + 1; }
  static Barrier scored(int consumer) { return static_cast<Barrier>(2 * kStages + 2 + consumer); }

  TileProgram producer(const Cta& cta) const;
  TileProgram consumer(const Cta& cta, int index) const;

  [[nodiscard]] const std::vector<IndexPart>& item(std::int64_t tile) const {
    return schedule_.items[static_cast<std::size_t>(tile)];
  }
  [[nodiscard]] std::int64_t boxes_of(const IndexPart& part) const {
    return divide_up(part.last - part.first, coarse_);
  }
  [[nodiscard]] std::int64_t blocks_in(const IndexPart& part, std::int64_t box) const {
    return std::min(coarse_, part.last - part.first - box * coarse_);
  }
  [[nodiscard]] Box query_box(const IndexPart& part) const;
  [[nodiscard]] Box key_box(const IndexPart& part, std::int64_t box) const;
  [[nodiscard]] Box logit_box(const IndexPart& part, std::int64_t box, int consumer) const;

  void describe_costs(const device::DeviceSpec& device, const Implementation& implementation);
  void describe_launch(const Implementation& implementation, std::int64_t sms);

  IndexScores scores_;
  Residency residency_;
  IndexSchedule schedule_;
  TileShape tile_;
  std::vector<double> work_before_;
  std::int64_t coarse_ = 1;  ///< Blocks of a simulated box.
  double key_bytes_ = 132;
  // Of one block and consumer.
  std::int64_t mma_cycles_ = 1;
  std::int64_t fp32_cycles_ = 1;
  std::int64_t latency_cycles_ = 0;
  std::int64_t finish_cycles_ = 0;  ///< Of a part.
};

IndexKernel::IndexKernel(const IndexScores& scores, const device::DeviceSpec& device,
                         const Implementation& implementation, const Residency& residency,
                         IndexSchedule schedule, std::int64_t sms)
    : scores_(scores),
      residency_(residency),
      schedule_(std::move(schedule)),
      tile_(schedule_.tile),
      coarse_(divide_up(schedule_.longest, kMostBoxes)),
      key_bytes_(index_key_bytes(scores)) {
  describe_costs(device, implementation);
  describe_launch(implementation, sms);
}

void IndexKernel::describe_costs(const device::DeviceSpec& device,
                                 const Implementation& implementation) {
  const ImplementationCosts& costs = implementation.costs;
  const double keys = static_cast<double>(tile_.n) / kConsumers;
  const auto rows = static_cast<double>(schedule_.queries_per_block * scores_.heads);
  mma_cycles_ = std::llround(costs.tensor_scale * mma_cycles(device, scores_.type, keys, rows,
                                                             static_cast<double>(scores_.dim)) +
                             costs.step_cycles / kConsumers);
  fp32_cycles_ =
      std::llround(keys * rows * parameter(implementation, "reduce_fp32") / device.sm.fp32_lanes);
  latency_cycles_ = std::llround(costs.reduction_cycles);
  finish_cycles_ = std::llround(costs.epilogue_cycles);
}

void IndexKernel::describe_launch(const Implementation& implementation, std::int64_t sms) {
  const ImplementationCosts& costs = implementation.costs;
  plan_.name = fmt::format("{}x{} {}", schedule_.queries_per_block * scores_.heads, tile_.n,
                           to_string(tile_.schedule));
  plan_.tiles = static_cast<std::int64_t>(schedule_.items.size());
  plan_.ctas_per_sm = implementation.ctas_per_sm;
  plan_.barriers = 2 * kStages + 2 + kConsumers;
  plan_.persistent = true;
  plan_.overlapped_epilogue = true;
  plan_.serial_step = true;
  plan_.lanes = kConsumers;
  plan_.stages = kStages;
  plan_.steady_waves = 1;
  double parts = 0;
  work_before_.reserve(schedule_.items.size() + 1);
  work_before_.push_back(0);
  for (const std::vector<IndexPart>& item : schedule_.items) {
    double blocks = 0;
    for (const IndexPart& part : item) blocks += static_cast<double>(part.last - part.first);
    parts += static_cast<double>(item.size());
    work_before_.push_back(work_before_.back() + blocks);
  }
  const auto items = static_cast<double>(plan_.tiles);
  plan_.steps = std::max(schedule_.blocks / items, 1e-3);
  if (static_cast<double>(schedule_.longest) > plan_.steps)
    plan_.longest_steps = static_cast<double>(schedule_.longest);
  plan_.step.tensor = static_cast<double>(kConsumers * mma_cycles_);
  plan_.step.fp32 = static_cast<double>(kConsumers * fp32_cycles_);
  plan_.step.waiting =
      static_cast<double>(latency_cycles_) +
      parts / std::max(1.0, schedule_.blocks) * static_cast<double>(finish_cycles_);
  plan_.step.load_bytes = static_cast<double>(tile_.n) * key_bytes_;
  plan_.step.loads = 1;
  plan_.prologue_cycles = costs.prologue_cycles;
  plan_.issue_cycles = costs.issue_cycles;
  const double pairs = workload::index_pairs(scores_);
  plan_.store_bytes = pairs * kLogitBytes / items;
  const auto sequences = static_cast<double>(scores_.batch);
  const std::int64_t keys = scores_.kv_length / scores_.compression;
  const auto pool = static_cast<double>(keys) * key_bytes_;
  const auto queries = static_cast<double>(scores_.batch * scores_.q_length * scores_.heads);
  plan_.read_bytes = queries * key_bytes_ + sequences * pool;
  plan_.warm_bytes = residency_.activations_part * plan_.read_bytes;
  // Blocks of queries of a sequence scan its keys one after another.
  const double waves = items / static_cast<double>(sms) / sequences;
  plan_.reread_bytes = std::max(0.0, waves - 1) * sequences * pool;
  plan_.reuse_distance = pool;
  plan_.write_bytes = pairs * kLogitBytes;
  plan_.overwrites = residency_.outputs;
  plan_.flops = workload::flops(scores_).value();
  plan_.fp32_operations = 2.0 * pairs * static_cast<double>(scores_.heads);
}

Box IndexKernel::query_box(const IndexPart& part) const {
  const auto rows = static_cast<double>(schedule_.queries_per_block * scores_.heads);
  return {.tensor = kQueries,
          .row = static_cast<std::uint32_t>(part.query_block),
          .bytes = static_cast<std::uint32_t>(std::ceil(rows * key_bytes_))};
}

Box IndexKernel::key_box(const IndexPart& part, std::int64_t box) const {
  const double keys = static_cast<double>(blocks_in(part, box) * tile_.n);
  return {.tensor = kKeys,
          .row = static_cast<std::uint32_t>(part.sequence),
          .column = static_cast<std::uint32_t>(part.first + box * coarse_),
          .bytes = static_cast<std::uint32_t>(std::ceil(keys * key_bytes_))};
}

Box IndexKernel::logit_box(const IndexPart& part, std::int64_t box, int consumer) const {
  const double pairs =
      static_cast<double>(blocks_in(part, box) * tile_.n * schedule_.queries_per_block);
  return {
      .tensor = kLogits,
      .row = static_cast<std::uint32_t>(part.query_block),
      .column = static_cast<std::uint32_t>((part.first + box * coarse_) * kConsumers + consumer),
      .bytes = static_cast<std::uint32_t>(std::ceil(pairs * kLogitBytes / kConsumers))};
}

std::vector<TileProgram> IndexKernel::roles(const Cta& cta) const {
  std::vector<TileProgram> programs;
  programs.push_back(producer(cta));
  for (int index = 0; index < kConsumers; ++index) programs.push_back(consumer(cta, index));
  return programs;
}

TileProgram IndexKernel::producer(const Cta& cta) const {
  co_await delay(std::llround(plan_.prologue_cycles));
  std::int64_t use = 0, parts = 0;
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    for (const IndexPart& part : item(tile)) {
      if (++parts > kQueryStages)
        co_await wait(queries_empty(), (parts - kQueryStages) * kConsumers);
      co_await load(query_box(part), queries_full());
      for (std::int64_t box = 0; box < boxes_of(part); ++box, ++use) {
        co_await wait(empty(use), use / kStages * kConsumers);
        co_await load(key_box(part, box), full(use));
      }
    }
  }
}

/// Half of every block: its product, then the weighted sum over heads and the logits.
TileProgram IndexKernel::consumer(const Cta& cta, int index) const {
  std::int64_t use = 0, parts = 0;
  const auto operand =
      static_cast<std::uint32_t>(static_cast<double>(tile_.n) * key_bytes_ / kConsumers);
  for (std::size_t t = 0;; ++t) {
    const std::int64_t tile = cta.tile(t);
    if (tile < 0) break;
    for (const IndexPart& part : item(tile)) {
      co_await wait(queries_full(), ++parts);
      for (std::int64_t box = 0; box < boxes_of(part); ++box) {
        const std::int64_t blocks = blocks_in(part, box);
        co_await wait(full(use), use / kStages + 1);
        co_await mma(mma_cycles_ * blocks, operand, scored(index));
        co_await wait(scored(index), use + 1);
        co_await signal(empty(use++));
        co_await delay(latency_cycles_ * blocks);
        co_await compute(Pipe::fp32, fp32_cycles_ * blocks);
        co_await store(logit_box(part, box, index));
      }
      co_await delay(finish_cycles_);
      co_await signal(queries_empty());
    }
  }
}

std::vector<WarmBox> IndexKernel::warm_boxes() const {
  std::vector<WarmBox> boxes;
  if (residency_.activations_part <= 0) return boxes;
  std::set<std::pair<std::uint32_t, std::uint32_t>> seen;  // places of keys
  for (const std::vector<IndexPart>& parts : schedule_.items) {
    for (const IndexPart& part : parts) {
      add_survivor(query_box(part), residency_.activations_part, boxes);
      for (std::int64_t box = 0; box < boxes_of(part); ++box) {
        if (residency_.outputs)
          for (int consumer = 0; consumer < kConsumers; ++consumer)
            boxes.push_back({logit_box(part, box, consumer), true});
        const Box keys = key_box(part, box);
        if (seen.emplace(keys.row, keys.column).second)
          add_survivor(keys, residency_.activations_part, boxes);
      }
    }
  }
  return boxes;
}

/// The blocks of all queries end to end, in equal ranges. Source: DeepGEMM,
/// smxx_paged_mqa_logits_metadata.
void deal_out(const IndexScores& s, std::int64_t sms, IndexSchedule& schedule) {
  const std::int64_t query_blocks = divide_up(s.batch * s.q_length, schedule.queries_per_block);
  const auto blocks_of = [&](std::int64_t block) {
    return divide_up(range_of(s, schedule.queries_per_block, block).keys, schedule.tile.n);
  };
  std::int64_t total = 0;
  for (std::int64_t block = 0; block < query_blocks; ++block) total += blocks_of(block);
  const std::int64_t share = divide_up(total, sms);
  std::int64_t left = 0;
  for (std::int64_t block = 0; block < query_blocks; ++block) {
    const std::int64_t blocks = blocks_of(block);
    for (std::int64_t done = 0; done < blocks;) {
      if (left == 0) {
        schedule.items.emplace_back();
        left = share;
      }
      const std::int64_t taken = std::min(left, blocks - done);
      schedule.items.back().push_back({.query_block = block,
                                       .sequence = block * schedule.queries_per_block / s.q_length,
                                       .first = done,
                                       .last = done + taken});
      done += taken;
      left -= taken;
    }
  }
}

}  // namespace

double index_key_bytes(const IndexScores& s) {
  return static_cast<double>(s.dim) * core::activation_bits(s.type) / 8.0 + kScaleBytes;
}

IndexSchedule index_schedule(const IndexScores& scores, const Implementation& implementation,
                             std::int64_t sms) {
  IndexSchedule schedule;
  schedule.tile = implementation.tiles.front();
  schedule.queries_per_block = std::max<std::int64_t>(1, schedule.tile.m / scores.heads);
  if (implementation.partition == KeyPartition::balanced) {
    deal_out(scores, sms, schedule);
  } else {
    const std::int64_t blocks =
        divide_up(scores.batch * scores.q_length, schedule.queries_per_block);
    schedule.items.reserve(static_cast<std::size_t>(blocks));
    for (std::int64_t block = 0; block < blocks; ++block) {
      const Range range = range_of(scores, schedule.queries_per_block, block);
      schedule.items.push_back({{.query_block = block,
                                 .sequence = range.sequence,
                                 .last = divide_up(range.keys, schedule.tile.n)}});
    }
  }
  for (const std::vector<IndexPart>& item : schedule.items) {
    std::int64_t blocks = 0;
    for (const IndexPart& part : item) blocks += part.last - part.first;
    schedule.longest = std::max(schedule.longest, blocks);
    schedule.blocks += static_cast<double>(blocks);
  }
  return schedule;
}

std::vector<std::unique_ptr<TileKernel>> make_index_scores(const IndexScores& scores,
                                                           const device::DeviceSpec& device,
                                                           const Implementation& implementation,
                                                           const Residency& residency,
                                                           const std::vector<int>& gpc_sizes) {
  std::vector<std::unique_ptr<TileKernel>> launches;
  if (implementation.tiles.empty() || scores.heads > implementation.tiles.front().m)
    return launches;
  const std::int64_t sms = std::accumulate(gpc_sizes.begin(), gpc_sizes.end(), std::int64_t{0});
  launches.push_back(std::make_unique<IndexKernel>(
      scores, device, implementation, residency, index_schedule(scores, implementation, sms), sms));
  return launches;
}

}  // namespace tessera::kernels
