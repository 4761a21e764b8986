#include "models/serving/iteration_costs.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "models/workload/part_builder.hpp"

namespace tessera::serving {
namespace {

using workload::Exchange;
using workload::ExpertPath;
using workload::Transfer;

std::vector<int> every(std::int64_t count, std::int64_t step = 1) {
  std::vector<int> gpus;
  for (std::int64_t i = 0; i < count; ++i) gpus.push_back(static_cast<int>(i * step));
  return gpus;
}

/// Bytes of the activation that an operator reads; none of attention, whose cache is larger.
double activation_input(const workload::Operator& op) {
  const auto bytes = [](std::int64_t rows, std::int64_t columns, core::DataType type) {
    return static_cast<double>(rows) * static_cast<double>(columns) *
           workload::activation_bytes(type);
  };
  if (const auto* gemm = std::get_if<workload::Gemm>(&op))
    return bytes(gemm->batch * gemm->m, gemm->k, gemm->type);
  if (const auto* grouped = std::get_if<workload::GroupedGemm>(&op))
    return bytes(std::accumulate(grouped->sizes.begin(), grouped->sizes.end(), std::int64_t{0}),
                 grouped->fixed, grouped->type);
  if (const auto* stream = std::get_if<workload::Stream>(&op))
    return bytes(stream->rows, stream->columns, stream->input) * std::max(1, stream->fan);
  if (const auto* exchange = std::get_if<Exchange>(&op))
    return bytes(exchange->tokens, exchange->hidden, core::DataType::bf16);
  return 0;
}

/// Part of its time that a kernel adds to those that it runs beside (Work::beside).
double added_share(const workload::Operator& op, const gpu::KernelResult& result,
                   const device::DeviceSpec& device) {
  const double bytes_seconds =
      result.hbm_bytes / (device.hbm.peak_rate.value() * device.hbm.reachable);
  const auto* gemm = std::get_if<workload::Gemm>(&op);
  const double product_seconds =
      gemm == nullptr ? 0.0 : (workload::flops(op) / device.peak(gemm->type)).value();
  const double alone = core::to_seconds(result.time).value();
  return alone > 0 ? std::min(1.0, std::max(bytes_seconds, product_seconds) / alone) : 1.0;
}

}  // namespace

InstanceGroups::InstanceGroups(const workload::InferenceSplit& split)
    : tensor(every(split.tensor)),
      expert_tensor(every(split.expert_tensor)),
      expert(every(split.expert, split.expert_tensor)),
      instance(every(split.gpus())) {}

IterationCosts::IterationCosts(const InferenceJob& job, gpu::KernelTimer& kernels,
                               streams::NetworkTimer& network)
    : job_(job), groups_(job.split), timer_(kernels), network_(network) {}

const streams::KernelCost& IterationCosts::kernel(const workload::Work& work, int sms) {
  const workload::Operator& op = work.op;
  const auto key = std::tuple{workload::describe(op), work.implementation, sms, work.beside};
  const auto found = kernels_.find(key);
  if (found != kernels_.end()) return found->second;
  gpu::ExecutionContext context{.sms = sms};
  // Half of L2: what the kernel before wrote and what this one writes share it.
  const double input = activation_input(op);
  context.warm_activations =
      input > 0 && 2 * input <= static_cast<double>(job_.device.l2.size.value());
  streams::KernelCost cost{
      .op = op, .sms = sms, .result = timer_.run(op, context, work.implementation), .time = {}};
  const gpu::KernelResult& r = cost.result;
  assert(r.lower <= r.time && r.time <= r.upper && "a kernel's interval must hold its time");
  cost.time = {r.time, r.lower, r.upper, streams::family_of(op)};
  streams::wait_for_slowest(cost, job_.device, job_.part_spread, job_.instance_gpus());
  cost.beside = work.beside;
  if (work.beside) cost.time.scale(added_share(op, r, job_.device));
  return kernels_.emplace(key, std::move(cost)).first->second;
}

const streams::ExchangeCost& IterationCosts::exchange(const ExchangeQuestion& question,
                                                      const workload::RoutedLoad& load) {
  const auto key = std::pair{question, load.hottest_rank};
  const auto found = exchanges_.find(key);
  if (found != exchanges_.end()) return found->second;
  const bool dispatch = question.direction == Exchange::Direction::dispatch;
  const core::DataType type = dispatch ? job_.precision.dispatch : job_.precision.combine;
  const ExpertPath path = job_.split.path;
  streams::ExchangeCost cost;
  if (path == ExpertPath::all_to_all) {
    // A rank's rows are as many as the hottest one's and spread evenly over the others.
    const double rows = static_cast<double>(question.tokens * job_.architecture.moe.top_k) *
                        std::max(1.0, load.skew);
    const double bytes =
        rows * static_cast<double>(job_.architecture.hidden) * workload::activation_bytes(type);
    cost.network = network_.all_to_all(groups_.expert, core::Bytes{std::llround(bytes)});
    cost.hbm_bytes = cost.network.hbm_bytes;
  } else {
    const bool low_latency = path == ExpertPath::low_latency;
    const int sms = low_latency ? job_.device.sm.count : job_.communication_sms;
    cost.network = network_.exchange({.direction = question.direction,
                                      .gpus = groups_.expert,
                                      .tokens_per_rank = question.tokens,
                                      .hidden = job_.architecture.hidden,
                                      .type = type,
                                      .load = &load,
                                      .sms = sms,
                                      .low_latency = low_latency});
    if (!low_latency)
      cost = streams::exchange_cost(cost.network,
                                    timer_.run(Exchange{.direction = question.direction,
                                                        .tokens = question.tokens,
                                                        .hidden = job_.architecture.hidden,
                                                        .copies = load.ranks_per_token,
                                                        .type = type},
                                               {.sms = sms}));
  }
  if (path != ExpertPath::normal) {
    const auto wire = [&](core::Time time) {
      return std::max(core::Time{}, time - question.received);
    };
    cost.time = {wire(cost.network.time), wire(cost.network.lower), wire(cost.network.upper),
                 streams::Family::network};
  }
  return exchanges_.emplace(key, std::move(cost)).first->second;
}

const streams::NetworkCost& IterationCosts::sending(const ExchangeQuestion& question,
                                                    const workload::RoutedLoad& load) {
  const streams::ExchangeCost& whole = exchange(question, load);
  const auto found = sendings_.find(&whole);
  if (found != sendings_.end()) return found->second;
  streams::NetworkCost cost;
  cost.time = whole.network.sending;
  cost.lower = whole.network.sending_lower;
  cost.upper = whole.network.sending_upper;
  cost.grade = core::Grade::assumed;
  return sendings_.emplace(&whole, cost).first->second;
}

streams::NetworkCost IterationCosts::sum(const std::vector<int>& gpus, core::Bytes size) {
  switch (job_.reduce_by) {
    case ReduceBy::nccl:
      break;
    case ReduceBy::vllm:
      return network_.all_reduce_by(fabric::ReduceLibrary::vllm, gpus, size);
    case ReduceBy::sglang:
      return network_.all_reduce_by(fabric::ReduceLibrary::sglang, gpus, size);
    case ReduceBy::trtllm:
      return network_.all_reduce_by(fabric::ReduceLibrary::trtllm, gpus, size);
  }
  return network_.all_reduce(gpus, size);
}

const streams::NetworkCost& IterationCosts::transfer(const Transfer& transfer) {
  const core::Bytes size{std::llround(transfer.bytes)};
  const auto key = std::tuple{transfer.kind, transfer.group, size.value()};
  const auto found = transfers_.find(key);
  if (found != transfers_.end()) return found->second;
  const std::vector<int>& gpus = transfer.group == Transfer::Group::expert ? groups_.instance
                                 : transfer.group == Transfer::Group::expert_tensor
                                     ? groups_.expert_tensor
                                     : groups_.tensor;
  assert(gpus.size() > 1 && "a transfer needs the GPUs of its group");
  streams::NetworkCost cost;
  switch (transfer.kind) {
    case Transfer::Kind::all_gather:
      cost = network_.all_gather(gpus, size);
      break;
    case Transfer::Kind::reduce_scatter:
      cost = network_.reduce_scatter(gpus, size);
      break;
    case Transfer::Kind::all_reduce:
      cost = sum(gpus, size);
      break;
    case Transfer::Kind::all_to_all:
      cost = network_.all_to_all(gpus, size);
      break;
    case Transfer::Kind::send:
      cost = network_.ring_shift(gpus, size);
      break;
  }
  return transfers_.emplace(key, cost).first->second;
}

core::Grade IterationCosts::worst_grade() const {
  core::Grade grade = core::Grade::measured;
  for (const auto& [key, cost] : kernels_) grade = core::worst(grade, cost.result.grade);
  for (const auto& [key, cost] : exchanges_) grade = core::worst(grade, cost.network.grade);
  for (const auto& [key, cost] : transfers_) grade = core::worst(grade, cost.grade);
  return grade;
}

}  // namespace tessera::serving
