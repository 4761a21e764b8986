#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "calibrate/probes/replay_plan.hpp"

namespace tessera::calibrate::probes {

/// What every probe takes on its command line.
struct ProbeOptions {
  std::string out = ".";  ///< Folder of the CSV files.
  std::string gpu;        ///< Tessera's name of the device; "" : from the product name.
  int device = 0;         ///< CUDA ordinal.
  bool quick = false;     ///< Few sizes: minutes become seconds.
  bool list = false;      ///< Print what would be measured, and stop; needs no GPU.
  ReplayRequest replay;
  std::string smi = "nvidia-smi";
  /// Sizes follow the GPU's L2 and memory; with `list` they follow these.
  std::int64_t listed_l2_bytes = 50LL << 20;
  std::int64_t listed_memory_bytes = 80LL << 30;
};

/// The options, or what to print and with which exit code to leave: 0 after --help, 2 when the
/// command line is wrong.
struct ParsedOptions {
  ProbeOptions options;
  std::optional<int> exit_code;
  std::string message;
};
[[nodiscard]] ParsedOptions parse_options(const std::string& probe, const std::string& description,
                                          int count, const char* const* arguments);

}  // namespace tessera::calibrate::probes
