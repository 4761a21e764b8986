#include "sim/app/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace tessera::app {
namespace {

constexpr std::chrono::milliseconds kInterval{100};
constexpr const char* kEraseLine = "\r\x1b[K";

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(isatty(fileno(stderr)) == 1) {}

Progress::~Progress() {
  if (shown_) fmt::print(stderr, "{}", kEraseLine);
}

void Progress::show(std::size_t done, std::size_t all) {
  const Clock::time_point now = Clock::now();
  if (!terminal_ || (now - last_ < kInterval && done < all)) return;
  last_ = now;
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const double rate = elapsed > 0 ? static_cast<double>(done) / elapsed : 0;
  const double left = rate > 0 ? static_cast<double>(all - done) / rate : 0;
  fmt::print(stderr, "{}{} of {} {}, {:.1f}/s, {:.0f} s left", kEraseLine, done, all, what_, rate,
             left);
  std::fflush(stderr);
  shown_ = true;
}

}  // namespace tessera::app
