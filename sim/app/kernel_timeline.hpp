#pragma once

#include <string>

#include "sim/core/activity.hpp"

namespace tessera::app {

/// The activity for a terminal: a strip a track, mean over SMs, with the spread between SMs.
std::string activity_strips(const core::Activity& activity);

}  // namespace tessera::app
