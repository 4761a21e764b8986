#pragma once

#include <string>

namespace tessera::app {

/// "12.3 %", or "-" for what is not a number.
[[nodiscard]] std::string percent(double share);
/// "+12.3 %"
[[nodiscard]] std::string signed_percent(double share);

}  // namespace tessera::app
