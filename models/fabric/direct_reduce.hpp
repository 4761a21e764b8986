#pragma once

#include <vector>

#include "models/fabric/collectives.hpp"
#include "models/fabric/fabric_parameters.hpp"

/// All-reduce kernels that inference libraries write themselves: SMs read their peers' buffers.
namespace tessera::fabric {

/// What one call does.
enum class ReduceMethod {
  one_shot,          ///< Every rank reads every peer's buffer: one barrier, (n-1) x bytes.
  two_shot,          ///< Reduce-scatter, then all-gather: two barriers, 2 (n-1)/n x bytes.
  staged_two_shot,   ///< The same on a symmetric buffer that copies fill and empty.
  staged_multicast,  ///< NVSwitch reduces and multicasts that buffer: (1 + 1/n) x bytes.
  nccl,              ///< Left to NCCL.
};
[[nodiscard]] std::string to_string(ReduceMethod method);

/// Where an all-reduce runs, as the libraries see it when they choose.
struct ReduceContext {
  ReduceLibrary library;
  device::Generation generation;
  int ranks;
  double bytes;
  bool nvlink;     ///< NVLink joins all ranks.
  bool in_switch;  ///< NVSwitch reduces.
};

/// What the library does with so many bytes; its own thresholds. Requires: at least two ranks.
[[nodiscard]] ReduceMethod choose_reduce_method(const ReduceContext& context);

struct DirectReduceRequest {
  ReduceLibrary library = ReduceLibrary::vllm;
  std::vector<int> ranks;  ///< GPU ids, all of one domain.
  Bytes bytes{0};          ///< The buffer; bf16.
  /// Launched by the host each time, its input copied first; false: replayed in a CUDA graph.
  bool eager = false;
};

struct DirectReduceResult {
  Time time{0};
  Time lower{0};  ///< 90 % interval.
  Time upper{0};
  core::Grade grade = core::Grade::assumed;
  ReduceMethod method = ReduceMethod::nccl;
};

/// All-reduce inside one domain by a library's own kernels, and by NCCL where it leaves it to NCCL.
///
/// Transfer is at the slower of what the kernel's SMs have in flight and what the links carry. Does
/// not model contention with other kernels, or ranks that arrive late.
class DirectReduceModel {
 public:
  /// `memory_rate`: bytes/s of a GPU's HBM, for copies beside the kernel.
  DirectReduceModel(const Topology& topology, const FabricParameters& parameters,
                    BytesPerSecond memory_rate);

  /// Throws Refusal (illegal_combination) for ranks that the collective model refuses, or that lie
  /// in several domains.
  [[nodiscard]] DirectReduceResult run(const DirectReduceRequest& request);

 private:
  [[nodiscard]] double kernel_us(const DirectReduceRequest& request, ReduceMethod method) const;

  const Topology& topology_;
  FabricParameters parameters_;
  double memory_rate_;
  CollectiveModel collectives_;
};

}  // namespace tessera::fabric
