#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "sim/app/kernel_cache.hpp"
#include "sim/app/training_run.hpp"

namespace tessera::app {

/// Options that every simulating command has.
struct RunSettings {
  std::string fidelity = "cycle";
  int jobs = 0;  ///< 0: all cores.
  bool verbose = false;
  bool sensitivity = false;
  bool unfold = false;
  std::string cache;  ///< Folder; empty: the user's.
  bool no_cache = false;

  void add_to(CLI::App& command);
};

/// The model refused and what it said has been written; ends the program with code 1.
class RefusedResult : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What a simulating command needs while it runs, from the settings.
class RunContext {
 public:
  /// Throws core::ConfigError when a cache folder that was asked for cannot be used; one that was
  /// not asked for is then done without, with a warning.
  explicit RunContext(const RunSettings& settings);

  [[nodiscard]] const RunOptions& options() const { return options_; }
  [[nodiscard]] RunStatistics& statistics() { return statistics_; }
  /// Prints the statistics to stderr when --verbose.
  void report() const;

 private:
  std::unique_ptr<KernelCache> cache_;
  RunOptions options_;
  RunStatistics statistics_;
  bool verbose_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace tessera::app
