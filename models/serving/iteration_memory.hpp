#pragma once

#include <cstdint>

#include "models/serving/memory.hpp"

namespace tessera::serving {

/// What lives only while an iteration runs, on one GPU, in bytes.
struct IterationMemory {
  double activations = 0;
  double workspace = 0;
  double exchange_buffers = 0;
};

/// Of the larger of a decode iteration over `sequences` that hold `context` tokens each and the
/// job's prefill iteration. `head`: the GPU computes logits too.
[[nodiscard]] IterationMemory iteration_memory(const MemoryJob& job, std::int64_t sequences,
                                               double context, bool head);

}  // namespace tessera::serving
