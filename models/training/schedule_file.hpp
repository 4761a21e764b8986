#pragma once

#include <string>

#include "models/training/schedule.hpp"
#include "sim/core/config.hpp"

/// Schedules written by hand:
///
///     micro_batches: 2
///     rank_of_stage: [0, 1]          # in forward order
///     programs:                      # what each rank runs, in order
///       - [F 0, F 1, B 0, B 1]
///       - [F 0, B 0, F 1, B 1]
///
/// An instruction is a letter and a micro-batch: F forward, B backward, Bi its input gradient alone
/// and W the weight gradient that it leaves; "F 3 & B 1" is an overlapped pair. Where a rank holds
/// several stages, the stage follows: "F 3 s5".
namespace tessera::training {

inline constexpr const char* kScheduleFolder = "workloads/schedules";

[[nodiscard]] core::LoadOptions schedule_options();

/// Reads and checks a schedule; throws core::ConfigError with every mistake at its place: unknown
/// words, chunks that run twice, never or in the wrong order, ranks that wait forever.
[[nodiscard]] CustomSchedule read_schedule(const core::ConfigDocument& document);
/// By path or bare name of workloads/schedules.
[[nodiscard]] CustomSchedule load_schedule(const std::string& path_or_name,
                                           const core::LoadOptions& options = schedule_options());

/// The schedule as such a file.
[[nodiscard]] std::string to_yaml(const Schedule& schedule, int micro_batches);

}  // namespace tessera::training
