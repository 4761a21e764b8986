#pragma once

#include <memory>
#include <vector>

#include "models/device/device_spec.hpp"
#include "models/kernels/gemm.hpp"
#include "models/kernels/implementation.hpp"
#include "models/kernels/tile_kernel.hpp"
#include "models/workload/operators.hpp"

namespace tessera::kernels {

/// What one element of a Stream costs. An element is one of `rows` x `columns`; a kind that reads
/// several tensors of that shape counts all of them here.
struct StreamFacts {
  double read_bytes = 0;    ///< Of every input, scales included.
  double write_bytes = 0;   ///< Of every output, scales included.
  double passes = 1;        ///< Times the input is read; after the first, from L2 when it fits.
  double fp32 = 0;          ///< FP32 and integer lane operations, unpacking included.
  double sfu = 0;           ///< ex2, rcp, rsqrt.
  double conversions = 0;   ///< FP32 to a smaller type.
  double shared_bytes = 0;  ///< Through shared memory, to transpose.
  double row_steps = 0;  ///< Dependent exchanges between the threads of a row: reductions, choices.
  bool whole_rows = false;    ///< A CTA cannot work on less than a row.
  bool row_a_warp = false;    ///< Each warp works on a row of its own, whole_rows too.
  bool whole_tensor = false;  ///< One number is made of all elements.
};

/// The facts of `stream`; one case a kind, with what the counts are made of.
[[nodiscard]] StreamFacts stream_facts(const workload::Stream& stream);

/// A row kernel: CTAs take boxes of rows in turn, the next box in flight while one is computed.
/// Bytes read rows*columns*read_bytes, written rows*columns*write_bytes, no tensor FLOPs.
std::unique_ptr<TileKernel> make_stream(const workload::Stream& stream,
                                        const device::DeviceSpec& device,
                                        const Implementation& implementation,
                                        const Residency& residency,
                                        const std::vector<int>& gpc_sizes);

}  // namespace tessera::kernels
