#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tessera::app {

/// How far one group of measured rows lay from what its fit predicts, as the fit file says.
struct ShippedResidual {
  std::string device;
  std::string group;  ///< "gemm trtllm bfloat16"
  std::size_t rows = 0;
  double median = 0;  ///< Of |log error|.
  double p90 = 0;
  double bias = 0;    ///< Median of log(predicted / measured).
  double inside = 0;  ///< Share of measured values inside the interval; 0: not recorded.
};

/// A fit file that carries residuals, and whether they are this program's.
struct ShippedFit {
  std::string name;
  std::string stamp;  ///< Hash of model version and parameters (calibrate::stamp_of); of a fabric's
                      ///< fit the hash of the file.
  std::string stale;  ///< Why its residuals are not this model's with this fit; empty: they are.
};

struct ShippedResiduals {
  std::vector<ShippedFit> fits;            ///< By name.
  std::vector<ShippedResidual> residuals;  ///< The largest median first.
  std::vector<std::string> without;        ///< Fits that hold priors alone.
};

/// Reads the residuals of every fit file of a folder. Throws core::ConfigError.
[[nodiscard]] ShippedResiduals load_shipped_residuals(const std::string& folder);

/// As a table for a terminal.
[[nodiscard]] std::string to_text(const ShippedResiduals& shipped);

}  // namespace tessera::app
