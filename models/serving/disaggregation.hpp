#pragma once

#include <cstdint>

#include "sim/core/result.hpp"
#include "sim/core/units.hpp"

/// Prefill and decode on GPUs of their own: what the cache's way from one to the other costs, and
/// how many GPUs of each keep the other busy.
namespace tessera::serving {

/// When layers' caches leave for the decode pool.
enum class TransferOverlap {
  layer_wise,     ///< Each as soon as it has been computed, beside the layers after it.
  after_prefill,  ///< All of them once the prompt is done.
};

/// One pool's instances, each alike.
struct PoolRate {
  std::int64_t instance_gpus = 1;
  core::Estimate tokens_per_second_per_gpu;  ///< New prompt tokens, or generated ones.
};

/// Every request alike: so many tokens computed for its prompt and generated after it.
struct RequestShape {
  double new_prompt_tokens = 1;  ///< Without those that a cache holds already.
  double output_tokens = 1;      ///< The first one comes with the prefill.
};

/// What one layer's and all layers' caches take on the wire.
struct CacheTransfer {
  core::Time layer{};
  core::Time whole{};
  std::int64_t layers = 1;
};

/// Time from the end of a prefill that takes `prefill` until the decode GPUs have the cache. Layer
/// by layer, the last layer's send is left over, and what earlier ones could not hide: a chain of
/// sends, each after its layer and the send before it.
[[nodiscard]] core::Time exposed_transfer(const CacheTransfer& transfer, core::Time prefill,
                                          TransferOverlap overlap);

/// Prefill GPUs for each decode GPU at which both finish as many requests.
[[nodiscard]] core::Estimate balancing_ratio(const PoolRate& prefill, const PoolRate& decode,
                                             const RequestShape& request);

/// Whole instances on a number of GPUs.
struct PoolSizes {
  std::int64_t prefill_instances = 0;
  std::int64_t decode_instances = 0;
  double requests_per_second = 0;  ///< Of the slower pool.
  bool prefill_binds = false;
  double prefill_busy = 0, decode_busy = 0;  ///< Share of each pool's rate that is used, (0, 1].

  [[nodiscard]] std::int64_t gpus(const PoolRate& prefill, const PoolRate& decode) const {
    return prefill_instances * prefill.instance_gpus + decode_instances * decode.instance_gpus;
  }
};

/// GPUs that pools may have at most.
struct PoolRoom {
  std::int64_t prefill = 0;
  std::int64_t decode = 0;
  std::int64_t both = 0;  ///< Together; fewer than the sum where pools share a cluster.
};

/// The most requests a second within `room`, with the fewest GPUs; at least an instance of each.
/// Throws core::Refusal (does_not_fit) when there are too few for that.
[[nodiscard]] PoolSizes size_pools(const PoolRate& prefill, const PoolRate& decode,
                                   const RequestShape& request, const PoolRoom& room);

}  // namespace tessera::serving
