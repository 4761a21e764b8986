#pragma once

#include <cstdint>
#include <optional>

#include "models/serving/memory.hpp"

namespace tessera::serving {

/// The stated ways to cut a model over `gpus` GPUs, where nothing else says how, the preferred one
/// first. With experts: they lie on all of the GPUs, whole ones as long as there are as many; a
/// latent's every GPU attends for sequences of its own, as tensor ranks would repeat the cache;
/// heads of keys and values are cut over as few tensor ranks of one NVLink domain of `domain` GPUs
/// as will do. Without experts: tensor parallelism over the most GPUs of one domain that divide the
/// model, and stages of a pipeline over the rest. Empty where the model does not divide so.
[[nodiscard]] std::vector<MemoryJob> cuts_over(const MemoryJob& job, std::int64_t gpus,
                                               std::int64_t domain);

/// The first of them in which one sequence of `context` tokens fits on every attention rank.
[[nodiscard]] std::optional<MemoryJob> fitting_cut(const MemoryJob& job, std::int64_t gpus,
                                                   double context, std::int64_t domain);

/// The smallest power of two of GPUs that has a fitting cut; nothing when 2,048 are not enough.
[[nodiscard]] std::optional<MemoryJob> smallest_group(const MemoryJob& job, double context,
                                                      std::int64_t domain);

}  // namespace tessera::serving
