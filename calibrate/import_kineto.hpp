#pragma once

#include <iosfwd>
#include <string>

#include "calibrate/import_rules.hpp"
#include "calibrate/imported_rows.hpp"

namespace tessera::calibrate {

/// Reads a trace of PyTorch's profiler (Kineto). A kernel is joined to its launch by correlation
/// and to its operator by "External id", and takes the operator's shape only when the operator was
/// running at the launch and import_rules.yaml knows it. Kernels of one such call are one sample,
/// the sum of their times; others stand alone, with an unknown shape. Samples that are alike become
/// one row, its latency their median.
///
/// Memory: the text streams through; what stays is some 100 bytes for a kernel with its launch and
/// operator, and every distinct name and list of inputs once. Throws core::ConfigError as
/// read_kineto_trace does.
[[nodiscard]] Import import_kineto(std::istream& text, const std::string& file,
                                   const ImportRules& rules);

}  // namespace tessera::calibrate
