#pragma once

#include <string>
#include <vector>

#include "sim/core/result.hpp"

namespace tessera::reports {

/// report.html: one page that opens without a network and asks for nothing. Every number and table
/// is in its text; charts are drawn by the bundled script. `schedule_svg`: a picture of the step,
/// an SVG element; empty: none.
[[nodiscard]] std::string to_html(const core::Result& result, const std::string& schedule_svg = "");

/// One column of a comparison.
struct ComparisonColumn {
  std::string name;  ///< Short and distinct: "h800_sxm, fp8_block".
  const core::Result* result = nullptr;
};

/// The same page form for several results side by side: quantities as a table and as bars, mean
/// step time by phase, memory of the fullest rank. Refused results keep their column, with the
/// reason.
[[nodiscard]] std::string to_comparison_html(const std::string& title,
                                             const std::vector<ComparisonColumn>& columns);

}  // namespace tessera::reports
