#include "sim/app/percent_text.hpp"

#include <fmt/format.h>

#include <cmath>

namespace tessera::app {

std::string percent(double share) {
  return std::isfinite(share) ? fmt::format("{:.1f} %", 100 * share) : "-";
}

std::string signed_percent(double share) {
  return std::isfinite(share) ? fmt::format("{:+.1f} %", 100 * share) : "-";
}

}  // namespace tessera::app
