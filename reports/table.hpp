#pragma once

#include <string>

#include "sim/core/result.hpp"

namespace tessera::reports {

struct TableOptions {
  int width = 100;           ///< Columns of the terminal, at least 60.
  bool utf8 = true;          ///< Rules and signs outside ASCII.
  std::size_t kernels = 12;  ///< Rows of the kernel section, the longest first.
};

/// The result as text for a terminal: the answer first, then where it comes from. No line is longer
/// than `width`, but for the title, the fits and the reason of a refusal; what does not fit is cut
/// and ends in an ellipsis.
[[nodiscard]] std::string to_table(const core::Result& result, const TableOptions& options = {});

}  // namespace tessera::reports
