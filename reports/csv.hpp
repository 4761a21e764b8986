#pragma once

#include <string>

#include "sim/core/result.hpp"

namespace tessera::reports {

/// One line a kernel under a header line, quoted by RFC 4180, lines ended by LF. Times are of one
/// call, in seconds; flops, bytes and joules of one call.
[[nodiscard]] std::string kernels_csv(const core::Result& result);

}  // namespace tessera::reports
