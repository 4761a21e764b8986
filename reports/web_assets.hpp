#pragma once

#include <string_view>

/// The parts of report.html that reports/web holds, bundled into the program when it is built.
namespace tessera::reports {

[[nodiscard]] std::string_view page_template();  ///< reports/web/page.html
[[nodiscard]] std::string_view page_style();     ///< reports/web/report.css
[[nodiscard]] std::string_view page_script();    ///< reports/web/report.js with ECharts

}  // namespace tessera::reports
