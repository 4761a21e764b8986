#pragma once

#include <string>

#include "models/gpu/kernel_result.hpp"
#include "models/workload/operators.hpp"

namespace tessera::gpu {

/// Answers how long an operator takes on one GPU of one device. The GPU model behind its cache is
/// one; tests have others.
class KernelTimer {
 public:
  virtual ~KernelTimer() = default;

  /// `implementation` names a file of hw_configs/kernels; empty: the device's default for the
  /// operator. Throws core::Refusal when no implementation can run `op` on the device.
  virtual KernelResult run(const workload::Operator& op, const ExecutionContext& context,
                           const std::string& implementation = {}) = 0;
};

}  // namespace tessera::gpu
