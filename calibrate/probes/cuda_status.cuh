#pragma once

#include <cuda_runtime.h>

#include <source_location>
#include <stdexcept>
#include <string>

namespace tessera::calibrate::probes {

/// A call of CUDA or one of its libraries failed: the program cannot go on with this GPU.
class CudaFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A library or GPU does not do what was asked; the size is left out.
class NotSupported : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status,
                  std::source_location where = std::source_location::current()) {
  if (status != cudaSuccess)
    throw CudaFailure(std::string{where.file_name()} + ":" + std::to_string(where.line()) + ": " +
                      cudaGetErrorString(status));
}

/// After a launch: its configuration was accepted.
inline void check_launch(std::source_location where = std::source_location::current()) {
  check(cudaGetLastError(), where);
}

}  // namespace tessera::calibrate::probes
