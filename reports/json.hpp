#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "sim/core/result.hpp"

namespace tessera::reports {

/// {value, unit, lower, upper, grade}, as in every JSON file that reports write.
[[nodiscard]] nlohmann::ordered_json estimate_json(const core::Estimate& estimate);

/// The result as JSON text of workloads/schema/result.json, indented by two, with a final newline.
/// Numbers are written with the fewest digits that read back equal; NaN and infinity become null.
/// `scenario` is null when the result carries none.
/// Spans are left to write_spans.
[[nodiscard]] std::string to_json(const core::Result& result);

}  // namespace tessera::reports
