#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/measured_call.hpp"
#include "models/device/device_spec.hpp"
#include "sim/core/data_type.hpp"

/// The kernels of a fused mixture of experts, as each library launches them.
namespace tessera::calibrate {

/// What one rank works on.
struct RankWork {
  std::int64_t tokens = 0;         ///< Whose rows it gathers and sums.
  std::int64_t routed_tokens = 0;  ///< For which it chooses experts.
  std::int64_t hidden = 0;         ///< Padding included, as in `width`.
  std::int64_t width = 0;          ///< Of an expert on this rank.
  bool pads_tokens = false;        ///< Tokens come without the padding of `hidden`.
  std::int64_t top_k = 1;
  std::int64_t experts = 1;  ///< Of all ranks.
  core::DataType type = core::DataType::bf16;
  bool gated = true;
  std::vector<std::int64_t> rows;  ///< Of each of its experts.

  [[nodiscard]] std::int64_t total() const {
    std::int64_t sum = 0;
    for (const std::int64_t each : rows) sum += each;
    return sum;
  }
};

/// The kernels of `as.flow` for `work`. Throws core::Refusal where the flow is not known.
[[nodiscard]] MeasuredCall fused_moe(const RankWork& work, const device::DeviceSpec& device,
                                     const MeasuredAs& as);

}  // namespace tessera::calibrate
