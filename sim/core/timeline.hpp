#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sim/core/units.hpp"

namespace tessera::core {

/// One stretch of time on one track of a timeline.
struct Span {
  int process;           ///< Groups tracks: a pipeline rank, a GPU, or an SM.
  int thread;            ///< One stream, pipe or link inside the process.
  std::string name;      ///< "F 12 / layer 7 attention"
  std::string category;  ///< forward | backward | weight | overlapped | communication | bubble |
                         ///< optimizer | ...
  Time start;
  Time duration;
};

/// Spans with the names of their tracks, in the order in which they were added.
struct Timeline {
  std::vector<std::pair<int, std::string>> processes;                ///< id, name
  std::vector<std::pair<std::pair<int, int>, std::string>> threads;  ///< (process, thread), name
  std::vector<Span> spans;
};

}  // namespace tessera::core
