#include "models/training/cost_table.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "models/streams/slowest_part.hpp"
#include "models/workload/lowering.hpp"

namespace tessera::training {

const std::vector<int>& CommunicationGroups::of(workload::Transfer::Group group) const {
  switch (group) {
    case workload::Transfer::Group::tensor:
      return tensor;
    case workload::Transfer::Group::context:
      return context;
    case workload::Transfer::Group::expert_tensor:
      return expert_tensor;
    case workload::Transfer::Group::expert:
      return expert;
  }
  return tensor;
}

CostTable::CostTable(const TrainingJob& job, const workload::RoutedLoad& load,
                     CommunicationGroups groups, gpu::KernelTimer& kernels, NetworkTimer& network)
    : job_(job), load_(load), groups_(std::move(groups)), timer_(kernels), network_(network) {}

namespace {

/// Hopper's kernel that promotes sums of per-tensor FP8 products.
constexpr const char* kPromoting = "cublas_split_accumulation_hopper";

/// Hopper's GEMMs are persistent and deal their tiles out before they start (pytorch issue 143988);
/// Ampere's launch a CTA a tile, and Blackwell's CTAs ask for the next one (CUTLASS issue 2471).
std::optional<streams::DealtTiles> dealt_tiles(const KernelCost& cost,
                                               const device::DeviceSpec& device) {
  const bool product = std::holds_alternative<workload::Gemm>(cost.op) ||
                       std::holds_alternative<workload::GroupedGemm>(cost.op);
  if (!product || cost.sms > 0 || device.generation != device::Generation::hopper) return {};
  const auto tiles = cost.result.counters.find("launch__grid_size");
  if (tiles == cost.result.counters.end()) return {};
  return streams::DealtTiles{
      .ctas = static_cast<int>(std::min<double>(tiles->second, device.sm.count)),
      .alone = cost.result.clock / device.clock.boost};
}

}  // namespace

const KernelCost& CostTable::kernel(const workload::Operator& op, int sms, bool promoted) {
  const bool narrow = promoted && job_.device.generation == device::Generation::hopper;
  const auto key = std::pair{workload::describe(op) + (narrow ? " promoted" : ""), sms};
  const auto found = kernels_.find(key);
  if (found != kernels_.end()) return found->second;
  KernelCost cost{.op = op, .sms = sms, .result = {}, .time = {}};
  cost.result = timer_.run(op, {.sms = sms}, narrow ? kPromoting : "");
  const gpu::KernelResult& r = cost.result;
  assert(r.lower <= r.time && r.time <= r.upper && "a kernel's interval must hold its time");
  cost.time = {r.time, r.lower, r.upper, family_of(op)};
  streams::wait_for_slowest(cost, job_.device, job_.part_spread, job_.gpus);
  cost.dealt = dealt_tiles(cost, job_.device);
  return kernels_.emplace(key, std::move(cost)).first->second;
}

NetworkCost CostTable::exchanged(workload::Exchange::Direction direction, std::int64_t tokens,
                                 core::DataType type) {
  if (job_.framework.dispatcher == workload::Dispatcher::once_a_place)
    return network_.exchange({.direction = direction,
                              .gpus = groups_.expert,
                              .tokens_per_rank = tokens,
                              .hidden = job_.architecture.hidden,
                              .type = type,
                              .load = &load_,
                              .sms = job_.communication_sms});
  const double rows =
      static_cast<double>(tokens * job_.architecture.moe.top_k) * std::max(1.0, load_.skew);
  const double bytes =
      rows * static_cast<double>(job_.architecture.hidden) * workload::activation_bytes(type);
  NetworkCost cost = network_.all_to_all(groups_.expert, core::Bytes{std::llround(bytes)});
  cost.sms_included = true;
  return cost;
}

const ExchangeCost& CostTable::exchange(workload::Exchange::Direction direction) {
  const auto found = exchanges_.find(direction);
  if (found != exchanges_.end()) return found->second;
  const bool dispatch = direction == workload::Exchange::Direction::dispatch;
  // Every tensor and context rank sends tokens of its own.
  const std::int64_t tokens =
      job_.micro_batch * job_.sequence_length / (job_.tensor * job_.context);
  const core::DataType type = dispatch ? job_.precision.dispatch : job_.precision.combine;
  ExchangeCost cost =
      streams::exchange_cost(exchanged(direction, tokens, type),
                             timer_.run(workload::Exchange{.direction = direction,
                                                           .tokens = tokens,
                                                           .hidden = job_.architecture.hidden,
                                                           .copies = load_.ranks_per_token,
                                                           .type = type},
                                        {.sms = job_.communication_sms}));
  return exchanges_.emplace(direction, std::move(cost)).first->second;
}

const NetworkCost& CostTable::transfer(const workload::Transfer& transfer) {
  using Kind = workload::Transfer::Kind;
  const core::Bytes size{std::llround(transfer.bytes)};
  const auto key = std::tuple{transfer.kind, transfer.group, size.value(), transfer.copy_engines};
  const auto found = transfers_.find(key);
  if (found != transfers_.end()) return found->second;
  const std::vector<int>& gpus = groups_.of(transfer.group);
  assert(gpus.size() > 1 && "a transfer needs the GPUs of its group");
  NetworkCost cost;
  switch (transfer.kind) {
    case Kind::all_gather:
      cost = network_.all_gather(gpus, size);
      break;
    case Kind::reduce_scatter:
      cost = network_.reduce_scatter(gpus, size);
      break;
    case Kind::all_reduce:
      cost = network_.all_reduce(gpus, size);
      break;
    case Kind::all_to_all:
      cost = network_.all_to_all(gpus, size);
      break;
    case Kind::send:
      cost = network_.ring_shift(gpus, size);
      break;
  }
  if (transfer.copy_engines) cost.sms = 0;
  return transfers_.emplace(key, cost).first->second;
}

}  // namespace tessera::training
