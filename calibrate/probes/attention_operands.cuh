#pragma once

#include <cstdint>

#include "calibrate/probes/attention_reference.hpp"
#include "calibrate/probes/device_buffer.cuh"

namespace tessera::calibrate::probes {

namespace attention_kernels {

__global__ void fill(std::uint64_t seed, std::int64_t count, float factor, std::uint16_t* values) {
  for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x)
    values[i] = static_cast<std::uint16_t>(attention_bits(seed, i, factor));
}

}  // namespace attention_kernels

/// `count` BF16 elements of an operand's pattern.
inline DeviceBuffer<std::uint16_t> attention_operand(std::uint64_t seed, std::int64_t count,
                                                     float factor) {
  DeviceBuffer<std::uint16_t> operand{count};
  attention_kernels::fill<<<1024, 256>>>(seed, count, factor, operand.data());
  check_launch();
  return operand;
}

}  // namespace tessera::calibrate::probes
