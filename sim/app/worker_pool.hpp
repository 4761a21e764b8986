#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/diagnostics.hpp"
#include "sim/core/units.hpp"

namespace tessera::app {

/// What became of one piece of work.
struct WorkOutcome {
  enum class Kind {
    done,
    refused,  ///< The work threw core::Refusal.
    failed,   ///< The work threw anything else.
    crashed,  ///< The worker died: a signal, an exit, or a message cut short.
  };
  Kind kind = Kind::crashed;
  std::string bytes;  ///< The work's answer when done.
  core::RefusalKind refusal = core::RefusalKind::outside_model;
  std::string reason;  ///< Why it is not done.

  /// The answer; throws core::Refusal when refused, std::runtime_error when failed or crashed.
  [[nodiscard]] const std::string& get() const;
};

/// Does work(0) ... work(count - 1) in up to `jobs` forked processes and returns the outcomes in
/// that order, whatever the order in which they came. A worker that dies costs the piece that it
/// was doing; another takes its place.
///
/// `finished`, when given, is called in this process as each outcome arrives. The work sees this
/// process as it was when its worker was forked; what it changes is lost but for the bytes that it
/// returns. `workers_memory`, when given, gets an upper bound on what the workers that lived at
/// once had resident together: the sum of their peaks, in which pages that they share count for
/// each. Requires: jobs >= 1; no other thread of this process is running.
std::vector<WorkOutcome> work_in_processes(
    std::size_t count, int jobs, const std::function<std::string(std::size_t)>& work,
    const std::function<void(std::size_t, const WorkOutcome&)>& finished = {},
    core::Bytes* workers_memory = nullptr);

/// The same for pieces that are found as they are needed: `next` gives the number of another one,
/// or none when all have been handed out. It is called in this process, again after each outcome;
/// outcomes go to `finished` alone.
void stream_in_processes(const std::function<std::optional<std::size_t>()>& next, int jobs,
                         const std::function<std::string(std::size_t)>& work,
                         const std::function<void(std::size_t, WorkOutcome)>& finished,
                         core::Bytes* workers_memory = nullptr);

/// The most that this process, without its workers, has had resident so far.
[[nodiscard]] core::Bytes own_peak_memory();

/// Processor cores that this process may use; the default of --jobs.
[[nodiscard]] int available_cores();

}  // namespace tessera::app
