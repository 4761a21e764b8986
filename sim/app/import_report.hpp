#pragma once

#include <string>

#include "calibrate/imported_rows.hpp"

namespace tessera::app {

/// What an import gave, for a terminal: rows by family with the share of calls whose shape is
/// known, what was skipped, why shapes are unknown, and what a reader should know.
std::string import_table(const calibrate::Import& import, const std::string& input,
                         const std::string& output);

}  // namespace tessera::app
