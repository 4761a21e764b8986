#pragma once

#include <string>

#include "sim/core/activity.hpp"

namespace tessera::reports {

/// A page that opens offline: a map of every SM over time for each track, chosen from a list, and
/// the mean of all tracks as lines.
[[nodiscard]] std::string to_activity_html(const std::string& title,
                                           const core::Activity& activity);

/// One line a track, part and bin: track, unit, part, first_cycle, share.
[[nodiscard]] std::string to_activity_csv(const core::Activity& activity);

}  // namespace tessera::reports
