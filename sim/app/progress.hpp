#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace tessera::app {

/// One line on a terminal's stderr that says how far a long loop is, its rate and the time left.
/// Silent when stderr is not a terminal.
class Progress {
 public:
  /// `what`: "kernels".
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::size_t done, std::size_t all);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_{};
};

}  // namespace tessera::app
