#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// Which sizes a probe measures: spread so that every level of the memory hierarchy and every
/// regime of a kernel is met, and fitted to the GPU's L2 and memory.
namespace tessera::calibrate::probes {

struct SizeLimits {
  std::int64_t l2_bytes;
  std::int64_t memory_bytes;  ///< That may be allocated.
  bool quick = false;
};

/// Geometric from `first` to `last`, `per_octave` values to each doubling, multiples of `multiple`,
/// ascending, without repeats, both ends included.
[[nodiscard]] std::vector<std::int64_t> geometric(std::int64_t first, std::int64_t last,
                                                  int per_octave, std::int64_t multiple);

/// Bytes of a copy (read once, written once): from the launch-bound to well beyond L2.
[[nodiscard]] std::vector<std::int64_t> copy_sizes(const SizeLimits& limits);

/// y[m,n] = x[m,k] w[n,k].
struct GemmShape {
  std::int64_t m, n, k;
  friend bool operator==(const GemmShape&, const GemmShape&) = default;
};
/// Rows from decode to prefill times the projections of models, and squares.
[[nodiscard]] std::vector<GemmShape> gemm_shapes(const SizeLimits& limits);

/// Kernels in a graph or a stream of the launch probe.
[[nodiscard]] std::vector<std::int64_t> launch_counts(const SizeLimits& limits);

}  // namespace tessera::calibrate::probes
