#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/probes/repeat_statistics.hpp"
#include "calibrate/probes/replay_plan.hpp"

/// The CSV files that probes write: the columns of a measurement file (gpu, framework, version, op,
/// dtype, kernel, shape, latency_us, split), then how the row was timed and on what.
namespace tessera::calibrate::probes {

/// What all rows of one run share.
struct Environment {
  std::string gpu;      ///< As in hw_configs/devices.
  std::string version;  ///< Of the probes.
  std::string device;   ///< Product name.
  std::string driver;
  std::string cuda;  ///< Runtime version, "13.0".
  int sms = 0;
  std::int64_t l2_bytes = 0;
  std::optional<double> memory_clock_mhz;
  std::optional<double> power_limit_w;
};

/// How an operation was timed, and what came out.
struct TimedRun {
  ReplayPlan plan;
  RepeatStatistics latency_us;     ///< Of one operation, over the replays.
  double sm_clock_before_mhz = 0;  ///< Counted on the GPU, right before the timed replays.
  double sm_clock_after_mhz = 0;   ///< Right after.
};

/// One timed operation.
struct Measurement {
  std::string op;
  std::string dtype;
  std::string kernel;
  std::map<std::string, std::string> columns;  ///< The family's own, by name.
  std::string library;  ///< And version, where the kernel is not the probe's.
  TimedRun timing;
  double error = 0;          ///< Against the CPU reference.
  double allowed_error = 0;  ///< Rows above it are not written.
};

/// The columns that a family has for itself.
struct Family {
  std::string file;                  ///< Without ".csv".
  std::vector<std::string> shape;    ///< Between `kernel` and `latency_us`.
  std::vector<std::string> outcome;  ///< Measured besides, between `latency_us` and `split`.
};

[[nodiscard]] std::string header_line(const Family& family);
/// Throws std::logic_error when the row's columns are not the family's.
[[nodiscard]] std::string row_line(const Family& family, const Environment& environment,
                                   const Measurement& row);

/// Writes row by row, so that what was measured before a crash stays.
class MeasurementFile {
 public:
  /// Replaces `folder`/`family`.csv. Throws std::runtime_error when it cannot be written.
  MeasurementFile(const std::string& folder, Family family, Environment environment);
  void write(const Measurement& row);

 private:
  Family family_;
  Environment environment_;
  std::string path_;
  std::ofstream stream_;
};

/// A number as the files have it: microseconds to the picosecond, no trailing zeros.
[[nodiscard]] std::string number_text(double value);
[[nodiscard]] std::string number_text(std::int64_t value);

}  // namespace tessera::calibrate::probes
