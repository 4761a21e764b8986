#pragma once

#include <string>

#include "calibrate/counter_comparison.hpp"
#include "models/gpu/kernel_result.hpp"

namespace tessera::app {

/// Sets the counters of a prediction, and its time, against an `ncu --csv` file; see
/// calibrate::compare_counters.
calibrate::CounterComparison compare_with_ncu(const gpu::KernelResult& result,
                                              const std::string& operator_family,
                                              const std::string& path,
                                              const std::string& selection);

/// Predicted, measured and signed difference of every counter, for a terminal.
std::string comparison_table(const calibrate::CounterComparison& comparison);
/// The JSON of a kernel with the comparison added to it.
std::string with_comparison(const std::string& kernel_json,
                            const calibrate::CounterComparison& comparison);

}  // namespace tessera::app
