#pragma once

#include <map>
#include <string>

#include "calibrate/csv_table.hpp"

namespace tessera::app {

/// Whether a measurement file of this stem holds communication that the fabric predicts: comm_nccl,
/// comm_custom_allreduce, comm_deepep_normal, comm_deepep_ll, comm_vidur.
[[nodiscard]] bool holds_collectives(const std::string& stem);

/// Appends predicted_us, lower_us and upper_us (DeepEP: of dispatch_us and combine_us each) to such
/// a table. Rows that cannot be modelled stay empty and are counted in `reasons`. `fits`: folder of
/// fits, empty: those that ship. Throws core::ConfigError.
void predict_collectives(calibrate::CsvTable& table, const std::string& stem,
                         const std::string& fits, std::map<std::string, std::size_t>& reasons);

}  // namespace tessera::app
