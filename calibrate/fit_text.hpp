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
  std::string measurements_hash;    ///< SHA-256 over the hashes of the files read, in their order.
  std::vector<std::string> stages;  ///< In their order.
  std::string energies_from;        ///< Device whose energies were taken; empty: none.
  std::string half;
  std::size_t rows_per_stage = 0;
  int passes = 0;
  std::string model_version;
};

/// The text of a fit file: parameters, residuals, provenance.
std::string fit_text(const std::string& device, const device::FitSet& fits,
                     const std::vector<ResidualLine>& residuals, const FitProvenance& provenance);

}  // namespace tessera::calibrate
