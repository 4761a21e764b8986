#pragma once

#include <string>

#include "sim/core/timeline.hpp"

namespace tessera::reports {

/// The part of a timeline that a page can draw without losing its speed.
struct TimelineWindow {
  core::Time start;
  core::Time end;
  core::Time step_end;  ///< Of the whole timeline.
  std::string json;     ///< As reports/web/timeline.js reads it.
  int main_process;     ///< The process whose spans last longest in sum; the first of several.
};

/// The whole timeline when it has at most `most_spans` spans, else a stretch around its middle that
/// does. Spans reach into the window with their full length.
[[nodiscard]] TimelineWindow timeline_window(const core::Timeline& timeline,
                                             std::size_t most_spans);

}  // namespace tessera::reports
