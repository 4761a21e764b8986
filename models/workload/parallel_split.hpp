#pragma once

#include <cstdint>

namespace tessera::workload {

/// How context-parallel ranks attend to tokens that other ranks hold.
enum class ContextKind {
  ring,        ///< Keys and values travel around the ranks; each holds two chunks of the sequence,
               ///< the n-th and the n-th last, so that causal work is equal (Megatron-Core's p2p).
  all_to_all,  ///< Heads are swapped for tokens before attention and back after it (arXiv
               ///< 2309.14509, DeepSpeed-Ulysses).
};

/// How the layers of a model are cut over the GPUs that work on one micro-batch together. Pipeline
/// and data parallelism do not cut layers.
struct ParallelSplit {
  std::int64_t tensor = 1;         ///< Ranks that share every matrix (arXiv 1909.08053, section 3).
  bool sequence_parallel = false;  ///< Norms and residuals are cut along the tokens by `tensor`
                                   ///< (arXiv 2205.05198, section 4.2.2).
  std::int64_t context = 1;        ///< Ranks that share every sequence.
  ContextKind context_kind = ContextKind::ring;
  std::int64_t expert = 1;         ///< Ranks that share the experts of a layer, whole ones each.
  std::int64_t expert_tensor = 1;  ///< Ranks that share the matrices of every expert.
  /// Gathers before and sums after a product run beside it, cut into as many pieces as there are
  /// tensor ranks (Transformer Engine's userbuffers, ring exchange). Gathers for weight gradients
  /// and sums of input gradients run beside the other gradient's product either way.
  bool tensor_overlap = false;
  friend bool operator==(const ParallelSplit&, const ParallelSplit&) = default;
};

}  // namespace tessera::workload
