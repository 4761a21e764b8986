#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "calibrate/csv_table.hpp"

namespace tessera::calibrate {

/// The model that any simulator of GEMMs has to beat: constant + max(FLOPs / rate, bytes /
/// bandwidth), its three numbers fitted to the rows that it is held against.
struct FittedRoofline {
  double flops_per_us = 1;
  double bytes_per_us = 1;
  double constant_us = 0;

  [[nodiscard]] double microseconds(double flops, double bytes) const;
};

struct RooflineScore {
  FittedRoofline fitted;
  std::size_t rows = 0;        ///< Of the other half, on which it is quoted.
  double median = 0, p90 = 0;  ///< |predicted / measured - 1|.
};

/// One roofline for every (gpu, framework, dtype) of a GEMM file: fitted by the least absolute
/// logarithmic error on the fit half, quoted on the test half. FLOPs are 2MNK; bytes those of both
/// operands as stored and of a BF16 product. Groups of fewer than 20 rows are left out. Keys are
/// "gpu framework dtype".
[[nodiscard]] std::map<std::string, RooflineScore> fitted_rooflines(const CsvTable& gemm);

}  // namespace tessera::calibrate
