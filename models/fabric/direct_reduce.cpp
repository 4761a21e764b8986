#include "models/fabric/direct_reduce.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/diagnostics.hpp"

namespace tessera::fabric {

namespace {

using device::Generation;

constexpr double kKiB = 1024;
constexpr double kMiB = 1024 * 1024;

/// Largest message that vLLM (and SGLang before its second kernel) gives its own kernel.
constexpr double kCustomLimit = 8 * kMiB;  // vLLM custom_all_reduce.py, max_size
/// SGLang custom_all_reduce_v2.py, max_pull_size.
constexpr double kSglangLimit = 16 * kMiB;

bool in_cuda_graph_table(Generation generation) {
  return generation == Generation::hopper || generation == Generation::blackwell;
}

/// vLLM csrc/custom_all_reduce.cuh: one stage for two ranks, and for little.
ReduceMethod custom_kernel(int ranks, double bytes) {
  const double limit = ranks <= 4 ? 512 * kKiB : 256 * kKiB;
  return ranks == 2 || bytes < limit ? ReduceMethod::one_shot : ReduceMethod::two_shot;
}

/// vLLM all_reduce_utils.py: what its own kernel takes where symmetric memory is there.
double vllm_custom_limit(Generation generation, int ranks) {
  if (generation == Generation::hopper)
    return ranks > 6 ? kMiB / 4 : ranks > 4 ? kMiB / 2 : 8 * kMiB;
  return ranks > 4 ? kMiB : 2 * kMiB;
}

/// The same for symmetric memory.
double vllm_symmetric_limit(Generation generation, int ranks) {
  if (generation == Generation::hopper) return (ranks == 4 ? 32 : 64) * kMiB;
  return (ranks == 2 ? 8 : ranks == 4 ? 32 : 128) * kMiB;
}

ReduceMethod vllm_method(const ReduceContext& c) {
  if (!c.nvlink && c.ranks > 2) return ReduceMethod::nccl;
  const bool symmetric = c.nvlink && c.in_switch && in_cuda_graph_table(c.generation);
  const double custom = symmetric ? vllm_custom_limit(c.generation, c.ranks) : kCustomLimit;
  if (c.bytes < custom) return custom_kernel(c.ranks, c.bytes);
  if (!symmetric || c.bytes > vllm_symmetric_limit(c.generation, c.ranks))
    return ReduceMethod::nccl;
  // vLLM symm_mem.py, _WORLD_SIZES_MULTIMEM.
  const bool multicast = c.ranks >= (c.generation == Generation::hopper ? 4 : 6);
  return multicast ? ReduceMethod::staged_multicast : ReduceMethod::staged_two_shot;
}

/// SGLang custom_all_reduce_v2.py, THRESHOLD_2_SHOT_MAP: KiB for three ranks and more.
double sglang_one_shot_limit(Generation generation, int ranks) {
  constexpr double kHopper[] = {512, 384, 256, 192, 192, 160};
  constexpr double kBlackwell[] = {4096, 2048, 2048, 1024, 896, 720};
  const auto at = static_cast<std::size_t>(std::clamp(ranks, 3, 8) - 3);
  return (generation == Generation::hopper ? kHopper[at] : kBlackwell[at]) * kKiB;
}

ReduceMethod sglang_method(const ReduceContext& c) {
  if (!c.nvlink || !in_cuda_graph_table(c.generation)) {
    const bool fits = (c.nvlink || c.ranks == 2) && c.bytes <= kCustomLimit;
    return fits ? custom_kernel(c.ranks, c.bytes) : ReduceMethod::nccl;
  }
  if (c.bytes > kSglangLimit) return ReduceMethod::nccl;
  const bool one_shot = c.ranks == 2 || c.bytes <= sglang_one_shot_limit(c.generation, c.ranks);
  return one_shot ? ReduceMethod::one_shot : ReduceMethod::two_shot;
}

/// TensorRT-LLM customAllReduceUtils.h, its table of best strategies for rows of 4,096 elements:
/// the first size that goes beyond one shot, and the first left to NCCL. Its release 1.0 for Ampere
/// stops at 128 rows.
ReduceMethod trtllm_method(const ReduceContext& c) {
  if (!c.nvlink) return ReduceMethod::nccl;
  if (!in_cuda_graph_table(c.generation)) {
    const double limit = (c.ranks > 4 ? 512 : 1024) * kKiB;
    return c.bytes <= limit ? ReduceMethod::one_shot : ReduceMethod::nccl;
  }
  const bool hopper = c.generation == Generation::hopper;
  const double one_shot = c.ranks == 2  ? 16 * kMiB
                          : c.ranks > 4 ? (hopper ? 512 * kKiB : 2 * kMiB)
                                        : (hopper ? 2 * kMiB : 4 * kMiB);
  const double two_shot = c.ranks == 2 ? 16e6 : 8e6;  // its workspace, getMaxRequiredWorkspaceSize
  if (c.bytes > two_shot) return ReduceMethod::nccl;
  return c.bytes < one_shot ? ReduceMethod::one_shot : ReduceMethod::two_shot;
}

}  // namespace

std::string to_string(ReduceMethod method) {
  switch (method) {
    case ReduceMethod::one_shot:
      return "one_shot";
    case ReduceMethod::two_shot:
      return "two_shot";
    case ReduceMethod::staged_two_shot:
      return "staged_two_shot";
    case ReduceMethod::staged_multicast:
      return "staged_multicast";
    case ReduceMethod::nccl:
      return "nccl";
  }
  return "nccl";
}

ReduceMethod choose_reduce_method(const ReduceContext& context) {
  switch (context.library) {
    case ReduceLibrary::vllm:
      return vllm_method(context);
    case ReduceLibrary::sglang:
      return sglang_method(context);
    case ReduceLibrary::trtllm:
      return trtllm_method(context);
  }
  return ReduceMethod::nccl;
}

DirectReduceModel::DirectReduceModel(const Topology& topology, const FabricParameters& parameters,
                                     BytesPerSecond memory_rate)
    : topology_(topology),
      parameters_(parameters),
      memory_rate_(memory_rate.value()),
      collectives_(topology, parameters) {}

double DirectReduceModel::kernel_us(const DirectReduceRequest& request, ReduceMethod method) const {
  const DirectReduceCost& cost = parameters_.direct[static_cast<std::size_t>(request.library)];
  const double ranks = static_cast<double>(request.ranks.size());
  const double bytes = static_cast<double>(request.bytes.value());
  const TopologySpec& spec = topology_.spec();
  const bool nvlink = topology_.joined_by_nvlink(request.ranks);
  const double link = (nvlink ? spec.nvlink_rate : spec.pcie_rate).value() * cost.link_fraction;
  double latency = cost.base_us + (ranks - 2) * cost.peer_us;
  double moved = (ranks - 1) * bytes;
  double rate = std::min(cost.one_shot_rate, (ranks - 1) * cost.peer_rate);
  if (method == ReduceMethod::two_shot || method == ReduceMethod::staged_two_shot) {
    moved = 2 * (ranks - 1) / ranks * bytes;
    rate = cost.two_shot_rate;
  }
  if (method == ReduceMethod::two_shot) latency += cost.exchange_us * std::log2(ranks);
  if (method == ReduceMethod::staged_multicast) moved = (1 + 1 / ranks) * bytes;
  if (method == ReduceMethod::staged_two_shot || method == ReduceMethod::staged_multicast) {
    if (method == ReduceMethod::staged_multicast) rate = cost.multicast_rate;
    // Into the symmetric buffer and out of it again: each a kernel that reads and writes.
    latency += cost.staging_us + 4 * bytes / memory_rate_ * 1e6;
  }
  const double transfer = moved / std::min(rate, link) * 1e6;
  const double ramp = transfer > 0 ? cost.ramp_us * transfer / (cost.ramp_us + transfer) : 0;
  return latency + transfer + ramp;
}

DirectReduceResult DirectReduceModel::run(const DirectReduceRequest& request) {
  const bool spread_out = std::any_of(request.ranks.begin(), request.ranks.end(), [&](int rank) {
    return topology_.domain_of(rank) != topology_.domain_of(request.ranks.front());
  });
  if (request.ranks.size() < 2 || spread_out)
    throw core::Refusal(core::RefusalKind::illegal_combination,
                        "a library's own all-reduce joins at least two ranks of one domain");
  const CollectiveResult by_nccl = collectives_.run(
      {.ranks = request.ranks, .bytes = request.bytes, .type = core::DataType::bf16});
  DirectReduceResult result;
  result.method = choose_reduce_method({.library = request.library,
                                        .generation = parameters_.generation,
                                        .ranks = static_cast<int>(request.ranks.size()),
                                        .bytes = static_cast<double>(request.bytes.value()),
                                        .nvlink = topology_.joined_by_nvlink(request.ranks),
                                        .in_switch = topology_.spec().in_switch_reduction});
  const bool left = result.method == ReduceMethod::nccl;
  double total = left ? core::to_microseconds(by_nccl.time) : kernel_us(request, result.method);
  const double spread =
      left ? core::to_microseconds(by_nccl.upper) / total - 1 : parameters_.spread.direct_reduce;
  result.grade = left ? by_nccl.grade : parameters_.direct_grade;
  if (request.eager) {
    const DirectReduceCost& cost = parameters_.direct[static_cast<std::size_t>(request.library)];
    total += 2 * static_cast<double>(request.bytes.value()) / memory_rate_ * 1e6;
    total = std::max(total, cost.host_us);
  }
  result.time = core::to_time(Seconds{total * 1e-6});
  result.lower = core::to_time(Seconds{total * 1e-6 / (1 + spread)});
  result.upper = core::to_time(Seconds{total * 1e-6 * (1 + spread)});
  return result;
}

}  // namespace tessera::fabric
