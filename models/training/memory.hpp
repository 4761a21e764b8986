#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "models/training/chunk.hpp"
#include "models/training/layout.hpp"
#include "models/training/training.hpp"
#include "models/workload/routing.hpp"

namespace tessera::training {

/// Bytes of one GPU of a pipeline rank at its fullest.
struct RankMemory {
  int rank = 0;
  double weights = 0;    ///< Of all stages held: FP8 as is and transposed, the rest BF16.
  double gradients = 0;  ///< Accumulated, of all stages held.
  double master_weights = 0;
  double moments = 0;
  double gathered = 0;       ///< Weights and gradients of whole layers, where shards are kept.
  double activations = 0;    ///< Saved tensors of the micro-batches in flight.
  double buffers = 0;        ///< Expert exchanges of a pair of chunks, pipeline sends and receipts.
  double workspace = 0;      ///< Operands of the largest kernel, and the job's `reserved`.
  int chunks_in_flight = 0;  ///< The most at any time, both directions together.
  /// Bytes of weights, gradients, master weights, moments and, at their peak, activations by kind
  /// and number format.
  std::map<std::pair<std::string, std::string>, double> formats;

  [[nodiscard]] double total() const {
    return weights + gradients + master_weights + moments + gathered + activations + buffers +
           workspace;
  }
};

/// Memory of every pipeline rank. Activations follow the rank's own instruction order: a chunk's
/// saved tensors live from its forward to the end of its input gradient, what its weight gradient
/// needs lives until that has run. `stages` are the works of every stage.
[[nodiscard]] std::vector<RankMemory> plan_memory(const TrainingJob& job, const Layout& layout,
                                                  const std::vector<StageWork>& stages,
                                                  const workload::RoutedLoad& load);

/// Throws core::Refusal (does_not_fit) naming the fullest rank, what it needs and has, its largest
/// kinds, and what would help.
void require_fit(const TrainingJob& job, const std::vector<RankMemory>& memory);

}  // namespace tessera::training
