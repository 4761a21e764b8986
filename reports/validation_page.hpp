#pragma once

#include <string>
#include <vector>

#include "reports/page.hpp"

namespace tessera::reports {

/// One measured number and its prediction, in the same unit.
struct Agreement {
  double measured = 0;
  double predicted = 0;
  std::string series;  ///< Points of one series share a colour: "h200_sxm bfloat16".
  std::string label;   ///< What the row is, for its tooltip.
};

/// A family's numbers as a scatter plot.
struct AgreementPlot {
  std::string family;
  std::string unit;         ///< "us" or "W".
  std::string description;  ///< Read out instead of the picture and shown under it.
  std::vector<Agreement> points;
};

/// A page in the form of the other reports: plots of predicted over measured, then tables.
[[nodiscard]] std::string to_validation_html(const std::string& title,
                                             const std::string& introduction,
                                             const std::vector<AgreementPlot>& plots,
                                             const std::vector<HtmlTable>& tables);

}  // namespace tessera::reports
