#pragma once

#include <string>

#include "sim/core/timeline.hpp"

namespace tessera::reports {

/// The timeline in the Trace Event Format that Perfetto and chrome://tracing open: one object with
/// `traceEvents`; names of tracks as "M" events, spans as complete "X" events with `ts` and `dur`
/// in microseconds, exact to the picosecond, sorted by track and start.
///
/// The format wants the events of one track to nest. A span that overlaps another only partly is
/// moved to a further track of the same name.
/// Requires: no span starts before 0 or lasts less than 0.
[[nodiscard]] std::string to_trace(const core::Timeline& timeline);

}  // namespace tessera::reports
