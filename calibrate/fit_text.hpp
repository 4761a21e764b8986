#pragma once

#include <string>
#include <vector>

#include "models/device/device_spec.hpp"

namespace tessera::calibrate {

/// Errors of one group of fitted rows at cycle fidelity, as logarithms.
struct ResidualLine {
  std::string group;  ///< "gemm trtllm bfloat16"
  std::size_t rows = 0;
  double median = 0;  ///< Of |log error|.
  double p90 = 0;
  double bias = 0;  ///< Median, signed.
};

struct FitProvenance {
  std::string half;
  std::size_t rows_per_family = 0;
  std::string model_version;
};

/// The text of a fit file: parameters, residuals, provenance.
std::string fit_text(const std::string& device, const device::FitSet& fits,
                     const std::vector<ResidualLine>& residuals, const FitProvenance& provenance);

}  // namespace tessera::calibrate
