#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/probes/repeat_statistics.hpp"

namespace tessera::calibrate::probes {

/// Times a piece of a kernel in SM cycles, for all warps of a CTA together: from the first that
/// starts to the last that ends.
class CycleCounter {
 public:
  __device__ explicit CycleCounter(long long* cycles) : cycles_(cycles) {
    __syncthreads();
    begin_ = clock64();
  }
  /// Every thread calls it; one writes the CTA's cycles.
  __device__ void stop() const {
    __syncthreads();
    if (threadIdx.x == 0) cycles_[blockIdx.x] = clock64() - begin_;
  }

 private:
  long long* cycles_;
  long long begin_;
};

/// Median over CTAs of cycles per warp instruction of an SM that has one CTA.
inline double cycles_per_instruction(const std::vector<long long>& cycles, std::int64_t warps,
                                     std::int64_t instructions_per_warp) {
  std::vector<double> each;
  for (const long long count : cycles)
    each.push_back(static_cast<double>(count) / static_cast<double>(warps * instructions_per_warp));
  return summarize(each).median;
}

}  // namespace tessera::calibrate::probes
